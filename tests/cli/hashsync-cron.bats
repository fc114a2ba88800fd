# SPDX-License-Identifier: Apache-2.0
load ../helper

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  PATH=$BIN:$PATH
  export XDG_RUNTIME_DIR=$PWD
  head -c 1M /dev/urandom >state.img
}

cron() { run "$ROOT/scripts/hashsync-cron" "$@"; }

@test "hashsync-cron: a run brings the copy up to date, without a word" {
  cron "$PWD/state.img" "recv:$PWD/copy.img"
  [[ $status == 0 && -z $output ]]
  cmp state.img copy.img
  printf 'changed' | dd of=state.img bs=1 seek=500000 conv=notrunc status=none
  cron "$PWD/state.img" "recv:$PWD/copy.img" --timeout 5s
  [[ $status == 0 && -z $output ]]
  cmp state.img copy.img
}

@test "hashsync-cron: a run beside another one leaves it alone; one that is stuck is said" {
  mkdir copies
  start_server mmap-hashsync recv copies -l unix:s
  kill -STOP "$server_pid"
  "$ROOT/scripts/hashsync-cron" "$PWD/state.img" "unix:$PWD/s" 3>&- &
  local busy=$!
  running() { pgrep -P "$busy" -x timeout >/dev/null; } # it has the lock then
  eventually running
  cron "$PWD/state.img" "unix:$PWD/s"
  [[ $status == 0 && -z $output ]]
  STUCK=-1 cron "$PWD/state.img" "unix:$PWD/s"
  [[ $status == 1 && $output == "hashsync-cron: the run before has been busy for "*" s: $PWD/state.img unix:$PWD/s" ]]
  kill -CONT "$server_pid"
  wait "$busy"
  cmp state.img copies/state.img
}

@test "hashsync-cron: what is wrong is said, and is not 0" {
  cron "$PWD/state.img"
  [[ $status == 2 && $output == "usage: hashsync-cron FILE ... DESTINATION [OPTION ...]" ]]
  cron "$PWD/nothing" "recv:$PWD/copy.img"
  [[ $status == 1 && $output == "hashsync-cron: $PWD/nothing cannot be read" ]]
  cron "$PWD/state.img" "unix:$PWD/nobody" --timeout 100ms
  [[ $status == 1 && $output == *"nobody"* ]]
}
