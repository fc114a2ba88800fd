# SPDX-License-Identifier: Apache-2.0
# A mount is used at random and compared with a model (mount_fsx.py): FSX_SECONDS for each (2), from FSX_SEED on.
load ../helper

setup() {
  need_mounts
  cd "$BATS_TEST_TMPDIR"
  size=3000320 # no whole number of pages or chunks, but of sectors
  head -c $size /dev/urandom >below
}

# Nobody may still use what a failed test leaves.
teardown() {
  local status=0
  [ -z "${fsx:-}" ] || kill -KILL "$fsx" 2>/dev/null || true
  stop_servers || status=1
  return $status
}

exercise() { # PATH [SECONDS]
  python3 "$ROOT/tests/system/mount_fsx.py" "$1" "${2:-${FSX_SECONDS:-2}}" "${FSX_SEED:-$((RANDOM * 32768 + RANDOM))}" expected
}

# What was written is in the region afterwards.
exercise_all() { # ARGS...: of r3-mount
  start_server r3-mount "$@" "file:$PWD/below" subject
  exercise subject
  stop_server
  [ "$server_status" = 0 ]
  cmp below expected
}

need_loop() { need "/dev/loop-control" test -c /dev/loop-control; }

@test "fsx: a file, direct" { exercise_all --direct; }

@test "fsx: a block device, direct" {
  need_loop
  exercise_all --direct --driver loop
}

@test "fsx: a file, managed" { exercise_all --cache-size 16M; }

@test "fsx: a block device, managed, with a cache on disk" {
  need_loop
  exercise_all --driver loop --cache "$PWD/cache"
}

serve() {
  rm -f nbd
  start_server nbd-serve -l "unix:$PWD/nbd" "file:$PWD/below"
  serving=$server_pid
}

# The server is killed and comes back again and again meanwhile; the program only waits.
exercise_through_outages() { # ARGS...: of r3-mount
  local outages=0
  serve
  start_server r3-mount "$@" "nbd+unix:///?socket=$PWD/nbd" subject
  mount_pid=$server_pid
  exercise subject $((${FSX_SECONDS:-2} * 2)) 3>&- &
  fsx=$!
  while kill -0 "$fsx" 2>/dev/null; do
    sleep "0.$((RANDOM % 4 + 1))" # what it does meanwhile is the point
    kill -KILL "$serving"
    forget_server "$serving"
    serve
    outages=$((outages + 1))
  done
  wait "$fsx"
  ((outages >= 2))
  stop_server "$mount_pid"
  [ "$server_status" = 0 ]
  cmp below expected
}

@test "fsx: a file, direct, whose server dies and comes back" { exercise_through_outages --direct; }

@test "fsx: a block device, direct, whose server dies and comes back" {
  need_loop
  exercise_through_outages --direct --driver loop
}

@test "fsx: a file, managed, whose server dies and comes back" { exercise_through_outages; }
