# SPDX-License-Identifier: Apache-2.0
# What the man pages' EXAMPLES and --help print is run, line by line, in a root of its own (tests/system/deb_root)
# where there is all that they speak of: hosts called server, host and old-host, an ssh that goes there, disk
# images, a device /dev/vdb. What cannot be run so is named below, with where it is run instead.
# alone: its root has the devices that are there when it begins
load ../helper

setup() {
  need_mounts
  need sqlite3 command -v sqlite3
  need nbdcopy command -v nbdcopy
  losetup -f >/dev/null || true # makes a device if all are taken
}

run_page() { # PAGE... : their examples, as printed, in $lines
  export BIN
  for page; do
    "$ROOT/tests/system/page_commands" "$ROOT/man/$page" >"$BATS_TEST_TMPDIR/commands"
    [[ -s $BATS_TEST_TMPDIR/commands ]]
    # The next line is meant for when the tool is ready, as it is when the one here ends.
    sed '/--ready-fd/!s/ &$//' "$BATS_TEST_TMPDIR/commands" | cat "$ROOT/tests/system/pages.bash" - >"$BATS_TEST_TMPDIR/script"
    DEBS=$BATS_TEST_TMPDIR PAGE=$page DEVICES="loop-control userfaultfd $(cd /dev && echo loop[0-9]*)" run timeout -k 5 100 "$ROOT/tests/system/deb_root" "$BATS_TEST_TMPDIR/script"
    [[ $status == 0 ]] || { echo "$page: $output" >&2; return 1; }
  done
}

@test "pages: the examples of nbd-serve(1), r3tools(7), r3-key(1) and ram-ul(1) run" {
  run_page nbd-serve.1 r3tools.7 r3-key.1 ram-ul.1
}

@test "pages: the examples of r3-mount(1) and uffd-serve(1) run" {
  run_page r3-mount.1 uffd-serve.1
}

@test "pages: the examples of r3-seed(1), r3-leech(1) and mmap-hashsync(1) run" {
  run_page r3-seed.1 r3-leech.1 mmap-hashsync.1
}

# nbd-attach(1), ram-dl(1): need their kernel modules: tests/vm. tapisk(1): needs a drive; on a tape in a
# file: tapisk.bats. r3-regions(7): servers: regions.bats.
# r3-region-helper(7): its two programs: regions.bats.
@test "pages: no page with examples is forgotten" {
  cd "$ROOT/man"
  for page in $(grep -l '^\.Sh EXAMPLES' ./*.[17]); do
    grep -qE "^  run_page .*\b${page#./}\b|^# .*\b$(basename "$page" | sed 's/\.\([17]\)/(\1)/; s/[()]/\\&/g')" \
      "$BATS_TEST_FILENAME" || { echo "$page" >&2; return 1; }
  done
}
