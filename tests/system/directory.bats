#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Directory regions behind a real server: a full disk, a server that is killed, two servers at once.
load ../helper

setup() {
  need "nbdsh" command -v nbdsh
  dir=$BATS_TEST_TMPDIR/region socket=$BATS_TEST_TMPDIR/socket uri="nbd+unix:///?socket=$BATS_TEST_TMPDIR/socket"
}

teardown() {
  local status=0
  stop_servers || status=1
  unmount_all || true
  return $status
}

nbdsh_does() { /usr/bin/python3 -m nbd -u "$uri" -c "$1"; }

serve() { # REGION
  rm -f "$socket"
  start_server nbd-serve -l "unix:$socket" "$1"
}

@test "dir: a full disk gives ENOSPC, keeps what was there, and room heals it" {
  need_root
  mkdir "$BATS_TEST_TMPDIR/small"
  need "to mount a tmpfs" mount -t tmpfs -o size=1m tmpfs "$BATS_TEST_TMPDIR/small"
  serve "dir:$BATS_TEST_TMPDIR/small/region?size=16M&chunk=64K"
  run -0 nbdsh_does '
import errno
h.pwrite(b"k" * 65536, 0)
for at in range(65536, 16 << 20, 65536):
    try:
        h.pwrite(b"x" * 65536, at)
    except nbd.Error as e:
        assert e.errno == "ENOSPC", e
        break
else:
    raise Exception("16 MiB went into 1 MiB")
assert h.pread(65536, 0) == b"k" * 65536
assert h.pread(65536, 8 << 20) == bytes(65536)
h.zero(at - 65536, 65536)          # gives back the room of the chunks before
h.pwrite(b"y" * 4096, at)
assert h.pread(4096, at) == b"y" * 4096
h.flush()
print("healed at", at)'
  [[ $output == "healed at "* ]]
}

@test "dir: a server killed with SIGKILL loses nothing that was answered" {
  for round in 1 2 3; do
    serve "dir:$dir?size=4M&chunk=64K"
    run -0 nbdsh_does "
for at in range(0, 4 << 20, 32768):
    h.pwrite(bytes([$round + at // 32768 % 7]) * 32768, at)"
    kill -KILL "${server_pid:?}"
    forget_server
  done
  serve "dir:$dir"
  run -0 nbdsh_does "
for at in range(0, 4 << 20, 32768):
    assert h.pread(32768, at) == bytes([3 + at // 32768 % 7]) * 32768, at"
  [ -z "$(find "$dir" -type f ! -size 64k ! -name region ! -name lock)" ]
}

@test "dir: a second server is refused while the first one writes" {
  serve "dir:$dir?size=4M"
  run -1 "$BIN/nbd-serve" -l "unix:$BATS_TEST_TMPDIR/other" "dir:$dir"
  [[ $output == *"another process has it open"* ]]
  stop_server
  serve "dir:$dir"
}

@test "dir: wrong shapes are wrong usage, and change nothing" {
  for region in "dir:$dir" "dir:$dir?size=4M&chunk=5000" "dir:$dir?size=x" "dir:$dir?size=4M&chunks=4K"; do
    run -2 "$BIN/nbd-serve" -l "unix:$socket" "$region"
    [ ! -e "$dir" ]
  done
  serve "dir:$dir?size=4M"
  stop_server
  run -2 "$BIN/nbd-serve" -l "unix:$socket" "dir:$dir?size=8M"
  [[ $output == *"its size is 4194304, not 8388608"* ]]
}
