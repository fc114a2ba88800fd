# SPDX-License-Identifier: Apache-2.0
# tapisk on a drive with the ioctls of st(4) (cuse-tape), beside mt-st and tar. Runs inside tests/vm/run.
load ../helper

setup() {
  need "the guest of tests/vm/run" test "${IN_VM:-}" = 1
  need "mt-st" command -v mt-st
  modprobe cuse
  cd "$BATS_TEST_TMPDIR"
  name=r3tape$BATS_TEST_NUMBER
  drive=/dev/$name
}

teardown() {
  ! mountpoint -q mnt || umount mnt
  stop_servers || true
  [ -z "${cuse:-}" ] || kill "$cuse" || true
}

make_drive() { # [CAPACITY]
  "$BIN/tests/vm/cuse-tape" "$name" "${1:-0}" "$PWD/switches" >cuse.log 2>&1 3>&- &
  cuse=$!
  eventually test -c "$drive"
}
tape() { start_server tapisk --control "unix:$PWD/ctl" --index t.index "$@" && tapisk=$server_pid; }
ask() { "$BIN/tapisk" --ask "$1" "unix:$PWD/ctl"; }

@test "a drive: ext4 through the loop driver, mt and tar, --rebuild, --compact" {
  modprobe loop
  mkdir mnt
  make_drive
  tape --size 16M --chunk-size 64K --driver loop "$drive" dev
  mkfs.ext4 -q dev
  mount dev mnt
  head -c 2M /dev/urandom >source
  cp source mnt/
  umount mnt
  stop_server "$tapisk"
  [ "$server_status" = 0 ]
  mt-st -f "$drive" rewind
  tar -xOf "$drive" | grep -qx "size 16777216"
  mt-st -f "$drive" rewind
  mt-st -f "$drive" fsf 1
  dd if="$drive" bs=1M count=1 status=none | head -c 8 | cmp - <(printf '\001R3TAPE1')
  mt-st -f "$drive" asf 1
  run -0 mt-st -f "$drive" tell
  [[ $output == *"block 2"* ]]
  rm t.index t.cache
  "$BIN/tapisk" --rebuild --index t.index "$drive"
  tape --driver loop "$drive" dev
  mount dev mnt
  cmp source mnt/source
  umount mnt
  cat dev >image
  stop_server "$tapisk"
  [ "$server_status" = 0 ]
  "$BIN/tapisk" --compact copy.tap --index t.index "$drive"
  start_server tapisk -r copy.tap disk
  cmp image disk
}

@test "fixed blocks; cleaning, no tape, write protection, the end of the tape" {
  make_drive 3000000
  head -c 1M /dev/urandom >source
  tape --size 4M --chunk-size 64K --tape-block 16K "$drive" disk
  dd if=source of=disk conv=notrunc bs=1M status=none
  ask flush
  run -1 "$BIN/tapisk" --rebuild --index other.index "$drive"
  [[ $output == *"another process uses the drive"* ]]
  # The tape is pulled out and is back; the drive fails and is cleaned.
  dd if=source of=disk conv=notrunc bs=1M seek=1 status=none
  echo o >switches
  run ! ask flush
  [[ $output == *"there is no tape in the drive"* ]]
  echo bc >switches
  run ! ask flush
  [[ $output == *"asks to be cleaned"* ]]
  rm switches
  eventually eval 'ask flush | grep -q flushed'
  cmp -n 2M <(cat source source) disk
  dd if=source of=disk conv=notrunc bs=1M seek=2 status=none
  run ! ask flush
  [[ $output == *"the end of the tape"* ]]
  stop_server "$tapisk"
  [ "$server_status" = 1 ]
  run -0 mt-st -f "$drive" status
  [[ $output == *"Tape block size 16384 bytes"* ]]
  echo w >switches
  run -1 "$BIN/tapisk" --index t.index "$drive" disk
  [[ $output == *"write-protected"* ]]
  tape -r "$drive" disk
  cmp -n 2M <(cat source source) disk
  stop_server "$tapisk"
  # The same while it is read.
  rm switches
  tape -r --no-pull --cache memory "$drive" disk
  echo o >switches
  run ! dd if=disk bs=64K skip=20 count=1
  rm switches
  eventually eval 'dd if=disk bs=64K skip=20 count=1 status=none | cmp - <(tail -c +262145 source | head -c 64K)'
  stop_server "$tapisk"
  echo o >switches
  run -1 "$BIN/tapisk" --index t.index "$drive" disk
  [[ $output == *"no tape"* ]]
}
