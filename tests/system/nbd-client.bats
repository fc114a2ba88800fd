# SPDX-License-Identifier: Apache-2.0
# The NBD client against servers of others: nbd-serve shares on what it reads from them, and clients of
# others look at that. So each byte passes through the client both ways.

load ../helper

setup() {
  cd "$BATS_TEST_TMPDIR"
  need nbdcopy nbdcopy --version
  need nbdkit nbdkit --version
  truncate -s 8M theirs
  head -c 3000000 /dev/urandom | dd of=theirs bs=4K seek=17 conv=notrunc status=none
  peer=
}

teardown() {
  stop_servers
  if [[ -n $peer ]]; then
    kill -KILL "$peer" 2>/dev/null || true
    wait "$peer" 2>/dev/null || true
  fi
}

is_socket() { [[ -S $1 ]]; }

# start_peer SOCKET CMD...: somebody else's server, in the foreground of its own process.
start_peer() {
  local socket=$1
  shift
  rm -f "$socket"
  "$@" 3>&- >"$BATS_TEST_TMPDIR/peer.log" 2>&1 &
  peer=$!
  eventually is_socket "$socket"
}

# Reads all of what nbd-serve makes of REGION, then writes to it, and compares with the file behind it.
both_ways() {
  start_server nbd-serve --listen "unix:$PWD/ours" "$@"
  nbdcopy 'nbd+unix:///?socket=ours' copy
  cmp theirs copy
  head -c 1000000 /dev/urandom >new
  qemu-io -f raw -c 'write -P 7 12345 70001' -c 'write -z 1M 1M' -c flush \
    "nbd+unix:///?socket=$PWD/ours"
  printf '\x07%.0s' {1..70001} | cmp -n 70001 - theirs -i 0:12345
  cmp -n 1048576 /dev/zero theirs -i 0:1048576
}

@test "nbdkit, read and written through the client" {
  start_peer s nbdkit -f -U s --exit-with-parent file theirs
  both_ways "nbd+unix:///?socket=s"
}

@test "nbdkit with a minimum block of 512" {
  need "the filter blocksize-policy" nbdkit --dump-plugin --filter=blocksize-policy null
  start_peer s nbdkit -f -U s --exit-with-parent --filter=blocksize-policy file theirs \
    blocksize-minimum=512 blocksize-preferred=4096 blocksize-maximum=64K blocksize-error-policy=error
  both_ways "nbd+unix:///?socket=s"
}

@test "nbdkit as a command" {
  both_ways "nbd+exec:exec nbdkit -s file theirs"
}

@test "qemu-nbd, read and written through the client" {
  need qemu-nbd qemu-nbd --version
  start_peer s qemu-nbd -f raw -t -e 4 -k "$PWD/s" theirs
  both_ways "nbd+unix:///?socket=s"
}

@test "nbd-server, read and written through the client" {
  need nbd-server nbd-server -V
  printf '[generic]\nunixsock=%s\nallowlist=true\n[theirs]\nexportname=%s\nflush=true\nfua=true\ntrim=true\n' \
    "$PWD/s" "$PWD/theirs" >config
  start_peer s nbd-server -d -C config
  both_ways "nbd+unix:///theirs?socket=s"
}

@test "an export that is not there is an error with its name" {
  need nbd-server nbd-server -V
  start_peer s qemu-nbd -f raw -t -x other -k "$PWD/s" theirs
  run "$BIN/nbd-serve" --listen "unix:$PWD/ours" "nbd+unix:///none?socket=s"
  [ "$status" -eq 1 ]
  [[ $output == *none* ]]
}

worked_for() { (($(stat -c %s progress) > 2 * $1)); } # so there is work between the kills

@test "nothing is lost when the server is killed again and again" {
  need "nbd for python" /usr/bin/python3 -c 'import nbd'
  start_server nbd-serve --listen "unix:$PWD/own" theirs
  first=$server_pid
  start_server nbd-serve --listen "unix:$PWD/ours" "nbd+unix:///?socket=own"
  : >progress
  /usr/bin/python3 - "$PWD/ours" >load.log 2>&1 3>&- <<'PY' &
import nbd, random, sys, os
random.seed(7)
h = nbd.NBD()
h.connect_unix(sys.argv[1])
oracle = bytearray(h.pread(h.get_size(), 0))
rounds = 0
progress = os.open("progress", os.O_WRONLY)
while not os.path.exists("enough"):
    offset = random.randrange(len(oracle) - 70000)
    length = random.randrange(1, 70000)
    kind = random.randrange(8)
    if kind == 0:
        h.flush()
    elif kind < 4:
        data = random.randbytes(length)
        h.pwrite(data, offset)
        oracle[offset:offset + length] = data
    else:
        assert h.pread(length, offset) == oracle[offset:offset + length], "wrong bytes"
    rounds += 1
    os.write(progress, b".")
h.flush()
assert h.pread(len(oracle), 0) == oracle, "wrong bytes at the end"
open("oracle", "wb").write(oracle)
print(rounds)
PY
  load=$!
  for round in {1..50}; do
    eventually worked_for "$round"
    kill -KILL "$first"
    wait "$first" || true
    forget_server "$first"
    start_server nbd-serve --listen "unix:$PWD/own" theirs
    first=$server_pid
  done
  touch enough
  wait "$load" || { cat load.log; false; }
  cmp oracle theirs
  [ "$(cat load.log)" -gt 100 ] # rounds
}
