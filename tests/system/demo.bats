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

# In a mount namespace where /dev/fuse is everybody's, as udev makes it.
as_nobody() {
  unshare -m --propagation private sh -c 'mknod -m 666 fuse-node c 10 229 &&
    mount --bind fuse-node /dev/fuse && rm fuse-node &&
    exec setpriv --reuid nobody --regid nogroup --clear-groups "$@"' sh "$@"
}

@test "demo: works for an ordinary user" {
  need_root
  need "fusermount3" command -v fusermount3
  need "a tree that everybody can read" setpriv --reuid nobody test -r "$ROOT/scripts/demo"
  cd "$BATS_TEST_TMPDIR"
  chmod 755 .. ../..
  chmod 777 .
  run -0 as_nobody "$ROOT/scripts/demo"
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
