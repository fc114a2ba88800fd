#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One round of r3-mount --direct against nbdfuse (both on the same nbdkit memory server, over a UNIX
# socket) and against a raw FUSE server (both on memory of their own). Prints lines of tab-separated row,
# contender, unit, value. BIN is the build directory, SECONDS_EACH the time for each value. Needs root.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
BIN=${BIN:-$ROOT/build}
each=${SECONDS_EACH:-0.5} size=256M
work=$(mktemp -d)
cd "$work"
pids=()

# What is still mounted is unmounted, so every server ends by itself.
finish() {
  umount r3 raw r3-nbd nbdfuse 2>/dev/null || true
  wait "${pids[@]:1}" 2>/dev/null || true
  [ ${#pids[@]} = 0 ] || kill "${pids[0]}"
  wait
  cd / && rm -rf "$work"
}
trap finish EXIT

until_true() { for _ in {1..500}; do if "$@"; then return; fi; sleep 0.01; done; false; }
now() { date +%s%N; }

# start NAME GROUP CONTENDER COMMAND...: mounts on the file NAME; prints the time until it could be read.
start() {
  local name=$1 group=$2 contender=$3 began took
  shift 3
  : >"$name"
  began=$(now)
  "$@" >/dev/null &
  pids+=($!)
  until [ -s "$name" ] && head -c 1 "$name" >/dev/null; do :; done
  took=$((($(now) - began) / 1000))
  printf 'time until usable, %s\t%s\tms\t%d.%03d\n' "$group" "$contender" $((took / 1000)) $((took % 1000))
}

nbdkit --foreground -U "$work/nbd" memory "$size" &
pids+=($!)
until_true test -S nbd
uri="nbd+unix:///?socket=$work/nbd"

start r3-nbd NBD r3 "$BIN/r3-mount" --direct "$uri" r3-nbd
start nbdfuse NBD nbdfuse nbdfuse "$work/nbdfuse" "$uri"
start r3 memory r3 "$BIN/r3-mount" --direct "memory:$size" r3
start raw memory raw "$BIN/tests/bench/limits/raw_fuse" "$size" raw

python3 "$ROOT/tests/bench/fuse_load.py" "$each" NBD:r3-nbd:r3 NBD:nbdfuse:nbdfuse memory:r3:r3 memory:raw:raw
