#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The fault proxy does what its options say, no more and no less: later tests trust it.
load ../helper

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  proxy=$BIN/tests/fault/faultproxy
  others=() # pids of socat
}

teardown() {
  stop_servers
  local status=$?
  ((${#others[@]} == 0)) || kill "${others[@]}" 2>/dev/null || true
  return $status
}

start_proxy() { start_server tests/fault/faultproxy -l unix:p.sock -c unix:t.sock "$@"; }

# A target that keeps all that it gets in the file got; one that sends everything back.
start_sink() {
  rm -f got t.sock
  socat -u UNIX-LISTEN:t.sock,fork OPEN:got,creat,append 3>&- &
  others+=($!)
  eventually test -S t.sock
}
start_echo() {
  rm -f t.sock
  socat -b 65536 -t 60 UNIX-LISTEN:t.sock,fork EXEC:cat 3>&- &
  others+=($!)
  eventually test -S t.sock
}

send() { socat -u FILE:"$1" "UNIX-CONNECT:${2:-p.sock}"; }
size_is() { [ "$(stat -c %s "$1")" = "$2" ]; }
random() { head -c "$1" /dev/urandom >"$2"; }
report() { tail -n 1 "$server_out" | jq ".$1"; }  # after the proxy has stopped
ask() { "$proxy" --ask "$1" unix:c.sock; }

over() { ask stats | jq -e '.connections == 1 and .open == 0' >/dev/null; }
childless() { ! pgrep -P "$1" >/dev/null; }

# faulty FILE OPTION...: what arrives in FILE when the file `in` is sent through a proxy with these faults.
faulty() {
  local file=$1 sink
  shift
  start_sink
  sink=${others[-1]}
  start_proxy --control unix:c.sock "$@"
  send in
  eventually over
  eventually childless "$sink"
  kill "$sink"
  wait "$sink" || true
  stop_server
  mv got "$file"
}

@test "faultproxy: refuses what makes no sense, with status 2" {
  for wrong in "--flip 1.5" "--flip x" "--delay 10" "--rate fast" "--record 0" "--direction in" \
    "--slow-loris 1" "--segment -1" "--seed x" "--nonsense"; do
    # shellcheck disable=SC2086
    run -2 --separate-stderr "$proxy" -l unix:p.sock -c unix:t.sock $wrong
    [ -n "$stderr" ]
    [ ! -e p.sock ]
  done
  run -2 "$proxy" -l unix:p.sock
  run -2 "$proxy" -l unix:p.sock -c -
}

@test "faultproxy: bytes cross intact both ways, late and at a rate, and are counted" {
  start_echo
  random 3M in
  start_proxy --delay 5ms --rate 400M
  socat -t 60 -b 65536 UNIX-CONNECT:p.sock - <in >out
  cmp in out
  stop_server
  [ "$(report up)" = 3145728 ]
  [ "$(report down)" = 3145728 ]
  [ "$(report connections)" = 1 ]
}

@test "faultproxy: over TCP, on the port that it prints" {
  start_echo
  random 1M in
  start_server tests/fault/faultproxy -l tcp://127.0.0.1:0 -c unix:t.sock --delay 1ms
  address=$(head -n 1 "$server_out")
  [[ $address =~ ^tcp://127.0.0.1:([1-9][0-9]*)$ ]]
  socat -t 60 -b 65536 "TCP:127.0.0.1:${BASH_REMATCH[1]}" - <in >out
  cmp in out
}

@test "faultproxy: many clients at once" {
  start_echo
  start_proxy --delay 2ms
  for i in 1 2 3 4 5 6 7 8; do
    random 200K "in$i"
    socat -t 60 UNIX-CONNECT:p.sock - <"in$i" >"out$i" 3>&- &
    pids[i]=$!
  done
  for i in 1 2 3 4 5 6 7 8; do
    wait "${pids[i]}"
    cmp "in$i" "out$i"
  done
  stop_server
  [ "$(report connections)" = 8 ]
}

@test "faultproxy: segments of one byte and a slow loris lose nothing" {
  random 2000 in
  faulty out --segment 1
  cmp in out
  random 60 in
  faulty out --slow-loris 1ms
  cmp in out
}

@test "faultproxy: --flip flips one bit of some records, the same with the same seed" {
  random 256K in
  faulty one --flip 0.2 --record 1K --seed 7
  flipped=$(report flipped)
  ((flipped > 20 && flipped < 90))
  [ "$(cmp -l in one | wc -l)" = "$flipped" ]
  faulty two --flip 0.2 --record 1K --seed 7
  cmp one two
  faulty three --flip 0.2 --record 1K --seed 8
  run ! cmp -s one three
}

@test "faultproxy: --drop and --duplicate take and add whole records" {
  random 100K in
  faulty out --drop 0.3 --record 1K
  dropped=$(report dropped)
  ((dropped > 0))
  size_is out $((102400 - 1024 * dropped))
  faulty out --duplicate 0.3 --record 1K
  duplicated=$(report duplicated)
  ((duplicated > 0))
  size_is out $((102400 + 1024 * duplicated))
}

@test "faultproxy: --reorder swaps records, and changes nothing in them" {
  seq -w 0 9999 >in # records of 5 bytes
  faulty out --reorder 0.2 --record 5
  (($(report reordered) > 100))
  run ! cmp -s in out
  sort out | cmp in -
}

@test "faultproxy: --direction and --skip spare what they say" {
  start_echo
  random 64K in
  start_proxy --flip 1 --record 1K --direction down --skip 32K
  socat -t 60 -b 65536 UNIX-CONNECT:p.sock - <in >out
  stop_server
  [ "$(report flipped)" = 32 ]
  cmp -n 32768 in out
  [ "$(cmp -l in out | wc -l)" = 32 ]
}

@test "faultproxy: --reset-after lets exactly so much pass, then resets both sides" {
  start_sink
  random 100K in
  start_server tests/fault/faultproxy -l tcp://127.0.0.1:0 -c unix:t.sock --reset-after 5000
  port=$(head -n 1 "$server_out" | sed 's/.*://')
  run /usr/bin/python3 - "$port" <<'PYTHON'
import errno, socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
try:
    client.sendall(open("in", "rb").read())
    client.shutdown(socket.SHUT_WR)
    print("end" if client.recv(1) == b"" else "bytes")
except OSError as error:  # the reset may come before the shutdown, which then finds no connection
    known = (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)
    print("reset" if error.errno in known else error)
PYTHON
  [ "$output" = reset ]
  eventually size_is got 5000
  cmp -n 5000 in got
  stop_server
  [ "$(report resets)" = 1 ]
  [ "$(report up)" = 5000 ]
}

@test "faultproxy: --black-hole-after falls silent, without a word to anybody" {
  start_sink
  random 100K in
  start_proxy --black-hole-after 5000 --control unix:c.sock
  send in & sender=$!
  eventually size_is got 5000
  eventually eval '[ "$(ask stats | jq .holes)" = 1 ]'
  size_is got 5000
  stop_server
  wait $sender || true
}

@test "faultproxy: --half-open never tells the target that the client has gone" {
  cat >target.py <<'PYTHON'
import socket
server = socket.socket(socket.AF_UNIX)
server.bind("t.sock")
server.listen()
for _ in range(2):
    peer, _ = server.accept()
    peer.settimeout(0.5)
    try:
        while peer.recv(100):
            pass
        print("end", flush=True)
    except TimeoutError:
        print("silence", flush=True)
PYTHON
  /usr/bin/python3 target.py >target.out 3>&- &
  others+=($!)
  eventually test -S t.sock
  echo hello >in
  start_proxy --half-open
  send in
  eventually grep -q . target.out
  [ "$(cat target.out)" = silence ]
  stop_server
  start_proxy
  send in
  eventually grep -q end target.out
}

@test "faultproxy: a hole can be opened and closed; nothing is lost in it" {
  start_echo
  start_proxy --control unix:c.sock
  [ "$(ask 'hole on' | jq .hole)" = true ]
  random 100K in
  socat -t 60 UNIX-CONNECT:p.sock - <in >out 3>&- & client=$!
  eventually eval '[ "$(ask stats | jq .connections)" = 1 ]'
  [ "$(ask stats | jq .up)" = 0 ]
  ask 'hole off'
  wait $client
  cmp in out
}

@test "faultproxy: cut resets every connection, new ones are served" {
  start_echo
  start_proxy --control unix:c.sock
  mkfifo pipe
  socat -t 0.3 UNIX-CONNECT:p.sock - <pipe >out 3>&- & client=$!
  exec 7>pipe
  echo hello >&7
  eventually test -s out
  [ "$(ask cut | jq .cut)" = 1 ]
  wait $client || true
  exec 7>&-
  [ "$(ask stats | jq .resets)" = 1 ]
  [ "$(echo again | socat -t 60 UNIX-CONNECT:p.sock -)" = again ]
}

@test "faultproxy: the delay can be changed; unknown words are refused" {
  start_echo
  start_proxy --control unix:c.sock --delay 60s
  [ "$(ask 'delay 1ms' | jq -r .delay)" = 1ms ]
  [ "$(echo hello | socat -t 60 UNIX-CONNECT:p.sock -)" = hello ]
  ask 'delay soon' | jq -e .error || [ $? = 1 ]
  ask nonsense | jq -e .error || [ $? = 1 ]
}

@test "faultproxy: without a target clients see the end, and the next one is served" {
  start_proxy
  [ -z "$(echo hello | socat -t 60 UNIX-CONNECT:p.sock - 2>/dev/null)" ]
  start_echo
  [ "$(echo hello | socat -t 60 UNIX-CONNECT:p.sock -)" = hello ]
  grep -q t.sock "$server_err"
}

@test "faultproxy: TERM ends it with clients connected; it reports and removes its socket" {
  start_echo
  start_proxy --report r.json
  mkfifo pipe
  socat -t 60 UNIX-CONNECT:p.sock - <pipe >out 3>&- & client=$!
  exec 7>pipe
  echo hello >&7
  eventually test -s out
  stop_server
  [ "$server_status" = 0 ]
  [ ! -e p.sock ]
  [ "$(jq .up r.json)" = 6 ]
  exec 7>&-
  wait $client || true
}
