# SPDX-License-Identifier: Apache-2.0
# What every bats file loads (load ../helper). A test file that defines its own teardown() calls
# stop_servers in it.
bats_require_minimum_version 1.5.0

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BIN=${BIN:-$ROOT/build}
[[ $BIN == /* ]] || BIN=$ROOT/$BIN
export ROOT BIN LC_ALL=C.UTF-8

servers=() # pids that teardown stops
started=0  # how many servers this test has started

# need WHAT CMD...: the test needs WHAT, which is there if CMD succeeds. If not, the test is skipped
# with the reason, or fails when STRICT=1.
need() {
  local what=$1
  shift
  "$@" >/dev/null 2>&1 && return
  if [[ ${STRICT:-} == 1 ]]; then
    echo "needs $what, and STRICT=1 takes no excuse" >&2
    return 1
  fi
  skip "needs $what"
}

need_root() { need root test "$(id -u)" = 0; }
need_mounts() { need_root && need "/dev/fuse" test -c /dev/fuse; }

# eventually CMD...: tries until CMD succeeds; fails after PATIENCE seconds (10).
eventually() {
  local end=$((SECONDS + ${PATIENCE:-10}))
  until "$@"; do
    if ((SECONDS >= end)); then
      echo "not within ${PATIENCE:-10} s: $*" >&2
      return 1
    fi
    sleep 0.02
  done
}

# start_server NAME ARGS...: starts the tool in the background and waits until it says that it is ready.
# Sets server_pid, and server_out and server_err: the files with what it prints.
start_server() {
  local name=$1 stem
  stem=$BATS_TEST_TMPDIR/server-$((++started))
  shift
  server_out=$stem.out server_err=$stem.err
  mkfifo "$stem.ready"
  "$BIN/$name" --ready-fd 9 "$@" 9>"$stem.ready" >"$server_out" 2>"$server_err" 3>&- &
  server_pid=$!
  servers+=("$server_pid")
  if ! IFS= read -r -t "${PATIENCE:-30}" _ <"$stem.ready"; then
    echo "$name $* did not become ready:" >&2
    cat "$server_err" >&2
    return 1
  fi
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# stop_server [PID]: TERM must end it within 5 s. Sets server_status to its exit status.
stop_server() {
  local pid=${1:-$server_pid} i rest=()
  for i in "${servers[@]}"; do [[ $i == "$pid" ]] || rest+=("$i"); done
  servers=("${rest[@]}")
  kill -TERM "$pid" 2>/dev/null || true
  PATIENCE=${STOP_PATIENCE:-5} eventually gone "$pid" || {
    kill -KILL "$pid"
    wait "$pid" || true
    echo "process $pid did not stop within 5 s of TERM" >&2
    return 1
  }
  server_status=0
  wait "$pid" || server_status=$?
}

# Forgets a server that the test has ended itself (kill -9).
forget_server() {
  local pid=${1:-$server_pid} i rest=()
  for i in "${servers[@]}"; do [[ $i == "$pid" ]] || rest+=("$i"); done
  servers=("${rest[@]}")
  wait "$pid" 2>/dev/null || true
}

# Stops all servers, the last started first; each must end with 0, so that a sanitizer's report or an
# error on the way out is seen.
stop_servers() {
  local failed=0 pid
  while ((${#servers[@]})); do
    pid=${servers[-1]}
    stop_server "$pid" || { failed=1; continue; }
    if ((server_status != 0)); then
      echo "server $pid ended with $server_status" >&2
      failed=1
    fi
  done
  ((failed == 0)) || cat "$BATS_TEST_TMPDIR"/server-*.err >&2
  return $failed
}

# unmount_all: takes away what is mounted in the test's directory; fails if something was.
unmount_all() {
  local path failed=0
  for path in $(awk -v dir="$BATS_TEST_TMPDIR/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | tac); do
    echo "left mounted: $path" >&2
    umount -l "$path"
    failed=1
  done
  return $failed
}

# refuses STATUS WORDS TOOL ARGS...: it ends with STATUS, one line on stderr has WORDS, and stdout is empty.
refuses() {
  local status_wanted=$1 words=$2 tool=$3
  shift 3
  run --separate-stderr "-$status_wanted" timeout 20 "$BIN/$tool" "$@"
  [ -z "$output" ]
  # shellcheck disable=SC2154 # run sets it
  [[ $stderr == "$tool: "*"$words"* ]] || { echo "said: $stderr" >&2; return 1; }
}

teardown() { stop_servers; }
