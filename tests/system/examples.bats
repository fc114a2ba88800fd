# SPDX-License-Identifier: Apache-2.0
# The examples do what they say: each proves its own bytes, prints what crossed the wire, and leaves nothing.
# scripts/examples/swap runs in tests/vm/ram-dl.bats.
load ../helper

# They wait most of the time, for a link that is slow on purpose: so four of them run at once, and each test
# looks at the outcome of its own.
setup_file() {
  export OUT=$BATS_FILE_TMPDIR
  # shellcheck disable=SC2016  # the inner shell expands it
  sed -n 's/^  example \([a-z-]*\)$/\1/p' "$BATS_TEST_FILENAME" | xargs -P 4 -n 1 sh -c 'export TMPDIR=$OUT/$0.t
    mkdir "$TMPDIR"
    timeout -k 5 100 "$ROOT/scripts/examples/$0" >"$OUT/$0" 2>&1
    echo $? >"$OUT/$0.status"' 3>&- &
  echo $! >"$OUT/pid"
}

teardown_file() { ! kill "$(cat "$OUT/pid")" 2>/dev/null || true; }

setup() {
  need_mounts
}

example() {
  PATIENCE=110 eventually test -s "$OUT/$1.status"
  [[ $(<"$OUT/$1.status") == 0 && $(tail -n 1 "$OUT/$1") =~ ^$1:\ .*\ crossed\ the\ wire.*saved$ ]] ||
    { cat "$OUT/$1" >&2; return 1; }
  ! grep -q "$OUT/$1.t" /proc/mounts
  [[ -z $(ls -A "$OUT/$1.t") ]]
}

@test "example: every one of them is tested" {
  cd "$ROOT/scripts/examples"
  for name in *; do
    [[ $name == common.bash ]] || grep -q "^  example $name$" "$BATS_TEST_FILENAME" ||
      grep -q "scripts/examples/$name" "$ROOT/tests/vm/ram-dl.bats" || { echo "$name is not" >&2; return 1; }
  done
}

@test "example: SQLite over a managed mount, without downloading the database" {
  example sqlite
}

@test "example: a film with its index at the end, played from the first second" {
  example film
}

@test "example: a pack of assets, fetched in the order that was recorded" {
  example assets
}

@test "example: a program and a script, run without fetching all of them" {
  example program
}

@test "example: ext4 and squashfs, mounted with a cache and synchronised back" {
  need loop test -e /dev/loop-control
  example file-systems
}

@test "example: a to-do list that survives an outage and a crash" {
  example to-do
}

@test "example: an application moves between two hosts with its state" {
  example migrate-app
}

@test "example: a snapshot's memory comes when the guest touches it" {
  need userfaultfd test -r /dev/userfaultfd
  example snapshot
}

@test "example: a virtual machine moves while it runs" {
  need qemu command -v qemu-system-x86_64
  example migrate-vm
}
