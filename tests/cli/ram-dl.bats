# SPDX-License-Identifier: Apache-2.0
# What ram-dl does without swapping; the rest is in tests/vm/ram-dl.bats.
load ../helper

refused() { # TEXT ARGS...
  run -2 "$BIN/ram-dl" "${@:2}"
  [[ $output == *"$1"* ]] || { echo "$output" >&2; return 1; }
}

@test "ram-dl: what makes no sense is refused, with what is accepted" {
  refused "REGION is missing"
  refused "--clean stands alone" --clean r3://host/
  refused "this machine's own memory" memory:1G
  refused "would wait for its own paging; auto, ublk and nbd are accepted" --driver loop r3://host/
  refused "no, once, pages or both is accepted" --discard often r3://host/
  refused "--length belongs to --inspect" --length 4K r3://host/
  refused "--priority: not with --inspect" --inspect --priority 1 r3://host/
  refused "raw or hex is accepted" --inspect --format octal r3://host/
  refused "only r3 regions" --compress yes nbd://host/
  refused "0 to 32767" --priority 32768 r3://host/
}

@test "ram-dl: --inspect prints what a server of memory holds, as bytes and for people" {
  head -c 100K /dev/urandom >"$BATS_TEST_TMPDIR/image"
  printf 'sixteen letters.' | dd of="$BATS_TEST_TMPDIR/image" bs=16 seek=1 conv=notrunc status=none
  start_server ram-ul -l "unix:$BATS_TEST_TMPDIR/sock" "memory:1M?file=$BATS_TEST_TMPDIR/image"
  region="r3+unix:///?socket=$BATS_TEST_TMPDIR/sock"
  "$BIN/ram-dl" --inspect --length 100K "$region" | cmp - "$BATS_TEST_TMPDIR/image"
  "$BIN/ram-dl" --inspect "$region" | wc -c | grep -qx $((1 << 20))
  run -0 "$BIN/ram-dl" --inspect --offset 16 --length 16 --format hex "$region"
  [ "$output" = "0000000010  73 69 78 74 65 65 6e 20  6c 65 74 74 65 72 73 2e  |sixteen letters.|
0000000020" ]
  run -0 "$BIN/ram-dl" --inspect --offset 512K --format hex "$region"
  [ "${#lines[@]}" = 3 ]
  run -1 "$BIN/ram-dl" --inspect --offset 2M "$region"
  run -1 bash -c '"$1" --inspect "$2" >/dev/full' - "$BIN/ram-dl" "$region"
}
