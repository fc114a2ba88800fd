#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What a newcomer runs first: it must do what it says, for anybody, and leave nothing behind.
load ../helper

setup() {
  need "/dev/fuse" test -c /dev/fuse
  export TMPDIR=$BATS_TEST_TMPDIR
}

nothing_left() {
  [ -z "$(find "$BATS_TEST_TMPDIR" -name 'r3demo*')" ] || return 1
  run ! grep -F "$BATS_TEST_TMPDIR" /proc/mounts
  run ! pgrep -f "$BATS_TEST_TMPDIR/r3demo"
}

@test "demo: proves its claims and cleans up" {
  run -0 "$ROOT/scripts/demo"
  [[ ${lines[-1]} == "== Proved in "* ]]
  [[ $output == *"5 queries answered, each as the original answers it"* ]]
  [[ $(id -u) != 0 || ! -e /dev/loop-control || $output == *"all checksums right"* ]]
  nothing_left
}

@test "demo: works for an ordinary user" {
  need_root
  need "the tree to be readable for all" setpriv --reuid 65534 --regid 65534 --clear-groups test -r "$ROOT/scripts/demo"
  need "fusermount3" command -v fusermount3
  chmod 777 "$BATS_TEST_TMPDIR"
  run -0 setpriv --reuid 65534 --regid 65534 --clear-groups "$ROOT/scripts/demo"
  [[ ${lines[-1]} == "== Proved in "*"(not root:"* ]]
  nothing_left
}

@test "demo: cleans up when it is interrupted" {
  cd "$BATS_TEST_TMPDIR"
  "$ROOT/scripts/demo" >demo.out 2>&1 3>&- &
  local demo=$!
  PATIENCE=60 eventually grep -q "== Asking" demo.out
  kill -TERM $demo
  local status=0
  wait $demo || status=$?
  [ $status = 143 ]
  nothing_left
}
