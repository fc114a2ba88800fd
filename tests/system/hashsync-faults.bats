# SPDX-License-Identifier: Apache-2.0
# mmap-hashsync when things break: kill -9 at seeded points (R3_KILLS and R3_SEED choose more), connections that
# damage, cut or slow down what passes, full disks, and writers that the page map tells of.
load ../helper

setup() {
  cd "$BATS_TEST_TMPDIR"
  mkdir d
  head -c 2000001 /dev/urandom >a
}

sync() { timeout -k 5 100 "$BIN/mmap-hashsync" "$@"; }
same() { cmp -s a d/a; }
poke() { printf %s "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

@test "source, hub and destinations killed with -9 at seeded points: exactly an epoch" {
  need python3 command -v python3
  run -0 timeout -k 5 400 python3 "$ROOT/tests/system/hashsync_kills.py" "$BIN" "${R3_KILLS:-100}" "${R3_SEED:-1}" "$PWD"
  echo "$output"
  [[ ${lines[-1]} == "killed ${R3_KILLS:-100} times: "* ]]
}

# A source that waits for what was lost on the way may take its five seconds to end.
STOP_PATIENCE=12

through() { # OPTIONS of faultproxy: the copy gets there all the same
  start_server mmap-hashsync recv d -l "unix:$PWD/s"
  start_server tests/fault/faultproxy -l "unix:$PWD/p" -c "unix:$PWD/s" --seed "${R3_SEED:-1}" "$@"
  PATIENCE=90 start_server mmap-hashsync send a "unix:$PWD/p" --interval 20ms --compress none
  PATIENCE=60 eventually same
  for i in 1 2 3 4 5; do
    poke a $((i * 300000)) "$i"
    PATIENCE=60 eventually same
  done
}

@test "flipped bits are found, and sent again" { through --flip 0.0005; }
@test "lost bytes are found" { through --drop 0.0005; }
@test "repeated bytes are found" { through --duplicate 0.0005; }
@test "exchanged bytes are found" { through --reorder 0.0005; }
@test "seven bytes at a time" { through --segment 7; }
@test "a slow link" { through --delay 20ms --rate 50M; }

@test "a connection that is cut again and again never starts over" {
  start_server mmap-hashsync recv d -l "unix:$PWD/s"
  start_server tests/fault/faultproxy -l "unix:$PWD/p" -c "unix:$PWD/s" --reset-after 600K
  start_server mmap-hashsync send a "unix:$PWD/p" --compress none
  PATIENCE=60 eventually same
}

@test "with a journal too: an epoch larger than any connection lives" {
  start_server mmap-hashsync recv d -l "unix:$PWD/s" --journal
  start_server tests/fault/faultproxy -l "unix:$PWD/p" -c "unix:$PWD/s" --reset-after 600K
  start_server mmap-hashsync send a "unix:$PWD/p" --compress none
  PATIENCE=60 eventually same
}

@test "a full destination is said, and fills when there is room" {
  need_root
  mkdir full
  mount -t tmpfs -o size=1m none full
  for way in --sparse --journal --snapshot; do
    run -1 sync send a recv:full --once "$way"
    [[ $output == *"No space left"* ]]
  done
  mount -o remount,size=8m full
  sync send a recv:full --once --journal
  cmp a full/a
  umount full
}

@test "the page map of a writer that tracks its writes" {
  need "Linux 6.7" bash -c 'test "$(printf "6.7\n%s\n" "$(uname -r)" | sort -V | head -1)" = 6.7'
  truncate -s 4M /dev/shm/r3-tracked-$$
  ln -s /dev/shm/r3-tracked-$$ live
  coproc WRITER { exec "$BIN/tests/fault/tracked_writer" live; }
  read -r said <&"${WRITER[0]}"
  [[ $said == ready ]] || { rm -f /dev/shm/r3-tracked-$$; echo "$said"; false; }
  start_server mmap-hashsync send live "recv:$PWD/copy" --interval 20ms --writer "$WRITER_PID" --stats json
  for i in 5 77 1023; do
    echo "$i" >&"${WRITER[1]}"
    eventually cmp -s live copy
  done
  stop_server
  looked=$(sed -n 's/.*"bytes_looked_at":\([0-9]*\).*/\1/p' "$server_out")
  kill "$WRITER_PID"
  rm -f /dev/shm/r3-tracked-$$
  # Once all of it to compare, once all of it to begin with, and then pages.
  ((looked < 9 * 1024 * 1024))
}
