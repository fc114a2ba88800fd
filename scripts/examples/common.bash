# SPDX-License-Identifier: Apache-2.0
# What the examples and the demo share: servers that are waited for, a link that counts and delays, an orderly
# end. Who sources this then is in a folder of its own, $dir, with the tools in its PATH.
# shellcheck shell=bash
set -euo pipefail
export LC_ALL=C.UTF-8
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN=${BIN:-build}
[[ $BIN == /* ]] || BIN=$tree/$BIN
export PATH=$BIN:$BIN/tests/fault:$PATH
DELAY=${DELAY:-10ms} # of the links, each way

say() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
wants() { # COMMAND...: what the example cannot do without is said before it begins
  local command
  for command; do
    command -v "$command" >/dev/null ||
      die "needs $command (scripts/install-deps build test, then: make all aids)"
  done
}
wants_root() { [[ $(id -u) == 0 ]] || die "needs root: $*"; }

dir=$(realpath "$(mktemp -d "${TMPDIR:-/tmp}/r3${0##*/}.XXXXXX")")
cd "$dir"
pids=() mounted=()

stop() { # PID: an ordered end; killed only if it does not come
  kill -TERM "$1" 2>/dev/null || return 0
  for _ in {1..500}; do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.02
  done
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

# In one command with wait, so that the shell says nothing of it.
stop_now() { { kill -KILL "$1"; wait "$1"; } 2>/dev/null || true; } # PID: as a crash would

stop_all() { # the last that was started first
  local i
  for ((i = ${#mounted[@]} - 1; i >= 0; i--)); do umount "${mounted[i]}" 2>/dev/null || umount -l "${mounted[i]}" 2>/dev/null || true; done
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do stop "${pids[i]}"; done
  mounted=() pids=()
}

at_end() { :; } # an example may have more to tidy up
clean_up() {
  local status=$?
  trap '' INT TERM HUP
  at_end || status=1
  stop_all
  cd /
  # A mount that is still there must not have its contents removed.
  rm -rf --one-file-system "$dir" || status=1
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# start NAME CMD...: starts a tool, and waits until it says that it is ready. What it prints is in NAME.out,
# its process in the array process.
declare -A process=()
start() {
  local name=$1
  shift
  rm -f "$name.ready"
  mkfifo "$name.ready"
  "$@" --ready-fd 9 9>"$name.ready" >"$name.out" 2>>"$name.err" &
  # shellcheck disable=SC2034  # the examples use it
  process[$name]=$!
  pids+=($!)
  IFS= read -r -t 30 _ <"$name.ready" || {
    cat "$name.err" >&2
    die "$name did not become ready"
  }
}

# until_true CMD...: waits for it, 30 s at most.
until_true() {
  local end=$((SECONDS + 30))
  until "$@"; do
    ((SECONDS < end)) || die "waited too long for: $*"
    sleep 0.02
  done
}

# link FROM TO: a line to the UNIX socket TO that is at FROM, delays by $DELAY each way, and counts.
link() {
  start "$1.link" faultproxy -l "unix:$dir/$1" -c "unix:$dir/$2" --delay "$DELAY" --control "unix:$dir/$1.control"
}
crossed() { faultproxy --ask stats "unix:$dir/$1.control" | jq '.up + .down'; } # LINK: bytes so far

status_of() { "$1" --ask status "unix:$dir/$2" | jq -r ".$3"; } # TOOL CONTROL MEMBER

mib() { awk -v bytes="$1" 'BEGIN { printf "%.2f MiB", bytes / 1048576 }'; }
now() { date +%s%N; }
since() { echo $((($(now) - $1) / 1000000)); } # BEGIN: milliseconds

# saved WHAT CROSSED SIZE: the last words of an example, which have to be good ones.
saved() {
  awk -v what="$1" -v crossed="$2" -v size="$3" 'BEGIN {
    printf "\n%s: %.2f of %.2f MiB crossed the wire, %.1f %% saved\n", what, crossed / 1048576, size / 1048576,
      100 * (1 - crossed / size)
    exit !(crossed < size) }' || die "more crossed than a copy is large"
}
