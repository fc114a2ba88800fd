#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A server that 10,000 silent connections and 1,000 half-open handshakes hold on to still lets a client in, in
# bounded memory.
# alone: it fills the machine with 11,000 sockets, and looks how long a client waits
load ../helper

resident() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }

ask_crowd() {
  echo count >&"${CROWD[1]}"
  read -r -t 60 idle halves <&"${CROWD[0]}"
}

@test "10,000 silent and 1,000 half-open connections keep nobody out" {
  need "python3" command -v python3
  need "11,500 descriptors" test "$(ulimit -Hn)" -ge 11500
  cd "$BATS_TEST_TMPDIR"
  "$BIN/r3-key" gen -o server.key 2>/dev/null
  "$BIN/r3-key" gen -o client.key 2>/dev/null
  server=$("$BIN/r3-key" pub server.key)
  (umask 077; echo "$("$BIN/r3-key" pub client.key) c rw *" >peers)
  start_server ram-ul -l "unix:$PWD/s" --key-file server.key --peer-keys peers 1M
  crowded=$server_pid
  alone=$(resident "$crowded")
  coproc CROWD { exec python3 "$ROOT/tests/system/r3_crowd.py" "$PWD/s" 10000 1000; }
  read -r -t 60 line <&"${CROWD[0]}"
  [ "$line" = full ]
  begun=$(date +%s%N)
  start_server ram-ul -l "unix:$PWD/t" "r3+unix:///?socket=$PWD/s&server-key=$server&key-file=client.key"
  took=$((($(date +%s%N) - begun) / 1000000))
  kib=$(($(resident "$crowded") - alone))
  # It came in beside them, not after them: the server had let none of them go.
  ask_crowd
  echo "let in after $took ms, beside $idle silent and $halves half-open; $kib KiB for them"
  ((idle == 10000 && halves == 1000))
  ((took < 5000)) # 1 s is meant; a loaded machine is given more
  ((kib < 11000 * 32)) # 1 MiB is the promise for a connection before authentication
}
