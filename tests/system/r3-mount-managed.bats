#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Managed mounts with the real kernel: at the speed of what is here, through outages, kills and doubts.
# MOUNT_KILLS and R3_SEED choose more kills, and others.
load ../helper

setup() {
  need "/dev/fuse" test -c /dev/fuse
  need_root
  cd "$BATS_TEST_TMPDIR"
  head -c 8M /dev/urandom >image
  cp image first
}

teardown() {
  stop_servers || true
  local path
  for path in $(awk -v dir="$BATS_TEST_TMPDIR/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | tac); do
    umount -l "$path"
  done
}

region() { echo "r3+unix:///?socket=$PWD/s"; }
serve() { start_server ram-ul -q -l "unix:$PWD/s" image && ram=$server_pid; }
mount_it() { start_server r3-mount --control "unix:$PWD/ctl" "$@" "$(region)" disk && mount=$server_pid; }
ask() { "$BIN/r3-mount" --ask "$1" "unix:$PWD/ctl"; }
status_has() { [[ $(ask status) == *"$1"* ]]; }
put() { # BLOCK: 64 KiB of random bytes there, also in `first`
  head -c 64K /dev/urandom >piece
  dd if=piece of=disk bs=64K seek="$1" conv=notrunc status=none
  dd if=piece of=first bs=64K seek="$1" conv=notrunc status=none
}
cut() { # PID: killed with -9
  kill -KILL "$1"
  forget_server "$1"
  eventually gone "$1"
}

@test "what is read is right, what is written arrives, at the end at the latest" {
  serve
  mount_it --sync none --push-interval 0s
  cmp disk first
  eventually status_has '"pull_complete":true'
  put 3
  put 100
  sync disk
  status_has '"dirty":131072'
  stop_server "$mount"
  [ "$server_status" = 0 ]
  cmp image first
}

@test "fsync means the region; --sync none does not; wait-clean waits" {
  serve
  mount_it --push-interval 0s
  put 5
  sync disk
  cmp image first
  put 6
  status_has '"dirty":65536'
  [[ $(ask flush) == *flushed* ]]
  cmp image first
  put 7
  [[ $(ask wait-clean) == *'"clean":true'* ]]
  cmp image first
}

@test "while the server is away what is here is read and written, and arrives when it is back" {
  serve
  mount_it --cache cache
  eventually status_has '"pull_complete":true'
  cut "$ram"
  put 1
  put 127
  cmp disk first
  status_has '"dirty":131072'
  serve
  [[ $(ask wait-clean) == *'"clean":true'* ]]
  cmp image first
}

@test "ending without the server says what was not written, and the cache keeps it" {
  serve
  mount_it --cache cache --grace 1s
  eventually status_has '"pull_complete":true'
  cut "$ram"
  put 9
  STOP_PATIENCE=30 stop_server "$mount"
  [ "$server_status" = 1 ]
  grep -q "65536 bytes were not written to .*; they are in cache, the next start pushes them" "$server_err"
  serve
  mount_it --cache cache
  [[ $(ask wait-clean) == *'"clean":true'* ]]
  cmp image first
}

@test "a cache is used again: nothing is fetched twice" {
  serve
  mount_it --cache cache
  eventually status_has '"pull_complete":true'
  cut "$mount"
  mount_it --cache cache
  status_has '"pulled":0'
  cmp disk first
  stop_server "$mount"
  mount_it --cache cache
  status_has '"pulled":0'
}

@test "what somebody else changed meanwhile is not mixed in" {
  serve
  mount_it --cache cache
  eventually status_has '"pull_complete":true'
  stop_server "$mount"
  head -c 4096 /dev/urandom | dd of=image bs=4096 seek=77 conv=notrunc status=none
  cp image first
  mount_it --cache cache
  cmp disk first
  eventually status_has '"pulled":4096'
}

@test "writes that were not pushed are not put over a region that was changed" {
  serve
  mount_it --cache cache --push-interval 0s
  eventually status_has '"pull_complete":true'
  put 2
  cut "$mount"
  head -c 4096 /dev/urandom >other
  for file in image first; do dd if=other of=$file bs=4096 seek=500 conv=notrunc status=none; done
  run -1 --separate-stderr "$BIN/r3-mount" --cache cache "$(region)" disk
  [[ $stderr == *"was changed meanwhile, and 65536 bytes"* ]]
  mount_it --cache cache --push-anyway
  [[ $(ask wait-clean) == *'"clean":true'* ]]
  cmp image first
}

@test "a cache of another region is refused" {
  serve
  mount_it --cache cache
  stop_server "$mount"
  truncate -s 8M other
  run -1 --separate-stderr "$BIN/r3-mount" --cache cache other disk
  [[ $stderr == *"another region, r3+unix:"* ]]
}

@test "a cache on a full disk: reads are right, writes wait for room or are refused" {
  serve
  mkdir small
  mount -t tmpfs -o size=6M none small
  mount_it --cache small/cache --cache-size 16M
  cmp disk first
  for block in 1 20 40 60 80 100 120; do put $block; done
  cmp disk first
  sync disk
  stop_server "$mount"
  [ "$server_status" = 0 ]
  cmp image first
}

@test "read-only: no writes, nothing pushed" {
  serve
  mount_it -r --cache cache
  cmp disk first
  run -1 dd if=first of=disk bs=4096 count=1 conv=notrunc status=none
}

killed() { # MODE
  need "python3" command -v python3
  mkdir kills
  run -0 timeout -k 5 300 python3 "$ROOT/tests/system/managed_kills.py" "$BIN" "${MOUNT_KILLS:-25}" \
    "${R3_SEED:-1}" "$PWD/kills" "$1"
  echo "$output"
  [[ ${lines[-1]} == "killed ${MOUNT_KILLS:-25} times" ]]
}

@test "r3-mount killed with -9 under load: no acknowledged write is lost" { killed mount; }
@test "its server killed with -9 under load" { killed server; }
@test "both killed with -9 under load" { killed both; }
