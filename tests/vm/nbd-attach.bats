# SPDX-License-Identifier: Apache-2.0
# nbd-attach with the kernel's own NBD client. Runs inside tests/vm/run.
load ../helper

setup_file() {
  [ "${IN_VM:-}" != 1 ] || modprobe nbd nbds_max=4 max_part=8
}

setup() {
  need "the guest of tests/vm/run" test "${IN_VM:-}" = 1
  sock=$BATS_TEST_TMPDIR/nbd.sock
  control=unix:$BATS_TEST_TMPDIR/control.sock
  mnt=$BATS_TEST_TMPDIR/mnt
  mkdir "$mnt"
}

teardown() {
  umount "$mnt" 2>/dev/null || true
  local device
  for device in /sys/block/nbd*/pid; do
    [[ ! -e $device ]] || "$BIN/nbd-attach" --detach "/dev/$(basename "$(dirname "$device")")" --force || true
  done
  stop_servers || true
}

serve() { start_server nbd-serve -l "unix:$sock" "$@"; serve_pid=$server_pid; }
attach() {
  start_server nbd-attach "unix:$sock" --control "$control" "$@"
  attach_pid=$server_pid
  device=$(head -n 1 "$server_out")
}
ask() { "$BIN/nbd-attach" --ask status "$control" | jq -r ".$1"; }
asks() { [ "$(ask "$1")" = "$2" ]; }

@test "a device: picked by the kernel, right size, ext4 on it, flushed and gone after TERM" {
  serve memory:64M
  attach
  [ "$device" = /dev/nbd0 ]
  [ "$(blockdev --getsize64 "$device")" = $((64 << 20)) ]
  asks state alive
  asks connections 2
  run -0 "$BIN/nbd-attach" --list
  [[ $output == "/dev/nbd0"$'\t'"67108864"$'\t'"alive" ]]
  mkfs.ext4 -q "$device"
  mount "$device" "$mnt"
  head -c 3M /dev/urandom | tee "$BATS_TEST_TMPDIR/source" >"$mnt/file"
  umount "$mnt"
  stop_server "$attach_pid"
  [ "$server_status" = 0 ]
  [ ! -e /sys/block/nbd0/pid ]
  attach
  e2fsck -fn "$device"
  mount -o ro "$device" "$mnt"
  cmp "$BATS_TEST_TMPDIR/source" "$mnt/file"
  umount "$mnt"
}

@test "a device that is named; --run; read-only; block size; udev's way of waiting" {
  serve -r pattern:8M
  run -0 "$BIN/nbd-attach" "nbd+unix:///?socket=$sock" /dev/nbd2 -r --block-size 4K --wait udev \
    --run sh -c 'echo "$R3_PATH"; blockdev --getsize64 "$R3_PATH"; blockdev --getss "$R3_PATH"
                 blockdev --getro "$R3_PATH"; cat "/sys/block/nbd2/queue/read_ahead_kb"'
  [ "$output" = "/dev/nbd2"$'\n'"8388608"$'\n'"4096"$'\n'"1"$'\n'"4096" ]
  [ ! -e /sys/block/nbd2/pid ]
}

@test "the server is killed and comes back: what reads and writes only waits" {
  truncate -s 32M "$BATS_TEST_TMPDIR/disk"
  serve "$BATS_TEST_TMPDIR/disk"
  attach
  head -c 4M /dev/urandom >"$BATS_TEST_TMPDIR/source"
  dd if="$BATS_TEST_TMPDIR/source" of="$device" bs=64K oflag=direct status=none
  for _ in 1 2 3; do
    kill -KILL "$serve_pid"
    forget_server "$serve_pid"
    dd if="$device" bs=64K count=64 iflag=direct status=none >"$BATS_TEST_TMPDIR/read" &
    reader=$!
    eventually asks dead 2
    serve "$BATS_TEST_TMPDIR/disk"
    wait "$reader"
    cmp "$BATS_TEST_TMPDIR/source" "$BATS_TEST_TMPDIR/read"
    eventually asks dead 0
  done
  asks state alive
}

@test "a server that hangs is left for a new connection" {
  truncate -s 8M "$BATS_TEST_TMPDIR/disk"
  serve "$BATS_TEST_TMPDIR/disk"
  attach --timeout 5s
  kill -STOP "$serve_pid"
  run -0 "$BIN/nbd-attach" --list
  [[ $output == *silent ]]
  dd if="$device" of=/dev/null bs=4K count=1 iflag=direct status=none &
  reader=$!
  eventually asks dead 2
  kill -CONT "$serve_pid"
  wait "$reader"
  eventually asks dead 0
}

@test "another export in the place of the old one is not taken" {
  serve memory:8M
  attach
  kill -KILL "$serve_pid"
  forget_server "$serve_pid"
  serve memory:16M
  dd if="$device" of=/dev/null bs=4K count=1 iflag=direct status=none &
  reader=$!
  eventually grep -q "has 16777216 bytes now, the device 8388608" "$BATS_TEST_TMPDIR"/server-2.err
  asks replaced 0
  "$BIN/nbd-attach" --detach "$device" --force
  run wait "$reader"
  eventually gone "$attach_pid"
  forget_server "$attach_pid"
}

