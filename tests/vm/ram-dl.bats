# SPDX-License-Identifier: Apache-2.0
# ram-dl with the kernel's own swap. Runs inside tests/vm/run. Programs that need more memory than they have
# run in a control group with a limit, so that the servers, which are on the same machine here, have enough.
load ../helper

LIMIT=12M
NEED=24M

setup_file() {
  [ "${IN_VM:-}" = 1 ] || return 0
  modprobe nbd nbds_max=4 max_part=0
  modprobe ublk_drv 2>/dev/null || insmod "$UBLK" || true
  modprobe brd rd_nr=2 rd_size=$((96 << 10))
  mkdir -p /cg
  mount -t cgroup2 cgroup2 /cg
  echo +memory >/cg/cgroup.subtree_control
}

setup() {
  need "the guest of tests/vm/run" test "${IN_VM:-}" = 1
  sock=$BATS_TEST_TMPDIR/sock
  region="r3+unix:///?socket=$sock"
  control=unix:$BATS_TEST_TMPDIR/control.sock
  group=/cg/$BATS_TEST_NUMBER
  mkdir -p "$group"
  echo $LIMIT >"$group/memory.max"
}

teardown() {
  local pid
  while read -r pid; do kill -KILL "$pid" || true; done <"$group/cgroup.procs"
  eventually rmdir "$group"
  # Before the servers that it needs, whichever was started last.
  [[ -z ${dl_pid:-} ]] || gone "$dl_pid" || STOP_PATIENCE=60 stop_server "$dl_pid"
  stop_servers
  swap_is_off
}

# Descriptor 7 is the end of hold's pipe that only this shell is to have.
serve() { start_server ram-ul -l "unix:$sock" 96M 7>&-; serve_pid=$server_pid; }
dl() {
  start_server ram-dl "$region" --control "$control" "$@" 7>&-
  dl_pid=$server_pid
  dl_err=$server_err
  device=$(head -n 1 "$server_out")
}
ask() { "$BIN/ram-dl" --ask "${2:-status}" "$control" | jq -r ".$1"; }
answers() { [ "$(ask "$1")" = "$2" ]; }
used() { [ "$(ask used)" -ge "$1" ]; }
limited() { (echo "$BASHPID" >"$group/cgroup.procs" && exec "$@"); }

waiting() { [ "$(ask waiting)" -gt 0 ]; }
# Starts a program that holds $NEED of memory, most of it out; `go` lets it check and end.
hold() {
  mkfifo "$BATS_TEST_TMPDIR/go"
  limited "$BIN/tests/bench/swap-load" --hold $NEED <"$BATS_TEST_TMPDIR/go" >"$BATS_TEST_TMPDIR/held" 3>&- &
  hold_pid=$!
  exec 7>"$BATS_TEST_TMPDIR/go"
  eventually grep -q full "$BATS_TEST_TMPDIR/held"
}
go() {
  exec 7>&-
  hold_status=0
  wait "$hold_pid" || hold_status=$?
}
swap_is_off() { [ "$(wc -l </proc/swaps)" = 1 ]; }

@test "a program that needs twice its memory runs to its end with the right bytes; then swap is off" {
  serve
  dl --priority 7 --discard both
  run -0 grep "^$device " /proc/swaps
  [[ $output == *" 7" || $output == *$'\t7' ]]
  run -0 limited "$BIN/tests/bench/swap-load" $NEED
  [[ $output == *"bad 0" ]]
  [ "$(grep -c "^oom_kill 0" "$group/memory.events")" = 1 ]
  [ "$(ask written_bytes)" -gt $((8 << 20)) ]
  # What serves pages is never paged out, waits for no paging, and is not killed for want of memory.
  [ "$(cat "/proc/$dl_pid/oom_score_adj")" = -1000 ]
  [ "$(awk '/VmLck/ { print $2 }' "/proc/$dl_pid/status")" -gt $((32 << 10)) ]
  STOP_PATIENCE=60 stop_server "$dl_pid"
  [ "$server_status" = 0 ]
  swap_is_off
}

@test "scripts/examples/swap: what it says, and nothing is left" {
  run -0 env TMPDIR="$BATS_TEST_TMPDIR" timeout -k 5 200 "$ROOT/scripts/examples/swap"
  [[ ${lines[-1]} == "swap: "*" crossed the wire; 12 MiB of memory saved" ]]
}

@test "--run: the command is an ordinary process, swap ends with it, its status is passed on" {
  serve
  run -5 "$BIN/ram-dl" "$region" --run sh -c 'cat /proc/self/oom_score_adj; grep -c "^$R3_PATH" /proc/swaps; exit 5'
  [[ $output == *$'0\n1' ]]
  swap_is_off
}

