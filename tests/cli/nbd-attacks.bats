#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What hostile and unlucky NBD clients do to nbd-serve, from outside: it serves the next client, keeps
# its memory, and stops when told to. (What they say byte by byte is in tests/unit/nbd_*_test.cpp.)
load ../helper

setup() {
  need "Python" python3 -c ''
  sock=$BATS_TEST_TMPDIR/nbd.sock
}
attack() { python3 "$ROOT/tests/cli/nbdwire.py" "$@"; }
start() { start_server nbd-serve -l "unix:$sock" "$@"; }

@test "clients that vanish with 64 requests in flight, 100 times" {
  start memory:1M
  attack vanish "$sock" 100
  attack good "$sock"
}

# bats test_tags=memory
@test "32 MiB promised, 1 byte sent, on 50 connections: less than 1 MB each" {
  start memory:64M
  run -0 attack promise "$sock" "$server_pid" 50
  ((output < 1000000)) || { echo "$output bytes a connection"; false; }
}

# bats test_tags=memory
@test "8 MiB all but sent on 20 connections: less than 1 MB each, and nothing is written" {
  start memory:64M
  run -0 attack staged "$sock" "$server_pid" 20
  ((output < 1000000)) || { echo "$output bytes a connection"; false; }
}

@test "writes without an end on many connections: their files are bounded together, and others can write" {
  start --max-block 16M --spool-limit 64M memory:64M
  attack liars "$sock" "$server_pid" 8
}

# bats test_tags=memory
@test "500 connections that say nothing: little memory, and a good client is served" {
  start memory:1M
  run -0 attack half_open "$sock" "$server_pid" 500
  ((output < 100000)) || { echo "$output bytes a connection"; false; }
}

# bats test_tags=memory
@test "a client that asks for 2000 MiB and reads nothing: memory stays, others are served" {
  start memory:16M
  run -0 attack deaf "$sock" "$server_pid"
  ((output < 4000000)) || { echo "grew by $output bytes"; false; }
}

@test "a silent client is cut off by the deadline of the handshake" {
  start --handshake-timeout 100ms memory:1M
  run -0 python3 - "$ROOT/tests/cli" "$sock" <<'PY'
import sys
sys.path.insert(0, sys.argv[1])
import nbdwire
s = nbdwire.connect(sys.argv[2])
nbdwire.exactly(s, 18)
assert s.recv(1) == b""
nbdwire.good(sys.argv[2])
PY
}

@test "TERM ends it within a bound although clients are silent, deaf and half-way through a write" {
  start memory:16M
  python3 - "$ROOT/tests/cli" "$sock" "$server_pid" <<'PY'
import os, signal, socket, sys
sys.path.insert(0, sys.argv[1])
import nbdwire as n
path = sys.argv[2]
silent = n.connect(path)
half = n.go(path)
half.sendall(n.request(n.WRITE, 0, 65536) + b"x")
deaf = n.go(path)
deaf.sendall(b"".join(n.request(n.READ, 0, 1 << 20) for _ in range(100)))
os.kill(int(sys.argv[3]), signal.SIGTERM)
assert n.exactly(silent, 18) and silent.recv(1) == b""
assert half.recv(1) == b""
PY
  stop_server
  [ "$server_status" = 0 ]
  [ ! -e "$sock" ]
}

@test "signals under load" {
  start memory:1M
  attack storm "$sock" "$server_pid" 300
}

@test "no more connections than --max-connections; the next one is served when one leaves" {
  start --max-connections 2 memory:1M
  python3 - "$ROOT/tests/cli" "$sock" <<'PY'
import sys, time
sys.path.insert(0, sys.argv[1])
import nbdwire as n
path = sys.argv[2]
a, b, c = n.go(path), n.go(path), n.connect(path)
assert c.recv(1) == b""
a.close()
for _ in range(1000):
    try:
        n.good(path)
        break
    except (EOFError, ConnectionError):
        pass
else:
    raise SystemExit("the place of the client that left was not given away")
PY
}

@test "kill -9 of nbdcopy in the middle, 5 times" {
  need nbdcopy command -v nbdcopy
  start memory:256M
  local uri="nbd+unix:///?socket=$sock" i
  for i in 1 2 3 4 5; do
    nbdcopy --connections=4 --requests=64 "$uri" null: 3>&- &
    eventually test -d "/proc/$!"
    kill -9 $!
    wait $! || true
  done
  attack good "$sock"
}

@test "the image shrinks while it is served: errors, no crash" {
  truncate -s 8M "$BATS_TEST_TMPDIR/image"
  head -c 8M /dev/urandom >"$BATS_TEST_TMPDIR/image"
  start "$BATS_TEST_TMPDIR/image"
  python3 - "$ROOT/tests/cli" "$sock" "$BATS_TEST_TMPDIR/image" <<'PY'
import os, struct, sys
sys.path.insert(0, sys.argv[1])
import nbdwire as n
s = n.go(sys.argv[2])
def read(offset, length):
    s.sendall(n.request(n.READ, offset, length))
    error = struct.unpack(">IIQ", n.exactly(s, 16))[1]
    return error if error else n.exactly(s, length)
assert read(4 << 20, 1 << 20) == open(sys.argv[3], "rb").read()[4 << 20:5 << 20]
os.truncate(sys.argv[3], 1 << 20)
assert read(4 << 20, 1 << 20) == 5
assert read(4 << 20, 4096) == 5
assert len(read(0, 65536)) == 65536
PY
}