@test "nbd-attach is killed: the device goes on, and the next start takes it over" {
  truncate -s 8M "$BATS_TEST_TMPDIR/disk"
  serve "$BATS_TEST_TMPDIR/disk"
  attach
  echo kept | dd of="$device" bs=4K conv=sync oflag=direct status=none
  kill -KILL "$attach_pid"
  forget_server "$attach_pid"
  [ "$(head -c 4 "$device")" = kept ]
  attach
  asks adopted true
  [ "$device" = /dev/nbd0 ]
  kill -KILL "$serve_pid"
  forget_server "$serve_pid"
  serve "$BATS_TEST_TMPDIR/disk"
  [ "$(dd if="$device" bs=4K count=1 iflag=direct status=none | head -c 4)" = kept ]
  run -1 "$BIN/nbd-attach" "unix:$sock"
  [[ $output == *"another nbd-attach keeps it"* ]]
}

@test "--detach refuses what is in use; --force frees who waits for a dead server" {
  serve memory:32M
  attach
  mkfs.ext4 -q "$device"
  mount "$device" "$mnt"
  run -1 "$BIN/nbd-attach" --detach "$device"
  [[ $output == *"mounted at $mnt"*"--force"* ]]
  umount "$mnt"
  kill -KILL "$serve_pid"
  forget_server "$serve_pid"
  dd if="$device" of=/dev/null bs=4K count=1 iflag=direct status=none &
  reader=$!
  eventually asks state silent
  "$BIN/nbd-attach" --detach "$device" --force
  run wait "$reader"
  eventually gone "$attach_pid"
  forget_server "$attach_pid"
  run -1 "$BIN/nbd-attach" --detach "$device"
  [[ $output == *"nothing is attached"* ]]
}

@test "a command as the server" {
  run -0 "$BIN/nbd-attach" "nbd+exec:$BIN/nbd-serve - pattern:4M" \
    --run sh -c 'dd if=$R3_PATH bs=8 count=1 skip=1000 status=none | od -An -tx1'
  [[ $output == *"40 1f"* || $output == *"1f 40"* ]]
}

@test "no free device, and a device that is taken, are said" {
  for i in 0 1 2 3; do
    "$BIN/nbd-serve" -l "unix:$sock$i" memory:1M --exit-with-parent 3>&- &
    eventually test -S "$sock$i"
    start_server nbd-attach "unix:$sock$i" "/dev/nbd$i"
  done
  serve memory:1M
  run -1 "$BIN/nbd-attach" "unix:$sock" /dev/nbd1
  [[ $output == *"/dev/nbd1"*"busy"* ]]
}

@test "a server that comes back with more bytes: refused, and taken with --grow" {
  truncate -s 8M "$BATS_TEST_TMPDIR/disk"
  serve "$BATS_TEST_TMPDIR/disk"
  attach --grow
  kill -KILL "$serve_pid"
  forget_server "$serve_pid"
  truncate -s 12M "$BATS_TEST_TMPDIR/disk"
  serve "$BATS_TEST_TMPDIR/disk"
  eventually asks size $((12 << 20))
  [ "$(blockdev --getsize64 "$device")" = $((12 << 20)) ]
  dd if="$device" of=/dev/null bs=1M skip=11 iflag=direct status=none
  kill -KILL "$serve_pid"
  forget_server "$serve_pid"
  truncate -s 4M "$BATS_TEST_TMPDIR/disk"
  serve "$BATS_TEST_TMPDIR/disk"
  eventually grep -q "has 4194304 bytes now, the device 12582912" "$BATS_TEST_TMPDIR"/server-2.err
  "$BIN/nbd-attach" --detach "$device" --force
  eventually gone "$attach_pid"
  forget_server "$attach_pid"
}

@test "vsock goes through the process, and is dialled again" {
  need vsock_loopback modprobe vsock_loopback
  truncate -s 8M "$BATS_TEST_TMPDIR/disk"
  head -c 8M /dev/urandom >"$BATS_TEST_TMPDIR/disk"
  start_server nbd-serve -l vsock://local:10809 --plain "$BATS_TEST_TMPDIR/disk"
  serve_pid=$server_pid
  start_server nbd-attach vsock://local:10809 --control "$control"
  device=$(head -n 1 "$server_out")
  dd if="$device" bs=1M iflag=direct status=none | cmp - "$BATS_TEST_TMPDIR/disk"
  kill -KILL "$serve_pid"
  forget_server "$serve_pid"
  dd if="$device" bs=1M iflag=direct of="$BATS_TEST_TMPDIR/read" status=none &
  reader=$!
  start_server nbd-serve -l vsock://local:10809 --plain "$BATS_TEST_TMPDIR/disk"
  wait "$reader"
  cmp "$BATS_TEST_TMPDIR/read" "$BATS_TEST_TMPDIR/disk"
}

@test "a table: names, a line's options, and what is wrong in it" {
  serve -r pattern:4M
  printf 'one unix:%s device=nbd3 block-size=4K\ntwo nbd://nowhere/\nbad unix:/x colour=red\n' "$sock" >"$BATS_TEST_TMPDIR/tab"
  run -0 "$BIN/nbd-attach" --table "$BATS_TEST_TMPDIR/tab"
  [ "$output" = $'one\ntwo\nbad' ]
  run -0 "$BIN/nbd-attach" --table "$BATS_TEST_TMPDIR/tab" one --swap --run sh -c 'echo $R3_PATH; blockdev --getss $R3_PATH'
  [ "$output" = $'/dev/nbd3\n4096' ]
  run -2 "$BIN/nbd-attach" --table "$BATS_TEST_TMPDIR/tab" three
  [[ $output == *'has no line "three"'* ]]
  run -2 "$BIN/nbd-attach" --table "$BATS_TEST_TMPDIR/tab" bad
  [[ $output == *"bad: colour: is no option"* ]]
}