@test "TERM with pages out: refused while there is no room, then everything comes back" {
  serve
  dl
  hold
  used $((8 << 20))
  kill -TERM "$dl_pid"
  eventually grep -q "stays on until there is room: of the control group $group" "$dl_err"
  grep -q "^$device" /proc/swaps
  echo max >"$group/memory.max"
  eventually swap_is_off
  eventually gone "$dl_pid"
  forget_server "$dl_pid"
  go
  [ "$hold_status" = 0 ]
  grep -q "bad 0" "$BATS_TEST_TMPDIR/held"
}

@test "the server is stopped, and goes on: the program waits, with the right bytes" {
  serve
  dl
  hold
  kill -STOP "$serve_pid"
  exec 7>&-
  eventually waiting
  kill -CONT "$serve_pid"
  go
  [ "$hold_status" = 0 ]
}

@test "the server dies with the pages: a clear end, and nobody hangs" {
  serve
  dl
  hold
  kill -KILL "$serve_pid"
  forget_server "$serve_pid"
  serve
  go
  [ "$hold_status" = $((128 + 7)) ] # SIGBUS, or killed as by the kernel's choice
  echo max >"$group/memory.max"
  STOP_PATIENCE=60 stop_server "$dl_pid"
  swap_is_off
}

@test "--fallback: the server dies and comes back empty, and no byte is lost" {
  serve
  dl --fallback /dev/ram0 --io-timeout 1s
  hold
  kill -KILL "$serve_pid"
  forget_server "$serve_pid"
  go
  [ "$hold_status" = 0 ]
  [ "$(ask connected)" = false ]
  serve
  eventually answers connected true
  eventually answers stale 0
}

@test "--fallback: the server hangs, and after the timeout the program goes on, writing too" {
  serve
  dl --fallback /dev/ram0 --io-timeout 1s
  hold
  kill -STOP "$serve_pid"
  go
  [ "$hold_status" = 0 ]
  answers connected false
  run -0 limited "$BIN/tests/bench/swap-load" $NEED
  [[ $output == *"bad 0" ]]
  kill -CONT "$serve_pid"
  eventually answers connected true
  eventually answers stale 0
}

@test "kill -9 of ram-dl: the program waits for the next start, which takes the device over" {
  serve
  dl
  hold
  before=$device
  kill -KILL "$dl_pid"
  forget_server "$dl_pid"
  dl
  [ "$device" = "$before" ]
  [ "$(ask adopted)" = true ]
  go
  [ "$hold_status" = 0 ]
}

@test "kill -9 of ram-dl, and the pages are lost, too: the next start, and --clean, end what is left" {
  serve
  dl
  hold
  kill -KILL "$dl_pid"
  forget_server "$dl_pid"
  echo max >"$group/memory.max"
  run -0 "$BIN/ram-dl" --clean
  [[ $output == *"was left by a killed process, and is ended"* ]]
  swap_is_off
  go
  [ "$hold_status" = $((128 + 7)) ]
  run -3 "$BIN/ram-dl" --clean
  dl
  kill -KILL "$dl_pid" "$serve_pid"
  forget_server "$dl_pid"
  forget_server "$serve_pid"
  serve
  dl
  [ "$(ask adopted)" = false ]
}

@test "several on one machine; the same region twice is refused, whatever it is called" {
  serve
  dl
  run -1 "$BIN/ram-dl" "$region"
  [[ $output == *"process $dl_pid swaps there already"* ]]
  run -1 "$BIN/ram-dl" "$region&compress=no"
  [[ $output == *"process $dl_pid swaps there already"* ]]
  run -1 "$BIN/ram-dl" --force "$region&compress=no"
  start_server ram-ul -l "unix:$sock.2" 32M
  start_server ram-dl "r3+unix:///?socket=$sock.2"
  [ "$(wc -l </proc/swaps)" = 3 ]
}

@test "what is there is not overwritten; --force does" {
  truncate -s 64M "$BATS_TEST_TMPDIR/image"
  mkfs.ext4 -q -F "$BATS_TEST_TMPDIR/image"
  start_server ram-ul -l "unix:$sock" "memory:96M?file=$BATS_TEST_TMPDIR/image"
  run -1 "$BIN/ram-dl" "$region"
  [[ $output == *"neither empty nor swap; --force overwrites it"* ]]
  swap_is_off
  dl --force
}

@test "--inspect reads the memory of programs, from far" {
  serve
  dl
  hold
  run -0 "$BIN/ram-dl" --inspect --offset 0 --length 4K --format hex "$region"
  [[ $output == *"|ram-dl"* && $output == *"SWAPSPACE2"* ]]
  run -0 bash -c '"$1" --inspect --length 8M --offset 4K "$2" | wc -c' - "$BIN/ram-dl" "$region"
  [[ ${lines[-1]} == $((8 << 20)) ]]
}
