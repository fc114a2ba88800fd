#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# ram-ul from outside. The client is another ram-ul that has the first one's export as its region: what
# nothing but r3 connects.
load ../helper

@test "a size is memory, and clients see each other's writes" {
  start_server ram-ul -l "unix:$BATS_TEST_TMPDIR/s" 1M
  [ -S "$BATS_TEST_TMPDIR/s" ]
}

@test "wrong usage ends with 2 and says what is accepted" {
  run -2 "$BIN/ram-ul" -l unix:x --max-request 1K
  [[ $output == *"4K to 32M"* ]]
  run -2 "$BIN/ram-ul" -l unix:x --peer-keys f
  [[ $output == *"--key-file"* ]]
  run -2 "$BIN/ram-ul" -l unix:x a=1M a=1M
  [[ $output == *"two exports"* ]]
  run -2 "$BIN/ram-ul" -l unix:x "r3+unix:///?socket=y&compress=maybe"
  [[ $output == *"compress=auto"* ]]
  run -2 "$BIN/ram-ul" -l "tcp://0.0.0.0:0" 1M
  [[ $output == *"--plain"* ]]
  run -2 "$BIN/ram-ul" -l unix:x --anonymous 1M
  [[ $output == *"--anonymous needs --key-file"* ]]
  run -2 "$BIN/ram-ul" -l unix:x "$(printf %0256d 1)=1M"
  [[ $output == *"255 bytes at most, not 256"* ]]
}

@test "an empty word is no key file, and does not mean that none is needed" {
  local option
  for option in --key-file --psk-file --peer-keys; do
    run -2 "$BIN/ram-ul" -l "unix:$BATS_TEST_TMPDIR/s" "$option" "" 1M
    [ "${lines[0]}" = "ram-ul: $option: FILE is empty" ]
  done
  run -2 "$BIN/ram-ul" ""
}

@test "what does not speak r3 is said not to" {
  run -1 "$BIN/nbd-serve" -l "unix:$BATS_TEST_TMPDIR/s" r3+exec:cat
  [[ $output == *"does not answer as an r3 server does"* ]]
}

@test "a region behind ram-ul can be served again (gateway)" {
  head -c 1M /dev/urandom >"$BATS_TEST_TMPDIR/image"
  start_server ram-ul -l "unix:$BATS_TEST_TMPDIR/a" "disk=$BATS_TEST_TMPDIR/image"
  start_server ram-ul -l "unix:$BATS_TEST_TMPDIR/b" "r3+unix:///disk?socket=$BATS_TEST_TMPDIR/a"
}

@test "an export that is not there is refused" {
  start_server ram-ul -l "unix:$BATS_TEST_TMPDIR/a" "disk=1M"
  run -1 "$BIN/ram-ul" -l "unix:$BATS_TEST_TMPDIR/b" "r3+unix:///other?socket=$BATS_TEST_TMPDIR/a"
  [[ $output == *"other"* ]]
}

@test "a command is a server: r3+exec" {
  start_server ram-ul -l "unix:$BATS_TEST_TMPDIR/b" "r3+exec:$BIN/ram-ul -l - 1M"
}

@test "a command is one server, however many connections were asked for" {
  cd "$BATS_TEST_TMPDIR"
  for server in "nbd+exec:echo began >>log; exec $BIN/nbd-serve - memory:1M" \
    "r3+exec:echo began >>log; exec $BIN/ram-ul -l - 1M"; do
    start_server ram-ul -l "unix:$PWD/b" --connections 4 "$server"
    [ "$(cat log)" = began ]
    stop_server
    rm log
  done
}

