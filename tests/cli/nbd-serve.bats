#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# nbd-serve from outside: where it listens, what it says, how it ends, and what it refuses.
load ../helper

setup() {
  need "nbdinfo" command -v nbdinfo
  sock=$BATS_TEST_TMPDIR/nbd.sock
  uri="nbd+unix:///?socket=$sock"
}
start() { start_server nbd-serve "$@"; }

refuses() { # WORDS ARGS...: exit status 2 and one line that has WORDS in it
  local words=$1
  shift
  run -2 "$BIN/nbd-serve" "$@"
  [[ $output == *"$words"* ]] || { echo "expected $words in: $output" >&2; return 1; }
}

@test "a UNIX socket: prints the URI, serves, removes the socket on TERM" {
  start -l "unix:$sock" memory:1M
  [ "$(cat "$server_out")" = "nbd+unix:///?socket=$sock" ]
  [ "$(nbdinfo --size "$uri")" = 1048576 ]
  [ "$(stat -c %a "$sock")" = 600 ]
  stop_server
  [ "$server_status" = 0 ]
  [ ! -e "$sock" ]
}

@test "TCP on a free port: the URI says which" {
  start -l tcp://127.0.0.1:0 memory:1M
  [ "$(nbdinfo --size "$(cat "$server_out")")" = 1048576 ]
}

@test "several listeners at once" {
  start -l "unix:$sock" -l tcp://127.0.0.1:0 -l "unix:$sock.2" memory:1M
  [ "$(wc -l <"$server_out")" = 3 ]
  while read -r each; do nbdinfo --size "$each"; done <"$server_out"
}

