#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# tapisk with real file systems: on a tape in a file, through ends, kills, lost indexes and full tapes.
load ../helper

setup() {
  need_mounts
  cd "$BATS_TEST_TMPDIR"
}

teardown() {
  ! mountpoint -q mnt || umount mnt
  stop_servers || true
  unmount_all || true
}

tape() { start_server tapisk --control "unix:$PWD/ctl" "$@" && tapisk=$server_pid; }
ask() { "$BIN/tapisk" --ask "$1" "unix:$PWD/ctl"; }
ends() { # STATUS: it is told to, and has this status
  stop_server "$tapisk" || true
  [ "$server_status" = "$1" ]
}
whole() { # every file of mnt is what it was
  (cd mnt && md5sum --quiet -c ../sums)
}

@test "ext4 through the loop driver: files in and out, after a remount, from the tape alone, from a copy" {
  need "/dev/loop-control" test -c /dev/loop-control
  mkdir mnt
  tape --size 64M --driver loop t.tap dev
  mkfs.ext4 -q dev
  mount dev mnt
  cp -r "$ROOT/libcommon" mnt/
  head -c 5M /dev/urandom >mnt/large
  (cd mnt && find . -type f -exec md5sum {} +) >sums
  umount mnt
  ends 0
  tape --driver loop t.tap dev # with the cache
  mount dev mnt
  whole
  rm mnt/large
  sed -i '/ .\/large$/d' sums
  echo more >mnt/more
  umount mnt
  ends 0
  rm t.tap.cache t.tap.index
  "$BIN/tapisk" --rebuild t.tap
  tape --driver loop t.tap dev
  mount dev mnt
  whole
  grep -qx more mnt/more
  umount mnt
  e2fsck -fn dev
  ends 0
  "$BIN/tapisk" --compact "tape:u.tap?block=4K" t.tap
  rm t.tap
  tape -r --driver loop u.tap dev
  mount -o ro dev mnt
  whole
  umount mnt
  ends 0
}

@test "fsync is in the cache by default, on the tape with --sync remote; a kill loses neither" {
  head -c 1M /dev/urandom >piece
  tape --size 8M t.tap disk
  dd if=piece of=disk conv=notrunc,fsync bs=1M status=none
  [[ $(ask status) == *'"generation":0'* ]]
  kill -KILL "$tapisk"
  forget_server "$tapisk"
  eventually gone "$tapisk"
  umount -l disk || true
  tape t.tap disk
  cmp -n 1M piece disk
  [[ $(ask flush) == *'"flushed":true'* ]]
  [[ $(ask status) == *'"dirty":0'*'"generation":1'* ]]
  dd if=piece of=disk conv=notrunc bs=1M seek=1 status=none
  ends 0
  rm t.tap.cache
  tape --sync remote --cache memory t.tap disk
  cmp -n 2M <(cat piece piece) disk
  dd if=piece of=disk conv=notrunc,fsync bs=1M seek=3 status=none
  kill -KILL "$tapisk"
  forget_server "$tapisk"
  eventually gone "$tapisk"
  umount -l disk || true
  tape -r t.tap disk
  cmp -n 1M piece <(tail -c +3145729 disk)
  ends 0
}

@test "a full tape: what did not fit is said, kept, and goes to the copy" {
  head -c 6M /dev/urandom >image
  tape --size 8M "tape:t.tap?capacity=4M" disk
  dd if=image of=disk conv=notrunc bs=1M count=2 status=none
  ask flush
  dd if=image of=disk conv=notrunc bs=1M status=none
  run ! ask flush
  [[ $output == *"end of the tape"* ]]
  cmp -n 6M image disk
  ends 1
  grep -q "bytes were not written to .*; they are in t.tap.cache" "$server_err"
  "$BIN/tapisk" --compact u.tap t.tap
  tape --cache t.tap.cache u.tap disk
  cmp -n 6M image disk
  ends 0
  rm t.tap.cache
  tape u.tap disk
  cmp -n 6M image disk
  ends 0
}

@test "a cache that is not the tape's any more is not believed" {
  tape --size 8M t.tap disk
  head -c 1M /dev/urandom >piece
  dd if=piece of=disk conv=notrunc bs=1M status=none
  ends 0
  R3_LIBEXEC=$BIN "$BIN/nbd-serve" -l "unix:$PWD/n" tape:t.tap --run sh -c \
    "head -c 64K /dev/zero | nbdcopy - 'nbd+unix:///?socket=$PWD/n'"
  tape t.tap disk
  cmp -n 64K /dev/zero disk
  cmp -n 900000 <(tail -c +65537 piece) <(tail -c +65537 disk)
  ends 0
}

@test "what was kept is read at once from a slow tape, and the tape in its order" {
  head -c 4M /dev/urandom >image
  tape --size 4M --chunk-size 64K t.tap disk
  for part in 3 0 2 1; do
    dd if=image of=disk conv=notrunc bs=1M skip=$part seek=$part count=1 status=none
    ask flush
  done
  ends 0
  rm t.tap.cache
  tape --pull-first t.tap disk
  [[ $(ask status) =~ \"seeks\":([0-9]+) ]]
  # Of 64 blocks; to go over a filemark is one, too.
  ((BASH_REMATCH[1] <= 16)) || { echo "seeks: ${BASH_REMATCH[1]}" >&2; false; }
  cmp image disk
  ends 0
}