@test "a client without the key gets nowhere; HUP takes a key away" {
  [ -x "$BIN/r3-key" ] || skip "needs r3-key"
  cd "$BATS_TEST_TMPDIR"
  "$BIN/r3-key" gen >server.key 2>server.pub
  "$BIN/r3-key" gen >client.key 2>client.pub
  chmod 600 ./*.key
  server=$("$BIN/r3-key" pub <server.key) client=$("$BIN/r3-key" pub <client.key)
  echo "$client alice rw *" >peers
  start_server ram-ul -l "unix:$PWD/s" --events-fd 7 --key-file server.key --peer-keys peers 1M 7>server-1.events
  upstream=$server_pid upstream_err=$server_err
  region="r3+unix:///?socket=$PWD/s&server-key=$server"
  run -1 timeout -k 1 5 "$BIN/ram-ul" -l "unix:$PWD/t" "r3+unix:///?socket=$PWD/s"
  run -1 timeout -k 1 5 "$BIN/ram-ul" -l "unix:$PWD/t" "$region"
  start_server ram-ul -l "unix:$PWD/t" --events-fd 7 "$region&key-file=client.key" 7>events
  # Another right is another connection; what is wrong in the file changes nothing.
  echo "$client alice ro *" >peers
  kill -HUP "$upstream"
  eventually grep -q '"event":"disconnected"' server-1.events
  : >server-1.events
  echo nonsense >peers
  kill -HUP "$upstream"
  eventually grep -q "peers" "$upstream_err"
  start_server ram-ul -l "unix:$PWD/v" "$region&key-file=client.key"
  : >peers
  kill -HUP "$upstream"
  eventually grep -q '"event":"disconnected"' server-1.events
  cut_off() { run -1 timeout -k 1 2 "$BIN/ram-ul" -l "unix:$PWD/u" "$region&key-file=client.key"; }
  eventually cut_off
  kill -0 "$upstream"
}

@test "HUP with another pre-shared key cuts who knows only the old one" {
  cd "$BATS_TEST_TMPDIR"
  "$BIN/r3-key" psk -o psk
  cp psk old && chmod 600 psk old
  start_server ram-ul -l "unix:$PWD/s" --events-fd 7 --psk-file psk 1M 7>events
  upstream=$server_pid upstream_err=$server_err
  region="r3+unix:///?socket=$PWD/s"
  start_server ram-ul -l "unix:$PWD/t" "$region&psk-file=old"
  kill -HUP "$upstream" # the same key: nobody is cut
  "$BIN/r3-key" psk >new && chmod 600 new
  run -1 grep disconnected events
  mv new psk
  kill -HUP "$upstream"
  eventually grep '"event":"disconnected"' events
  eventually grep "process $server_pid of user .*: refused: the handshake failed" "$upstream_err"
  run -1 timeout -k 1 5 "$BIN/ram-ul" -l "unix:$PWD/u" "$region&psk-file=old"
  start_server ram-ul -l "unix:$PWD/u" "$region&psk-file=psk"
}

@test "who is refused, and why, is said" {
  cd "$BATS_TEST_TMPDIR"
  "$BIN/r3-key" gen >server.key 2>server.pub
  "$BIN/r3-key" gen >client.key 2>client.pub
  "$BIN/r3-key" gen >other.key 2>other.pub
  chmod 600 ./*.key
  server=$("$BIN/r3-key" pub <server.key) client=$("$BIN/r3-key" pub <client.key)
  other=$("$BIN/r3-key" pub <other.key)
  echo "$client alice ro a" >peers
  start_server ram-ul -l tcp://127.0.0.1:0 --events-fd 7 --key-file server.key --peer-keys peers \
    a=1M b=1M 7>events
  port=$(sed -n '1s/.*"tcp:..127.0.0.1:\([0-9]*\)".*/\1/p' events)
  region="127.0.0.1:$port"
  refused() { # REASON REGION
    run -1 timeout -k 1 5 "$BIN/ram-ul" -l "unix:$PWD/u" "$2"
    [[ $output == *"127.0.0.1:$port"* ]]
    eventually grep -F "$1" "$server_err"
    grep -E '^ram-ul: warning: tcp://127.0.0.1:[0-9]+: refused: ' "$server_err"
  }
  refused "key $other is not among --peer-keys" "r3://$region/a?server-key=$server&key-file=other.key"
  refused "export 'b': not for this key" "r3://$region/b?server-key=$server&key-file=client.key"
  refused "export 'c': there is none" "r3://$region/c?server-key=$server&key-file=client.key"
  refused "it came without keys" "r3://$region/a?plain=yes"
  refused "the handshake failed" "r3://$region/a?server-key=$other&key-file=client.key"
  printf 'GET / HTTP/1.0' >"/dev/tcp/127.0.0.1/$port"
  eventually grep -F "a client that asks for another protocol" "$server_err"
  run -1 grep r3sk1 "$server_err"
}

@test "key files may be FIFOs, also when they are read again" {
  cd "$BATS_TEST_TMPDIR"
  "$BIN/r3-key" psk -o lab.psk
  mkfifo -m 600 fifo
  cat lab.psk >fifo &
  start_server ram-ul -l unix:s --psk-file fifo 1M
  kill -HUP "$server_pid" # nobody writes to it now
  eventually grep -q "fifo: Connection timed out" "$server_err"
  run "$BIN/ram-ul" -l unix:t "r3+unix:///?socket=s&psk-file=missing"
  [[ $output == *missing* ]]
  start_server ram-ul -l unix:t "r3+unix:///?socket=s&psk-file=lab.psk"
}