@test "several exports: names, default, list" {
  start -l "unix:$sock" memory:1M two=memory:2M 3-x.y_z=memory:3M
  [ "$(nbdinfo --size "$uri")" = 1048576 ]
  [ "$(nbdinfo --size "nbd+unix:///two?socket=$sock")" = 2097152 ]
  [ "$(nbdinfo --size "nbd+unix:///3-x.y_z?socket=$sock")" = 3145728 ]
  run ! nbdinfo --size "nbd+unix:///four?socket=$sock"
  [ "$(nbdinfo --list --json "$uri" | jq '.exports | length')" = 3 ]
}

@test "a file whose path has a = in it needs no name; a name before a path works" {
  truncate -s 1M "$BATS_TEST_TMPDIR/a=b"
  cd "$BATS_TEST_TMPDIR"
  start -l "unix:$sock" a=b "n=a=b"
  [ "$(nbdinfo --size "$uri")" = 1048576 ]
  [ "$(nbdinfo --size "nbd+unix:///n?socket=$sock")" = 1048576 ]
}

@test "read-only: said, and kept" {
  truncate -s 1M "$BATS_TEST_TMPDIR/file"
  start -l "unix:$sock" -r "$BATS_TEST_TMPDIR/file"
  nbdinfo --is read-only "$uri"
  run ! qemu-io -f raw -c 'write 0 512' "$uri"
  cmp "$BATS_TEST_TMPDIR/file" <(head -c 1M /dev/zero)
}

@test "description and block sizes are told" {
  start -l "unix:$sock" --description "some text" --min-block 512 --preferred-block 64K \
    --max-block 1M memory:1M
  run -0 nbdinfo --json "$uri"
  [ "$(jq -r '.exports[0].description' <<<"$output")" = "some text" ]
  [ "$(jq '.exports[0].block_size_minimum' <<<"$output")" = 512 ]
  [ "$(jq '.exports[0].block_size_preferred' <<<"$output")" = 65536 ]
  [ "$(jq '.exports[0].block_size_maximum' <<<"$output")" = 1048576 ]
}

@test "stdin and stdout: - as the first argument, and -l -" {
  for how in "- memory:1M" "memory:1M -l -"; do
    # shellcheck disable=SC2086 # two or three words
    run -0 /usr/bin/python3 -c 'import nbd, sys; h = nbd.NBD(); h.connect_command(sys.argv[1:]); print(h.get_size())' \
      "$BIN/nbd-serve" $how
    [ "$output" = 1048576 ]
  done
}

@test "pipes on stdin and stdout; nothing else is written there" {
  run -0 bash -c 'printf "\0\0\0\3IHAVEOPT\0\0\0\2\0\0\0\0" | "$BIN/nbd-serve" - memory:1M | xxd -p -c 64'
  # the hello, then the acknowledgement of ABORT
  [ "$output" = 4e42444d4147494349484156454f505400030003e889045565a9000000020000000100000000 ]
}

@test "socket activation" {
  run -0 nbdinfo --size -- [ "$BIN/nbd-serve" memory:1M ]
  [ "$output" = 1048576 ]
}

@test "an inherited listening socket: fd:N" {
  run -0 /usr/bin/python3 - "$BIN/nbd-serve" "$sock" <<'PY'
import nbd, socket, subprocess, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[2])
s.listen()
p = subprocess.Popen([sys.argv[1], "-q", "-l", f"fd:{s.fileno()}", "memory:1M"], pass_fds=[s.fileno()])
h = nbd.NBD()
h.connect_unix(sys.argv[2])
print(h.get_size())
h.shutdown()
p.terminate()
assert p.wait(5) == 0
PY
  [[ $output == *1048576 ]]
}

@test "--run: the command finds the URI, its status is the tool's, its stdout its own" {
  run -0 "$BIN/nbd-serve" -l "unix:$sock" memory:1M --run sh -c 'nbdinfo --size "$R3_URI"; echo "$R3_ADDRESS"'
  [ "$output" = "1048576"$'\n'"unix:$sock" ]
  [ ! -e "$sock" ]
  run -7 "$BIN/nbd-serve" -l "unix:$sock" memory:1M --run sh -c 'exit 7'
  run -127 "$BIN/nbd-serve" -l "unix:$sock" memory:1M --run ./no-such-command
}

@test "--exit-with-parent" {
  bash -c '"$BIN/nbd-serve" --exit-with-parent -l "unix:$0" --ready-fd 1 memory:1M >"$0.ready" 3>&- &
           echo $! >"$0.pid"; until [ -s "$0.ready" ]; do sleep 0.02; done' "$sock"
  eventually gone "$(cat "$sock.pid")"
  [ ! -e "$sock" ]
}

@test "--json: events; status on the control socket" {
  start -l "unix:$sock" --json --control "unix:$sock.control" memory:1M x=memory:1M
  [ "$(jq -r 'select(.event == "listening") | .uri' "$server_out" | head -1)" = "$uri" ]
  jq -e 'select(.event == "ready")' "$server_out"
  qemu-io -f raw -c 'write 0 64k' -c 'read 0 32k' "$uri"
  run -0 "$BIN/nbd-serve" --ask status "unix:$sock.control"
  [ "$(jq .exports <<<"$output")" = 2 ]
  [ "$(jq .bytes_written <<<"$output")" = 65536 ]
  [ "$(jq .accepted <<<"$output")" -ge 1 ]
}

# bats test_tags=memory
@test "little memory when idle" {
  start -l "unix:$sock" memory:1G
  rss=$(awk '/VmRSS/ { print $2 }' "/proc/$server_pid/status")
  ((rss <= 3072)) || { echo "$rss KiB"; false; }
}

@test "what makes no sense is refused in a line" {
  refuses REGION
  refuses REGION -
  refuses "memory:x" memory:x
  refuses "--min-block" --min-block 3 memory:1M
  refuses "--min-block" --min-block 128K memory:1M
  refuses "--preferred-block 100" --preferred-block 100 memory:1M
  refuses "--max-block 512" --max-block 512 memory:1M
  refuses twice memory:1M memory:1M
  refuses twice a=memory:1M a=memory:1M
  refuses --max-connections --max-connections 0 memory:1M
  refuses --workers --workers 0 memory:1M
  refuses --handshake-timeout --handshake-timeout never memory:1M
  refuses nowhere -l nowhere memory:1M
  refuses "up to 1G" --max-block 2G memory:1M
  refuses --handshake-timeout --handshake-timeout 0s memory:1M
  refuses "one client" -l - -l - memory:1M
  refuses "one client" - memory:1M -l -
  refuses "--description" memory:1M --description
  refuses "--spool-limit 1048576: at least 67108864" --spool-limit 1M memory:1M x=memory:1M
}

@test "wrong usage is found before anything is made" {
  local d=$BATS_TEST_TMPDIR/d
  refuses nowhere -l nowhere "dir:$d?size=1M"
  refuses "--min-block" --min-block 3 "dir:$d?size=1M"
  refuses memory:x "dir:$d?size=1M" x=memory:x
  refuses twice "a=dir:$d?size=1M" a=memory:1M
  [ ! -e "$d" ]
}

@test "TERM: what was written is flushed to the region beyond" {
  need "nbdkit" command -v nbdkit
  nbdkit -f -U "$sock.far" --filter=log memory 1M logfile="$BATS_TEST_TMPDIR/log" 3>&- &
  local nbdkit=$!
  eventually test -S "$sock.far"
  start -l "unix:$sock" "nbd+unix:///?socket=$sock.far"
  qemu-io -f raw -t unsafe -c 'write -P 7 0 64k' "$uri"
  stop_server
  kill "$nbdkit"
  [ "$server_status" = 0 ]
  grep -q "connection=1 Write" "$BATS_TEST_TMPDIR/log"
  sed -n '/ Write /,$p' "$BATS_TEST_TMPDIR/log" | grep -q " Flush "
}

# A region far away: far REGION-URI CMD... starts its server at $sock.far, and nbd-serve in front of it.
far() {
  local region=$1
  shift
  rm -f "$sock.far"
  "$@" 3>&- &
  far_pid=$!
  eventually test -S "$sock.far"
  [ -n "${fronted:-}" ] || start -l "unix:$sock" "$region"
  fronted=1
}
kill_far() {
  kill -9 "$far_pid"
  wait "$far_pid" 2>/dev/null || true
}
far_nbd() { far "nbd+unix:///?socket=$sock.far" nbdkit -f -U "$sock.far" file "$BATS_TEST_TMPDIR/far.img"; }
far_r3() { far "r3+unix:///?socket=$sock.far" "$BIN/ram-ul" -q -l "unix:$sock.far" "$BATS_TEST_TMPDIR/far.img"; }

@test "TERM: a region that has died is not waited for where nothing was changed, or all was flushed" {
  need "nbdkit" command -v nbdkit
  truncate -s 1M "$BATS_TEST_TMPDIR/far.img"
  local kind command
  for kind in far_nbd far_r3; do
    for command in 'read 0 4k' 'write 0 4k'; do # qemu-io flushes when it closes
      fronted=
      $kind
      qemu-io -f raw -c "$command" "$uri"
      kill_far
      stop_server
      [ "$server_status" = 0 ]
    done
  done
}

@test "TERM in an outage: what was written and not flushed is there when the region is back" {
  need "nbdkit" command -v nbdkit
  need nbdsh /usr/bin/python3 -c 'import nbd'
  truncate -s 1M "$BATS_TEST_TMPDIR/far.img"
  local kind
  for kind in far_nbd far_r3; do
    fronted=
    $kind
    /usr/bin/python3 -c 'import nbd, sys; h = nbd.NBD(); h.connect_unix(sys.argv[1]); h.pwrite(b"x" * 4096, 8192)' "$sock"
    kill_far
    dd if=/dev/zero of="$BATS_TEST_TMPDIR/far.img" bs=4k seek=2 count=1 conv=notrunc status=none # what a power cut may do
    kill -TERM "$server_pid"
    $kind
    stop_server
    [ "$server_status" = 0 ]
    kill_far
    [ "$(tr -d '\0' <"$BATS_TEST_TMPDIR/far.img" | wc -c)" = 4096 ]
    dd if=/dev/zero of="$BATS_TEST_TMPDIR/far.img" bs=4k seek=2 count=1 conv=notrunc status=none
  done
}

@test "TERM ends it while it waits for a region that says nothing" {
  socat "UNIX-LISTEN:$sock.dumb,fork" "SYSTEM:sleep 20" 3>&- &
  local socat=$!
  eventually test -S "$sock.dumb"
  "$BIN/nbd-serve" -l "unix:$sock" "nbd+unix:///?socket=$sock.dumb" 3>&- &
  local pid=$!
  eventually pgrep -P "$socat"
  kill -TERM "$pid"
  PATIENCE=4 eventually gone "$pid"
  kill "$socat"
}

@test "an address that others can reach needs --plain" {
  refuses --plain -l tcp://0.0.0.0:0 memory:1M
  start --plain -l tcp://0.0.0.0:0 memory:1M
}

@test "a region or a listener that cannot be had is an error, and leaves nothing behind" {
  run -1 "$BIN/nbd-serve" -l "unix:$sock" "$BATS_TEST_TMPDIR/none"
  [[ $output == *"$BATS_TEST_TMPDIR/none"* ]]
  [ ! -e "$sock" ]
  run -1 "$BIN/nbd-serve" -l "unix:$BATS_TEST_TMPDIR/none/sock" memory:1M
  run -1 "$BIN/nbd-serve" -l "unix:$sock" "$BATS_TEST_TMPDIR"
  echo precious >"$sock"
  run -1 "$BIN/nbd-serve" -l "unix:$sock" memory:1M
  [ "$(cat "$sock")" = precious ]
}

@test "a live socket is not taken away; a stale one is replaced" {
  start -l "unix:$sock" memory:1M
  run -1 "$BIN/nbd-serve" -l "unix:$sock" memory:2M
  [ "$(nbdinfo --size "$uri")" = 1048576 ]
  kill -9 "$server_pid"
  forget_server
  [ -S "$sock" ]
  start -l "unix:$sock" memory:2M
  [ "$(nbdinfo --size "$uri")" = 2097152 ]
}

@test "block sizes that make no sense: the option and the value are named" {
  refuses "--min-block 3072: a power of two" --min-block 3K memory:1M
  refuses "--preferred-block 5000: a power of two" --preferred-block 5000 memory:1M
  refuses "--max-block 1000: a multiple" --max-block 1000 memory:1M
  refuses "--max-block 2147483648: up to 1G" --max-block 2G memory:1M
}

@test "why a write failed is said here, once: TMPDIR is gone, a limit of the file size" {
  need nbdsh /usr/bin/python3 -c 'import nbd'
  truncate -s 1M "$BATS_TEST_TMPDIR/image"
  (ulimit -f 512 && exec env TMPDIR=/nonexistent "$BIN/nbd-serve" --ready-fd 9 -l "unix:$sock" \
    "$BATS_TEST_TMPDIR/image" big=memory:8M 9>"$BATS_TEST_TMPDIR/ready") 2>"$BATS_TEST_TMPDIR/said" >/dev/null 3>&- &
  servers+=($!)
  eventually test -s "$BATS_TEST_TMPDIR/ready"
  run -0 /usr/bin/python3 - "$sock" <<'PY'
import errno, nbd, sys
def refused(export, want, offset, length):
    h = nbd.NBD()
    h.set_export_name(export)
    h.connect_unix(sys.argv[1])
    for _ in range(3):
        try:
            h.pwrite(bytes(length), offset)
        except nbd.Error as e:
            assert e.errnum == want, e
        else:
            raise SystemExit("was not refused")
    h.shutdown()
refused("", errno.ENOSPC, 768 << 10, 4096)  # the signal of the limit does not end the server
refused("big", errno.EIO, 0, 2 << 20)
PY
  [ "$(grep -c "a client's write at 0 failed: /nonexistent: No such file or directory" "$BATS_TEST_TMPDIR/said")" = 1 ]
}

@test "with --run, stdout is the command's alone" {
  run -0 --separate-stderr "$BIN/nbd-serve" -l "unix:$sock" memory:1M --run echo mine
  [ "$output" = mine ]
}
