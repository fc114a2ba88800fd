# SPDX-License-Identifier: Apache-2.0
# mmap-hashsync from outside: real files, every way to connect, every way to keep what comes.
load ../helper

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  mkdir d
  head -c 3000001 /dev/urandom >a
}

sync() { "$BIN/mmap-hashsync" "$@"; }
same() { cmp -s "$1" "$2"; }
# poke FILE OFFSET TEXT: a program's write.
poke() { printf %s "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
stat_of() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" <<<"$output"; }

@test "once, locally: equal files cost some hundred bytes" {
  sync send a recv:copy --once
  cmp a copy
  run sync send a recv:copy --once --stats json
  [[ $(stat_of chunks) == 0 ]]
  (($(stat_of wire_sent) + $(stat_of wire_received) < 2000))
  poke a 1234567 hello
  run sync send a recv:copy --once --stats json
  [[ $(stat_of chunks) == 1 ]]
  cmp a copy
}

@test "a destination in place, with a journal and with snapshots" {
  for way in --sparse --journal --snapshot; do
    rm -rf d/*
    start_server mmap-hashsync recv "$way" d -l "unix:$PWD/s"
    cp a b
    sync send a sub/name=b "unix:$PWD/s" --once
    cmp a d/a && cmp b d/sub/name
    poke a 0 x
    truncate -s 1000000 b
    sync send a sub/name=b "unix:$PWD/s" --once --verify
    cmp a d/a && cmp b d/sub/name
    head -c 2000000 /dev/zero >>b
    truncate -s 9000000 b
    sync send a sub/name=b "unix:$PWD/s" --once --verify
    cmp a d/a && cmp b d/sub/name
    : >b
    sync send a sub/name=b "unix:$PWD/s" --once
    cmp b d/sub/name
    stop_server
    [[ -z $(find d -name '.mmap*') ]]
  done
}

@test "files that were never there, empty ones, and odd lengths" {
  : >empty
  printf x >one
  head -c 4096 a >page
  head -c 4097 a >odd
  truncate -s 10M zeroes
  sync send empty one page odd zeroes recv:d --once
  for file in empty one page odd zeroes; do cmp "$file" "d/$file"; done
  [[ $(stat -c %b d/zeroes) == 0 ]]
}

@test "either side listens; pipes and commands carry it" {
  start_server mmap-hashsync send a -l "unix:$PWD/s" --chunk-size 64K
  sync recv d "unix:$PWD/s" --once &
  receiver=$!
  eventually same a d/a
  stop_server
  wait "$receiver"
  rm d/a
  sync send a --once "exec:$BIN/mmap-hashsync recv d -"
  cmp a d/a
  rm d/a
  mkfifo there back
  sync recv d - <there >back &
  receiver=$!
  sync send a --once - >there <back
  wait "$receiver"
  cmp a d/a
}

@test "tcp, with compression and a limit" {
  yes compress me | head -c 2000000 >a
  start_server mmap-hashsync recv d -l tcp://localhost:0 --events-fd 7 7>events
  address=$(sed -n 's/.*"address":"\([^"]*\)".*/\1/p' events)
  run sync send a "$address" --once --compress zstd --stats json
  (($(stat_of wire_sent) < 200000))
  cmp a d/a
  rm d/a
  run sync send a "$address" --once --compress none --bwlimit 20M --stats json
  (($(stat_of wire_sent) > 2000000))
  cmp a d/a
}

@test "a mapped file whose time stamp stands still is followed all the same" {
  truncate -s 1M live
  start_server mmap-hashsync send live "recv:$PWD/copy" --interval 20ms
  python3 - live copy <<'EOF'
import mmap, os, sys, time
live = open(sys.argv[1], "r+b")
memory = mmap.mmap(live.fileno(), 0)
def until_copied():
    end = time.monotonic() + 20
    while open(sys.argv[2], "rb").read() != memory[:]:
        assert time.monotonic() < end, "the copy does not follow"
        time.sleep(0.01)
memory[0] = 1
until_copied()
os.utime(sys.argv[1], (1e9, 1e9))
stamp = os.stat(sys.argv[1]).st_mtime_ns
for i in range(5):
    memory[i * 4096 * 10] = 65 + i
    os.utime(sys.argv[1], (1e9, 1e9))
    until_copied()
assert os.stat(sys.argv[1]).st_mtime_ns == stamp
EOF
}

@test "rsync's quick check misses what this does not" {
  need rsync command -v rsync
  truncate -s 64K live
  sync send live recv:copy --once
  poke live 5000 changed
  touch -r live copy
  rsync --inplace -t live copy
  run ! cmp -s live copy
  sync send live recv:copy --once
  cmp live copy
}

@test "growth, truncation, replacement, removal while it runs" {
  start_server mmap-hashsync send a "recv:$PWD/copy" --interval 20ms
  eventually same a copy
  head -c 5000000 /dev/urandom >>a
  eventually same a copy
  truncate -s 100 a
  eventually same a copy
  truncate -s 7000000 a
  eventually same a copy
  head -c 400000 /dev/urandom >b
  mv b a
  eventually same a copy
  cp a before
  rm a
  warned() { grep -q "a is gone" "$server_err"; }
  eventually warned
  cmp before copy
  head -c 100000 /dev/urandom >b
  mv b a
  eventually same a copy
}

@test "the connection comes back, and nothing starts over" {
  start_server mmap-hashsync recv d -l "unix:$PWD/s"
  receiver=$server_pid
  start_server mmap-hashsync send a "unix:$PWD/s" --interval 20ms --control "unix:$PWD/c"
  cmp a d/a
  kill -9 "$receiver"
  forget_server "$receiver"
  poke a 99999 again
  start_server mmap-hashsync recv d -l "unix:$PWD/s" --stats json
  eventually same a d/a
  stop_server
  [[ $(sed -n 's/.*"chunks":\([0-9]*\).*/\1/p' "$server_out") == 1 ]]
}

@test "keys: who has none gets nowhere, who may only read sends nothing" {
  for who in server alice bob eve; do "$BIN/r3-key" gen -o $who.key 2>/dev/null; done
  public() { "$BIN/r3-key" pub <"$1.key"; }
  printf '%s alice rw a*\n%s bob ro *\n' "$(public alice)" "$(public bob)" >peers
  chmod 600 peers
  start_server mmap-hashsync recv d -l "unix:$PWD/s" --key-file server.key --peer-keys peers
  as() { timeout 20 "$BIN/mmap-hashsync" send "${@:2}" "unix:$PWD/s" --once --key-file "$1.key" --server-key "$(public server)"; }
  as alice a
  cmp a d/a
  run -1 as alice b=a
  [[ $output == *"may not send"* ]]
  run -1 as bob a
  [[ $output == *"may not send"* ]]
  run -1 as eve a
  run -1 timeout 20 "$BIN/mmap-hashsync" send a "unix:$PWD/s" --once
}

@test "keys: HUP reads them again, and cuts off who may not any more" {
  for who in server alice bob; do "$BIN/r3-key" gen -o $who.key 2>/dev/null; done
  public() { "$BIN/r3-key" pub <"$1.key"; }
  printf '%s alice rw *\n%s bob rw *\n' "$(public alice)" "$(public bob)" >peers
  chmod 600 peers
  start_server mmap-hashsync recv d -l "unix:$PWD/s" --key-file server.key --peer-keys peers
  recv=$server_pid
  as() { start_server mmap-hashsync send "${@:2}" "unix:$PWD/s" --key-file "$1.key" --server-key "$(public server)" --interval 20ms; }
  as alice a
  as bob b=a
  eventually cmp -s a d/a
  eventually cmp -s a d/b
  echo nonsense >peers
  kill -HUP "$recv"
  eventually grep -q 'peers' "$BATS_TEST_TMPDIR"/server-1.err
  poke a 5000 ours
  eventually cmp -s a d/a
  printf '%s alice rw *\n' "$(public alice)" >peers
  kill -HUP "$recv"
  eventually grep -q 'connected again\|trying again' "$server_err"
  poke a 9000 more
  eventually cmp -s a d/a
  run ! cmp -s a d/b
  ! grep -q 'trying again' "$BATS_TEST_TMPDIR"/server-2.err
  printf '%s alice rw *\n%s bob rw *\n' "$(public alice)" "$(public bob)" >peers
  kill -HUP "$recv"
  eventually cmp -s a d/b
}

@test "a file is not its own copy, and recv: names one" {
  run -2 sync send a recv: --once
  [[ $output == *"recv:FILE2"* ]]
  run -2 sync send a recv:a --once
  [[ $output == *"the same file"* ]]
  ln a d/a
  run -2 sync send a recv:d --once --snapshot
  [[ $output == *"the same file"* ]]
  ln -s a b
  run -2 sync send a recv:b --once
  cmp a d/a
}

@test "many destinations that connect to one source: it looks once for all of them" {
  head -c 20M /dev/urandom >big
  start_server mmap-hashsync send big -l "unix:$PWD/s" --interval 300ms --control "unix:$PWD/control"
  for i in 1 2 3 4 5 6; do
    mkdir "d$i"
    start_server mmap-hashsync recv "d$i" "unix:$PWD/s"
  done
  for i in 1 2 3 4 5 6; do eventually cmp -s big "d$i/big"; done
  status() { "$BIN/mmap-hashsync" --ask status "unix:$PWD/control" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }
  local looked rounds
  looked=$(status bytes_looked_at) rounds=$(status rounds)
  ten_more() { (($(status rounds) >= rounds + 12)); }
  for at in 5 4000000 20000000; do poke big $at changed; done
  eventually ten_more
  for i in 1 2 3 4 5 6; do eventually cmp -s big "d$i/big"; done
  # Six sessions made twelve rounds and more, of which one in six had to look; twice that at most.
  looked=$(($(status bytes_looked_at) - looked)) rounds=$(($(status rounds) - rounds))
  echo "$looked bytes in $rounds rounds"
  ((looked * 3 <= rounds * 20971520))
}

@test "two sources for one file, and two destinations for one directory, are refused" {
  start_server mmap-hashsync recv d -l "unix:$PWD/s"
  start_server mmap-hashsync send a "unix:$PWD/s" --interval 1s
  head -c 100 /dev/zero >b
  run -1 sync send a=b "unix:$PWD/s" --once
  [[ $output == *"another source sends this file"* ]]
  cmp a d/a
  run -1 sync recv d "unix:$PWD/s"
  [[ $output == *"another process"* ]]
}

# in_step DIR...: the copies of a and b there are those of now.
in_step() {
  local one
  for one in "$@"; do cmp -s a "$one/a" && cmp -s b "$one/b" || return 1; done
}

@test "a hub: two sources, destinations that come early, late and slowly" {
  mkdir d2 d3
  head -c 2000000 /dev/urandom >b
  cp a d2/a
  truncate -s 4M d2/a
  start_server mmap-hashsync hub "unix:$PWD/h"
  hub=$server_pid
  "$BIN/mmap-hashsync" recv d "unix:$PWD/h" 2>err1 &
  servers+=("$!")
  start_server mmap-hashsync send a "unix:$PWD/h" --interval 20ms
  start_server mmap-hashsync send b "unix:$PWD/h" --interval 20ms
  eventually in_step d
  "$BIN/mmap-hashsync" recv d2 "unix:$PWD/h" --journal 2>err2 &
  servers+=("$!")
  "$BIN/mmap-hashsync" recv d3 "unix:$PWD/h" --snapshot 2>err3 &
  servers+=("$!")
  eventually in_step d d2 d3
  for i in 1 2 3 4 5 6 7 8 9; do
    poke a $((i * 100000)) "$i"
    poke b $((i * 7)) "$i"
  done
  eventually in_step d d2 d3
  truncate -s 5000 b
  truncate -s 1000001 a
  eventually in_step d d2 d3
  truncate -s 3M a
  poke b 6000 grown
  eventually in_step d d2 d3
  run -1 sync send a "unix:$PWD/h" --once
  [[ $output == *"another source sends this file"* ]]
  kill -9 "$hub"
  forget_server "$hub"
  poke a 5 anew
  start_server mmap-hashsync hub "unix:$PWD/h"
  eventually in_step d d2 d3
}

@test "the hooks: accept, on-done, pre-cmd, post-cmd" {
  start_server mmap-hashsync recv d -l "unix:$PWD/s" --accept '[ "$R3_FILE" != bad ] && echo "in/$R3_FILE.$R3_SIZE"' \
    --on-done 'cp "$R3_PATH" '"$PWD/done"
  sync send a "unix:$PWD/s" --once --pre-cmd 'touch pre' --post-cmd 'mv pre post'
  cmp a d/in/a.3000001 && cmp a "done" && [[ -e post ]]
  run -1 sync send bad=a "unix:$PWD/s" --once
  run -1 sync send a recv:copy --once --pre-cmd false --post-cmd 'touch thawed'
  [[ ! -e copy && -e thawed ]]
}

@test "a dry run says what differs and changes nothing" {
  cp a copy
  poke copy 5000 y
  cp copy before
  run sync send a recv:copy -n --stats json
  [[ $(stat_of chunks) == 1 ]]
  cmp copy before
  sync send a recv:d/none -n
  [[ ! -e d/none ]]
}

@test "detection by a shadow copy" {
  start_server mmap-hashsync send a "recv:$PWD/copy" --interval 20ms --detect shadow
  cmp a copy
  poke a 2000000 shadow
  eventually same a copy
  truncate -s 2M a
  eventually same a copy
  truncate -s 3M a
  poke a 3000000 end
  eventually same a copy
}

@test "names: a destination that a link leads out of, and names that are its own" {
  mkdir outside
  ln -s ../outside d/link
  run -1 sync send link/file=a recv:d --once
  [[ ! -e outside/file ]]
  run -2 sync send ../file=a recv:d --once
  run -2 sync send x/../y=a recv:d --once
  run -2 sync send .mmap-hashsync.journal-1=a recv:d --once
  run -2 sync send x=a x=a recv:d --once
}

@test "wrong usage ends with 2 and says what is accepted" {
  run -2 sync push a recv:d
  [[ $output == *"send"* ]]
  run -2 sync send a
  [[ $output == *"ADDR"* ]]
  run -2 sync send a recv:d --chunk-size 5000
  [[ $output == *"powers of two"* ]]
  run -2 sync send a recv:d --compress gzip
  [[ $output == *"zstd"* ]]
  run -2 sync recv d unix:s --dry-run
  [[ $output == *"for send"* ]]
  run -2 sync send a unix:s --journal
  [[ $output == *"for recv"* ]]
  run -2 sync send a recv:d --journal --snapshot
  run -2 sync send a recv:d --detect pagemap
  [[ $output == *"--writer"* ]]
  run -2 sync recv d -l tcp://0.0.0.0:0
  [[ $output == *"--plain"* ]]
  run -1 sync send missing recv:d --once
  [[ $output == *"missing"* ]]
}
