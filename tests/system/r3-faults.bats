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

@test "killed with -9 under load: no wrong byte, nothing lost, nothing stuck" {
  cd "$BATS_TEST_TMPDIR"
  truncate -s 4M image
  RANDOM=${R3_SEED:-1}
  start_server ram-ul -l "unix:$PWD/s" image
  run_oracle "r3+unix:///?socket=$PWD/s" $((${R3_KILLS:-20} * 400))
  for ((i = 0; i < ${R3_KILLS:-20}; i++)); do
    sleep "0.0$((RANDOM % 90 + 10))" # where it strikes is what varies, and nothing waits for it
    gone "$client" && break
    kill -KILL "$server_pid"
    forget_server
    start_server ram-ul -l "unix:$PWD/s" image
  done
  echo "killed $i times"
  ended_well
  ((i > 0))
}

damaged() { # OPTIONS of faultproxy, then -- and options of ram-ul and the region's parameters
  cd "$BATS_TEST_TMPDIR"
  truncate -s 4M image
  start_server ram-ul -l "unix:$PWD/s" image
  start_server tests/fault/faultproxy -l "unix:$PWD/p" -c "unix:$PWD/s" --seed "${R3_SEED:-1}" "$@"
  run_oracle "r3+unix:///?socket=$PWD/p" 800
  ended_well
}

@test "flipped bits are found in plain mode" { damaged --flip 0.001; }
@test "lost bytes are found in plain mode" { damaged --drop 0.0001; }
@test "repeated bytes are found in plain mode" { damaged --duplicate 0.001; }
@test "exchanged bytes are found in plain mode" { damaged --reorder 0.001; }
@test "seven bytes at a time" { damaged --segment 7; }
@test "a connection that is reset again and again" { damaged --reset-after 300K; }
