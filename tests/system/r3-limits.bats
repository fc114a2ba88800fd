#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What ram-ul's limits mean to a client that does not keep to them.
load ../helper

# peer CODE: Python with a Peer class, from r3_peer.py.
peer() {
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$ROOT/tests/system timeout 60 \
    python3 -c "from r3_peer import *; path = '$BATS_TEST_TMPDIR/s'; $1"
}

@test "no more connections than --max-connections" {
  start_server ram-ul -l "unix:$BATS_TEST_TMPDIR/s" --max-connections 2 1M
  peer '
one, two = Peer(path), Peer(path)
try:
    Peer(path)
except (EOFError, ConnectionError):
    pass
else:
    raise SystemExit("a third one was let in")
one.read(0, 1), two.read(0, 1)
two.socket.close()
for _ in range(1000):
    try:
        Peer(path)
        break
    except (EOFError, ConnectionError):
        pass
else:
    raise SystemExit("the place was not given back")'
}

@test "no longer request than --max-request" {
  start_server ram-ul -l "unix:$BATS_TEST_TMPDIR/s" --max-request 64K 1M
  peer '
one = Peer(path)
assert one.max_transfer == 65536
assert len(one.read(0, 65536)) == 65536
try:
    one.read(0, 65537)
except Refused as error:
    assert error.args == (75,)
else:
    raise SystemExit("a longer read was answered")'
}

@test "a client that takes no answers holds little memory" {
  [[ $BIN != *build-* ]] || skip "memory is measured in a plain build"
  head -c 32M /dev/urandom >"$BATS_TEST_TMPDIR/image"
  start_server ram-ul -l "unix:$BATS_TEST_TMPDIR/s" "$BATS_TEST_TMPDIR/image"
  peer "
def resident():
    with open('/proc/$server_pid/status') as status:
        return next(int(line.split()[1]) for line in status if line.startswith('RssAnon'))
before = resident()
greedy = [Peer(path) for _ in range(8)]
for one in greedy:
    for _ in range(one.max_bytes // one.max_transfer - 1):
        one.send(READ, 0, 0, one.max_transfer)
assert Peer(path).read(0, 10)
grown = (resident() - before) // len(greedy)
print(grown, 'KiB for each')
assert grown < 4096"
}

@test "--memory-limit is shared out to the connections that may be" {
  credit() { # LIMIT CONNECTIONS: the bytes that a client may have in flight
    start_server ram-ul -l "unix:$BATS_TEST_TMPDIR/s" --memory-limit "$1" --max-connections "$2" 1M
    peer 'print(Peer(path).max_bytes)'
    stop_server
  }
  [ "$(credit 64M 16)" = $((4 << 20)) ]
  [ "$(credit 64M 1)" = $((64 << 20)) ]
  [ "$(credit 64M 64)" = $((1 << 20)) ]
  run -2 "$BIN/ram-ul" -l "unix:$BATS_TEST_TMPDIR/s" --memory-limit 63M --max-connections 64 1M
  [[ $output == *"--memory-limit 66060288: at least 67108864"* ]]
}

@test "a client that sends more than its credits is not received" {
  [[ $BIN != *build-* ]] || skip "memory is measured in a plain build"
  # The region hangs: nothing that is received is ever done with.
  start_server ram-ul -l "unix:$BATS_TEST_TMPDIR/t" 1M
  hung=$server_pid
  start_server ram-ul -l "unix:$BATS_TEST_TMPDIR/s" --memory-limit 4M --max-connections 1 \
    "r3+unix:///?socket=$BATS_TEST_TMPDIR/t"
  kill -STOP "$hung"
  peer "
import random
def resident():
    with open('/proc/$server_pid/status') as status:
        return next(int(line.split()[1]) for line in status if line.startswith('RssAnon'))
one, before, taken = Peer(path), resident(), 0
assert one.max_bytes == 4 << 20
one.socket.settimeout(1)
try:
    for _ in range(256):
        one.send(WRITE, 0, 0, 1 << 20, payload=random.randbytes(1 << 20))
        taken += 1
except TimeoutError:
    pass
print(taken, 'MiB taken,', resident() - before, 'KiB more')
assert taken < 10 and resident() - before < 24 << 10"
  kill -CONT "$hung"
}
