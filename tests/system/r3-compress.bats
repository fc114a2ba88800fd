#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What r3 puts on the wire: counted by a proxy between r3-mount and ram-ul.
load ../helper

teardown() { stop_servers; }

setup() {
  need_mounts
  cd "$BATS_TEST_TMPDIR" || return
  # 8 MiB of text, of which zstd leaves a fraction.
  find /usr/include -name '*.h' -print0 | sort -z | xargs -0 cat 2>/dev/null | head -c 8M >text
  head -c 8M /dev/urandom >noise
}

# carried IMAGE PARAMETERS OPTIONS...: reads IMAGE through a proxy with OPTIONS, compares it, and sets `down`:
# the bytes that came from the server.
carried() {
  local image=$1 parameters=$2
  shift 2
  start_server ram-ul -l "unix:$PWD/s" "$image"
  start_server tests/fault/faultproxy -l "unix:$PWD/p" -c "unix:$PWD/s" "$@"
  proxy=$server_pid proxy_out=$server_out
  : >file
  start_server r3-mount --direct "r3+unix:///?socket=$PWD/p$parameters" file
  cmp file "$image"
  stop_server
  stop_server "$proxy"
  cat "$proxy_out"
  down=$(sed -n 's/.*"down":\([0-9]*\).*/\1/p' "$proxy_out")
}

@test "text over a slow link travels compressed" {
  carried text '&compress=yes' --rate 100M
  ((down < 6 * 1048576))
}

@test "what does not compress travels as it is" {
  carried noise '&compress=yes' --rate 200M
  ((down > 8 * 1048576 && down < 9 * 1048576))
}

@test "on one machine nothing is compressed unless asked for" {
  carried text '' --rate 400M
  ((down > 8 * 1048576))
}

@test "zeroes travel as flags" {
  truncate -s 64M zeroes
  carried zeroes '&compress=no'
  ((down < 1048576))
}
