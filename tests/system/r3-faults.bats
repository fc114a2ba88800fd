#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# r3 when things break: a server killed with -9 again and again under a client that knows what it has to see
# (R3_KILLS and R3_SEED choose more), and a connection that damages what passes.
load ../helper

teardown() {
  [[ -z ${client:-} ]] || kill -KILL "$client" 2>/dev/null || true
  stop_servers
}

# run_oracle REGION STEPS: in the background.
run_oracle() {
  "$BIN/tests/fault/region_oracle" "$1" "$2" "${R3_SEED:-1}" >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
  client=$!
}

ended_well() {
  local status=0
  PATIENCE=120 eventually gone "$client"
  wait "$client" || status=$?
  client=
  cat "$BATS_TEST_TMPDIR/said"
  return "$status"
}

@test "killed with -9 at 500 points under load: no wrong byte, nothing lost, nothing stuck" {
  need "python3" command -v python3
  cd "$BATS_TEST_TMPDIR"
  "$BIN/r3-key" psk -o psk
  run -0 timeout -k 5 120 python3 "$ROOT/tests/system/r3_kills.py" "$BIN" "${R3_KILLS:-500}" "${R3_SEED:-1}" "$PWD"
  echo "$output"
  [[ ${lines[-1]} == "killed ${R3_KILLS:-500} times" ]]
}

# damaged OPTIONS of faultproxy: a load over a connection that suffers so.
damaged() {
  cd "$BATS_TEST_TMPDIR"
  truncate -s 4M image
  start_server ram-ul -l "unix:$PWD/s" ${key:+--psk-file "$key"} image
  start_server tests/fault/faultproxy -l "unix:$PWD/p" -c "unix:$PWD/s" --seed "${R3_SEED:-1}" "$@"
  run_oracle "r3+unix:///?socket=$PWD/p${key:+&psk-file=$key}" 800
  ended_well
}

# The same for whole records of an encrypted connection, after the preamble.
damaged_records() {
  key=$BATS_TEST_TMPDIR/psk
  "$BIN/r3-key" psk -o "$key"
  damaged --record be16 --skip 8 "$@"
}

@test "flipped bits are found in plain mode" { damaged --flip 0.001; }
@test "lost bytes are found in plain mode" { damaged --drop 0.0001; }
@test "repeated bytes are found in plain mode" { damaged --duplicate 0.001; }
@test "exchanged bytes are found in plain mode" { damaged --reorder 0.001; }
@test "seven bytes at a time" { damaged --segment 7; }
@test "a connection that is reset again and again" { damaged --reset-after 300K; }
@test "flipped bits are found in encrypted mode" { damaged_records --flip 0.005; }
@test "lost records are found in encrypted mode" { damaged_records --drop 0.005; }
@test "repeated records are found in encrypted mode" { damaged_records --duplicate 0.005; }
@test "exchanged records are found in encrypted mode" { damaged_records --reorder 0.005; }
@test "an encrypted connection that is reset again and again" { damaged_records --reset-after 300K; }
