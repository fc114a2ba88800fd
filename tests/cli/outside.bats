# SPDX-License-Identifier: Apache-2.0
# What libcommon/cli gives to every tool, tried on one that has nothing else (probe.cpp).
load ../helper

setup() {
  probe=$BIN/tests/cli/probe
  control=unix:$BATS_TEST_TMPDIR/control
}

start_probe() { start_server tests/cli/probe "$@"; }

# refused TEXT ARGS...: exit 2, nothing on stdout, one line on stderr (and perhaps a hint).
refused() {
  local expected=$1
  shift
  run --separate-stderr "$probe" "$@"
  [[ $status == 2 ]]
  [[ -z $output ]]
  [[ ${stderr_lines[0]} == "probe: $expected" ]]
  ((${#stderr_lines[@]} == 1)) || [[ ${stderr_lines[*]:1} == "probe: hint: try probe --help" ]]
}

@test "outside: bad usage is one line that says what was given and what is accepted" {
  refused 'unknown option "--nope"' serve --nope
  refused 'unknown option "-x"' serve -x
  refused 'unexpected argument "more"' serve more
  refused 'ACTION is required'
  refused '--size: "12Q" is not a size (a number, or one with K, M, G or T: 4096, 64K, 1M)' serve -s 12Q
  refused '--time: "5" is not a duration (a number with ms, s, m or h: 500ms, 2s)' serve --time 5
  refused '--number: "0" is not a number from 1 to 8' serve --number 0
  refused '--number: "9" is not a number from 1 to 8' serve --number 9
  refused '--size needs a value' serve --size
  refused '--size is given more often than it may be' serve --size 1 --size 2
  refused '--run needs a command' serve --run
  refused '--run: takes the rest of the command line: --run CMD ARG...' serve --run=ls
  refused '--ask takes a word and an address: --ask status unix:PATH' --ask status
  refused '--ask: has to come first: --ask WORD ADDR' serve --ask status unix:x
  refused 'nothing makes sense' refuse
  refused '--ready-fd: 77 is not a descriptor that is open for writing' serve --ready-fd 77
  refused '--ready-fd: "x" is not a number from 0 to 1000000' serve --ready-fd x
  refused '--events-fd: 0 is not a descriptor that is open for writing' serve --events-fd 0 </dev/null
  refused '--control: "tcp://[::1]:1" is not a UNIX socket with a path (unix:PATH)' serve --control 'tcp://[::1]:1'
}

@test "outside: -v says more, once" {
  refused '--verbose is given more often than it may be' -vv serve
  refused '--verbose is given more often than it may be' serve -v --verbose
}

@test "outside: -q and -v exclude each other" {
  run --separate-stderr "$probe" -q -v serve
  [[ $status == 2 && $stderr == *"--verbose excludes --quiet"* ]]
}

@test "outside: a failure names the object and ends with 1" {
  run --separate-stderr "$probe" fail
  [[ $status == 1 && -z $output && $stderr == "probe: disk.img: No space left on device" ]]
}

@test "outside: a listener that other machines can reach needs --plain" {
  refused 'tcp://0.0.0.0:1 can be reached from other machines, unencrypted: --plain allows it' \
    serve -l tcp://0.0.0.0:1
  run "$probe" serve -l tcp://0.0.0.0:1 --plain --run true
  [[ $status == 0 ]]
}

@test "outside: --help and --version ignore the rest, alone or in a cluster" {
  for option in -h --help; do
    run --separate-stderr "$probe" --nope "$option" --size x
    [[ $status == 0 && -z $stderr && ${lines[1]} == Examples: ]] || {
      [[ ${lines[0]} == probe:* && $output == *Examples:*Usage:* ]]
    }
  done
  run --separate-stderr "$probe" --nope -V
  [[ $status == 0 && -z $stderr && $output =~ ^probe\ [0-9]+\.[0-9]+$ ]]
  run --separate-stderr "$probe" serve -vV
  [[ $status == 0 && $output =~ ^probe\ [0-9]+\.[0-9]+$ ]]
}

@test "outside: a full or closed stdout is a failure" {
  for option in --help --version --print-options; do
    run --separate-stderr bash -c '"$1" "$2" >/dev/full' - "$probe" "$option"
    [[ $status == 1 && $stderr == "probe: stdout: No space left on device" ]]
    run --separate-stderr bash -c '"$1" "$2" >&-' - "$probe" "$option"
    [[ $status == 1 && $stderr == "probe: stdout: Bad file descriptor" ]]
  done
  run --separate-stderr bash -c '"$1" serve --json --run true >/dev/full' - "$probe"
  [[ $status == 1 && $stderr == "probe: stdout: No space left on device" ]]
}

@test "outside: --json and --events-fd tell the same, one object a line" {
  need jq command -v jq
  "$probe" serve --json --events-fd 7 --run true 7>"$BATS_TEST_TMPDIR/events" >"$BATS_TEST_TMPDIR/out"
  cmp "$BATS_TEST_TMPDIR/events" "$BATS_TEST_TMPDIR/out"
  run jq -r .event "$BATS_TEST_TMPDIR/out"
  [[ $output == $'ready\nstopped' ]]
}

@test "outside: the last event is that it stopped, and how, after an error too" {
  need jq command -v jq
  run --separate-stderr "$probe" fail --json
  [[ $status == 1 ]]
  [[ $(jq -r '[.event, .text, .status] | @tsv' <<<"$output") == \
    $'error\tdisk.img: No space left on device\t\nstopped\t\t1' ]]
  run --separate-stderr "$probe" refuse --json
  [[ $status == 2 && $(tail -1 <<<"$output") == '{"event":"stopped","status":2}' ]]
}

@test "outside: where stdout carries a protocol there are no events on it" {
  refused '--json: the standard output carries a protocol here; --events-fd N takes another descriptor' talk --json
  refused '--events-fd: 1 carries a protocol here' talk --events-fd 1
  run --separate-stderr "$probe" talk
  [[ $status == 0 && $output == protocol ]]
}

@test "outside: progress goes to events, and to stderr only on a terminal" {
  need jq command -v jq
  run --separate-stderr "$probe" transfer --size 64M --json
  [[ $status == 0 && -z $stderr ]]
  [[ $(jq -s 'map(select(.event == "progress")) | last | .done == .total' <<<"$output") == true ]]
  need "script(1)" command -v script
  run script -qec "$probe transfer --size 64M" /dev/null
  [[ $output == *copying*100%* ]]
  run script -qec "$probe -q transfer --size 64M" /dev/null
  [[ $output != *copying* ]]
}

@test "outside: --run passes on the environment and the status" {
  run "$probe" serve --run sh -c 'echo "$R3_PATH $R3_URI"; exit 7'
  [[ $status == 7 && $output == "/a path nbd://h" ]]
  run "$probe" serve --run sh -c 'kill -KILL $$'
  [[ $status == 137 ]]
  run -127 --separate-stderr "$probe" serve --run /nonexistent
  [[ $status == 127 && $stderr == *"/nonexistent: No such file or directory"* ]]
  run --separate-stderr "$probe" serve --run /
  [[ $status == 126 && $stderr == *"/: Permission denied"* ]]
}

@test "outside: the command of --run starts with default signals and the standard descriptors alone" {
  local look='grep -E "^Sig(Blk|Ign)" /proc/self/status; ls /proc/self/fd'
  local plain="0 1 2 3" # the last is that of ls
  run "$probe" serve --control "$control" --ready-fd 77 --run sh -c "$look" 77>/dev/null
  [[ ${lines[0]} =~ ^SigBlk:.0+$ && ${lines[1]} =~ ^SigIgn:.([0-9a-f]+)$ ]]
  # The C library keeps signals 32 and 33 to itself, and make hands them on ignored.
  (((16#${BASH_REMATCH[1]} & ~16#180000000) == 0))
  [[ ${lines[*]:2} == "$plain" ]]
  # Nor one that the tool itself was given.
  run "$probe" serve --run sh -c "$look" 5</dev/null 6>&1
  [[ ${lines[*]:2} == "$plain" ]]
}

@test "outside: the command of --run is told to stop with TERM when the tool is" {
  start_probe serve --run sh -c 'trap "echo told; exit 5" TERM; echo up; while :; do sleep 0.01; done'
  eventually grep -q up "$server_out"
  stop_server
  [[ $server_status == 5 ]]
  grep -q told "$server_out"
}

@test "outside: the command of --run does not outlive a tool that is killed" {
  start_probe serve --run sh -c 'echo $$; exec sleep 60'
  eventually grep -q . "$server_out"
  kill -KILL "$server_pid"
  forget_server
  eventually gone "$(cat "$server_out")"
}

@test "outside: TERM, INT and HUP stop it with 0" {
  for signal in TERM INT HUP; do
    start_probe -v serve
    kill -"$signal" "$server_pid"
    eventually gone "$server_pid"
    stop_server
    [[ $server_status == 0 ]]
    grep -q "stopping: signal $signal" "$server_err"
  done
}

@test "outside: a HUP that nohup ignores stays ignored" {
  trap '' HUP
  start_probe serve --control "$control"
  trap - HUP
  kill -HUP "$server_pid"
  run "$probe" --ask status "$control"
  [[ $status == 0 && $output == *'"state":"ready"'* ]]
}

@test "outside: a second INT leaves at once with 130 and says what was not written" {
  start_probe stubborn --control "$control"
  kill -INT "$server_pid"
  eventually bash -c '"$1" --ask status "$2" | grep -q stopping' - "$probe" "$control"
  kill -INT "$server_pid"
  eventually gone "$server_pid"
  stop_server
  [[ $server_status == 130 ]]
  grep -q "4096 bytes were not written" "$server_err"
}

@test "outside: the control socket answers, in the order of the questions" {
  need jq command -v jq
  start_probe serve --size 1M --control "$control"
  run "$probe" --ask status "$control"
  [[ $status == 0 ]]
  [[ $(jq -r '[.tool, .state, .size, .pid] | @tsv' <<<"$output") == "probe	ready	1048576	$server_pid" ]]
  run "$probe" --ask clean "$control"
  [[ $status == 3 && $output == '{"answer":"no","dirty":1}' ]]
  run "$probe" --ask break "$control"
  [[ $status == 1 && $output == '{"error":"disk.img: Input/output error"}' ]]
  run "$probe" --ask 'nonsense "' "$control"
  [[ $status == 1 && $output == '{"error":"unknown word nonsense \""}' ]]
  need socat command -v socat
  [[ $(printf 'clean\r\nbreak\nclean\n' | socat -t 5 - "UNIX-CONNECT:${control#unix:}" | wc -l) == 3 ]]
}

@test "outside: the control socket is the user's alone, and is gone afterwards" {
  start_probe serve --control "$control"
  [[ $(stat -c %a "${control#unix:}") == 600 ]]
  stop_server
  [[ ! -e ${control#unix:} ]]
  run --separate-stderr "$probe" --ask status "$control"
  [[ $status == 1 && -z $output && $stderr == *"${control#unix:}"* ]]
}

@test "outside: stop on the control socket stops the tool" {
  start_probe serve --control "$control"
  run "$probe" --ask stop "$control"
  [[ $status == 0 && $output == '{"stopping":true}' ]]
  eventually gone "$server_pid"
}

@test "outside: a control client that says nothing or too much does no harm" {
  need socat command -v socat
  start_probe serve --control "$control"
  socat -u "UNIX-CONNECT:${control#unix:}" - 3>&- & # says nothing, stays
  local idle=$!
  head -c 100000 /dev/zero | socat -t 1 - "UNIX-CONNECT:${control#unix:}" || true
  run "$probe" --ask status "$control"
  [[ $status == 0 ]]
  stop_server
  [[ $server_status == 0 ]]
  wait "$idle" || true
}

@test "outside: USR1 says the status on stderr" {
  start_probe serve --size 2M
  kill -USR1 "$server_pid"
  eventually grep -q 'probe: status: tool "probe".*state "ready".*size 2097152' "$server_err"
}

@test "outside: --metrics serves the numbers of the status as OpenMetrics" {
  need socat command -v socat
  local socket=$BATS_TEST_TMPDIR/metrics
  start_probe serve --size 2M --metrics "unix:$socket"
  get() { printf '%s HTTP/1.0\r\n\r\n' "$1" | socat -t 5 - "UNIX-CONNECT:$socket"; }
  run get "GET /metrics"
  [[ ${lines[0]} == "HTTP/1.0 200 OK"* ]]
  [[ $output == *"# TYPE r3_probe_size gauge"*"r3_probe_size 2097152"*"# EOF"* ]]
  run get "GET /other"
  [[ ${lines[0]} == "HTTP/1.0 404"* ]]
  run get "POST /"
  [[ ${lines[0]} == "HTTP/1.0 405"* ]]
  stop_server
  start_probe serve --json --metrics tcp://localhost:0
  port=$(jq -r 'select(.event == "metrics").address' "$server_out")
  [[ $port =~ ^tcp://.*:[1-9][0-9]*$ ]]
  [[ $(printf 'GET / HTTP/1.0\r\n\r\n' | socat -t 5 - "TCP:localhost:${port##*:}") == *"200 OK"* ]]
  stop_server
  start_probe serve --metrics tcp://localhost:0
  grep -qx 'probe: hint: the metrics are at tcp://.*:[1-9][0-9]*' "$server_err"
  stop_server
  start_probe serve --metrics "unix:$socket"
  [[ ! -s $server_err ]] # nothing that the user does not know
  stop_server
  refused 'tcp://0.0.0.0:0 can be reached from other machines, unencrypted: --plain allows it' \
    serve --metrics tcp://0.0.0.0:0
}

@test "outside: NOTIFY_SOCKET hears READY and STOPPING, the command of --run does not see it" {
  need socat command -v socat
  local socket=$BATS_TEST_TMPDIR/notify heard=$BATS_TEST_TMPDIR/heard
  for name in "$socket" "@$socket"; do
    local address=UNIX-RECV:$name
    [[ $name != @* ]] || address=ABSTRACT-RECV:${name#@}
    socat -u "$address" "CREATE:$heard" 3>&- &
    local listener=$!
    eventually grep -qF "$name" /proc/net/unix
    NOTIFY_SOCKET=$name run "$probe" serve --run sh -c 'echo "seen: $NOTIFY_SOCKET"'
    [[ $status == 0 && $output == "seen: " ]]
    eventually grep -q STOPPING=1 "$heard"
    kill "$listener"
    wait "$listener" || true
    grep -q READY=1 "$heard"
  done
}

@test "outside: a reader of events that has gone away does no harm" {
  run bash -c '"$1" serve --events-fd 7 --run sleep 0.1 7> >(true)' - "$probe"
  [[ $status == 0 ]]
}
