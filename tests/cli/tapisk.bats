# SPDX-License-Identifier: Apache-2.0
# tapisk from outside: what it refuses, and how; what it does with a tape and without a mount.
load ../helper

tapisk_fails() { refuses "$1" "$2" tapisk "${@:3}"; } # STATUS WORDS ARGS...

setup() { cd "$BATS_TEST_TMPDIR"; }

# A tape in t.tap with an image of 1 MiB, made without a mount: nbd-serve shows region-tape.
fill() {
  head -c 1M /dev/urandom >image
  R3_LIBEXEC=$BIN "$BIN/nbd-serve" -l "unix:$PWD/fill" "tape:t.tap?size=1M&chunk=64K" --run nbdcopy image \
    "nbd+unix:///?socket=$PWD/fill"
}
read_back() { # REGION FILE
  R3_LIBEXEC=$BIN "$BIN/nbd-serve" -r -l "unix:$PWD/back" "$1" --run nbdcopy "nbd+unix:///?socket=$PWD/back" "$2"
}

@test "impossible options" {
  tapisk_fails 2 DEVICE
  tapisk_fails 2 --chunk-size --size 1M --chunk-size 5000 t.tap disk
  tapisk_fails 2 "512 to 1M" --size 1M --tape-block 100 t.tap disk
  tapisk_fails 2 --sync --size 1M --sync later t.tap disk
  tapisk_fails 2 "needs --cache" --size 1M --cache memory --sync local t.tap disk
  tapisk_fails 2 "not together" --rebuild --compact u.tap t.tap
  tapisk_fails 2 "colour" "tape:t.tap?colour=red" disk
  tapisk_fails 2 --size --size many t.tap disk
  [ ! -e t.tap ] && [ ! -e disk ]
}

@test "no tape, no drive, a blank tape without a size, another process" {
  tapisk_fails 1 "t.tap: No such file" t.tap disk
  tapisk_fails 2 "--index" /dev/null disk
  tapisk_fails 1 "is no tape drive" --index i /dev/null disk
  : >t.tap
  tapisk_fails 2 "a size is needed" t.tap disk
  exec 8<t.tap
  flock 8
  tapisk_fails 1 "another process uses this tape" t.tap disk
}

@test "what is not ours is not overwritten" {
  head -c 100000 /dev/urandom >t.tap
  printf '\004\0\0\0abcd\004\0\0\0' >t.tap
  cp t.tap before
  tapisk_fails 1 "not ours" --size 1M t.tap disk
  tapisk_fails 1 "no label of ours" --rebuild t.tap
  cmp t.tap before
}

@test "a region of all tools; tar reads the label; another size, another index" {
  fill
  read_back tape:t.tap copy
  cmp image copy
  dd if=t.tap bs=4 skip=1 count=2560 status=none | tar -xOf - >label
  grep -qx "size 1048576" label
  grep -qx "chunk 65536" label
  tapisk_fails 2 "a size of 1048576, not 2097152" --size 2M t.tap disk
  R3_LIBEXEC=$BIN "$BIN/nbd-serve" -l "unix:$PWD/other" "tape:u.tap?size=1M" --run true
  tapisk_fails 1 "wrong tape" --index u.tap.index t.tap disk
}

@test "--rebuild finds everything from the tape alone" {
  fill
  mv t.tap.index lost
  tapisk_fails 1 "tapisk --rebuild" t.tap disk
  run -0 "$BIN/tapisk" --rebuild t.tap
  [ "$output" = "t.tap.index: 1 batches, 16 records" ]
  read_back tape:t.tap copy
  cmp image copy
}

@test "a damaged place: an error there, before and after --rebuild, and not elsewhere" {
  fill
  printf X | dd of=t.tap bs=1 seek=100000 conv=notrunc status=none
  run -0 --separate-stderr "$BIN/tapisk" --rebuild t.tap
  [[ $stderr == *"1 records cannot be read"* ]]
  R3_LIBEXEC=$BIN run ! read_back tape:t.tap copy
  tapisk_fails 1 "is lost" --compact u.tap t.tap
  run -0 --separate-stderr "$BIN/tapisk" --compact u.tap --force t.tap
  [[ $stderr == *"1 blocks could not be read"* ]]
}

@test "--compact: a copy that is smaller, and has an end" {
  fill
  fill
  run -0 "$BIN/tapisk" --compact "tape:u.tap?block=4K" t.tap
  [ "$output" = "u.tap: 16 blocks, 1.0 MiB" ]
  (($(stat -c %s u.tap) < $(stat -c %s t.tap) * 2 / 3))
  read_back tape:u.tap copy
  cmp image copy
  tapisk_fails 1 "--force overwrites it" --compact u.tap t.tap
  tapisk_fails 1 "end of the tape" --compact "tape:v.tap?capacity=500K" t.tap
  tapisk_fails 1 "not finished" v.tap disk
}
