#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Managed mounts with the real kernel: at the speed of what is here, through outages, kills and doubts.
# MOUNT_KILLS and R3_SEED choose more kills, and others.
load ../helper

setup() {
  need_mounts
  cd "$BATS_TEST_TMPDIR"
  head -c 8M /dev/urandom >image
  cp image first
}

teardown() {
  stop_servers || true
  unmount_all || true
}

region() { echo "r3+unix:///?socket=$PWD/s"; }
serve() { start_server ram-ul -q -l "unix:$PWD/s" image && ram=$server_pid; }
mount_it() { start_server r3-mount --control "unix:$PWD/ctl" "$@" "$(region)" disk && mount=$server_pid; }
ask() { "$BIN/r3-mount" --ask "$1" "unix:$PWD/ctl"; }
status_has() { [[ $(ask status) == *"$1"* ]]; }
put() { # BLOCK: 64 KiB of random bytes there, also in `first`
  head -c 64K /dev/urandom >piece
  dd if=piece of=disk bs=64K seek="$1" conv=notrunc status=none
  dd if=piece of=first bs=64K seek="$1" conv=notrunc status=none
}
cut() { # PID: killed with -9
  kill -KILL "$1"
  forget_server "$1"
  eventually gone "$1"
}

@test "what is read is right, what is written arrives, at the end at the latest" {
  serve
  mount_it --sync none --push-interval 0s
  cmp disk first
  eventually status_has '"pull_complete":true'
  put 3
  put 100
  sync disk
  status_has '"dirty":131072'
  stop_server "$mount"
  [ "$server_status" = 0 ]
  cmp image first
}

@test "--no-pull: a page of a mapping brings no more than its surroundings" {
  serve
  mount_it --no-pull --read-only
  python3 -c 'import mmap; file = open("disk", "rb"); mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)[4 << 20]'
  (($(ask status | jq .present) <= 128 << 10))
}

@test "fsync means the region; --sync none does not; wait-clean waits" {
  serve
  mount_it --push-interval 0s
  put 5
  sync disk
  cmp image first
  put 6
  status_has '"dirty":65536'
  [[ $(ask flush) == *flushed* ]]
  cmp image first
  put 7
  [[ $(ask wait-clean) == *'"clean":true'* ]]
  cmp image first
}

@test "while the server is away what is here is read and written, and arrives when it is back" {
  serve
  mount_it --cache cache
  eventually status_has '"pull_complete":true'
  cut "$ram"
  put 1
  put 127
  cmp disk first
  status_has '"dirty":131072'
  serve
  [[ $(ask wait-clean) == *'"clean":true'* ]]
  cmp image first
}

@test "ending without the server says what was not written, and the cache keeps it" {
  serve
  mount_it --cache cache --grace 1s
  eventually status_has '"pull_complete":true'
  cut "$ram"
  put 9
  STOP_PATIENCE=30 stop_server "$mount"
  [ "$server_status" = 1 ]
  grep -q "65536 bytes were not written to .*; they are in cache, the next start pushes them" "$server_err"
  serve
  mount_it --cache cache
  [[ $(ask wait-clean) == *'"clean":true'* ]]
  cmp image first
}

@test "a cache is used again: nothing is fetched twice" {
  serve
  mount_it --cache cache
  eventually status_has '"pull_complete":true'
  cut "$mount"
  mount_it --cache cache
  status_has '"pulled":0'
  cmp disk first
  stop_server "$mount"
  mount_it --cache cache
  status_has '"pulled":0'
}

@test "what somebody else changed meanwhile is not mixed in" {
  serve
  mount_it --cache cache
  eventually status_has '"pull_complete":true'
  stop_server "$mount"
  head -c 4096 /dev/urandom | dd of=image bs=4096 seek=77 conv=notrunc status=none
  cp image first
  mount_it --cache cache
  cmp disk first
  eventually status_has '"pulled":4096'
}

@test "writes that were not pushed are not put over a region that was changed" {
  serve
  mount_it --cache cache --push-interval 0s
  eventually status_has '"pull_complete":true'
  put 2
  cut "$mount"
  head -c 4096 /dev/urandom >other
  for file in image first; do dd if=other of=$file bs=4096 seek=500 conv=notrunc status=none; done
  run -1 --separate-stderr "$BIN/r3-mount" --cache cache "$(region)" disk
  [[ $stderr == *"was changed meanwhile, and 65536 bytes"* ]]
  mount_it --cache cache --push-anyway
  [[ $(ask wait-clean) == *'"clean":true'* ]]
  cmp image first
}

@test "a cache of another region is refused" {
  serve
  mount_it --cache cache
  stop_server "$mount"
  truncate -s 8M other
  run -1 --separate-stderr "$BIN/r3-mount" --cache cache other disk
  [[ $stderr == *"another region, r3+unix:"* ]]
}

@test "a cache on a full disk: reads are right, writes wait for room or are refused" {
  serve
  mkdir small
  mount -t tmpfs -o size=6M none small
  mount_it --cache small/cache --cache-size 16M
  cmp disk first
  for block in 1 20 40 60 80 100 120; do put $block; done
  cmp disk first
  sync disk
  stop_server "$mount"
  [ "$server_status" = 0 ]
  cmp image first
}

@test "two writers: the newer one has the region, the older one is told and loses nothing silently" {
  serve
  mount_it --push-interval 0s
  eventually status_has '"pull_complete":true'
  local older_err=$server_err newer
  start_server r3-mount --push-interval 0s "$(region)" other && newer=$server_pid
  head -c 4096 /dev/urandom >piece
  run -1 dd if=piece of=disk bs=4096 conv=notrunc,fsync status=none
  status_has 'a newer writer has the export'
  dd if=piece of=other bs=4096 seek=9 conv=notrunc,fsync status=none
  cmp -n 4096 -i 0:36864 piece image
  STOP_PATIENCE=30 stop_server "$mount"
  [ "$server_status" = 1 ]
  grep -q "a newer writer has the export" "$older_err"
  grep -q "4096 bytes were not written to" "$older_err"
  stop_server "$newer"
  [ "$server_status" = 0 ]
}

@test "a second writer on this machine of what cannot fence is refused, a reader is not" {
  truncate -s 1M plain
  start_server r3-mount plain disk
  run -1 --separate-stderr "$BIN/r3-mount" ./plain other
  [[ $stderr == *"another r3-mount on this machine writes to it (-r only reads)"* ]]
  run -0 "$BIN/r3-mount" -r plain other --run true
}

@test "verify: what somebody else changed is found, and fetched again" {
  serve
  mount_it --push-interval 0s
  eventually status_has '"pull_complete":true'
  put 3
  [[ $(ask verify) == *'"compared":8323072,"differing":0'* ]]
  head -c 8192 /dev/urandom | dd of=image bs=4096 seek=77 conv=notrunc status=none
  [[ $(ask verify) == *'"differing":2'* ]]
  dd if=disk of=read iflag=direct bs=1M status=none
  cmp -i 315392 -n 8192 read image
}

@test "--verify compares when all is pulled, and says so" {
  serve
  start_server r3-mount --json --verify --pull-first "$(region)" disk
  eventually grep -q '"event":"verified","compared":8388608,"differing":0' "$server_out"
}

@test "hooks: before each push, before the end, and for what has come" {
  serve
  cat >before-sync <<-'EOF'
	echo "sync $R3_PATH" >>hooks
	[ ! -e refuse ]
	EOF
  start_server r3-mount --json --control "unix:$PWD/ctl" --push-interval 0s --before-sync "sh $PWD/before-sync" \
    --before-close 'echo close >>hooks; dd if="$R3_PATH" bs=4096 count=1 status=none | cmp -n 4096 - first' \
    --local-events "$(region)" disk
  put 3
  sync disk
  [[ $(cat hooks) == "sync "*"/disk" || $(cat hooks) == "sync disk" ]]
  put 4
  touch refuse
  run -1 sync disk
  status_has '--before-sync: '
  rm refuse
  sync disk
  stop_server "$server_pid"
  [ "$server_status" = 0 ]
  [ "$(tail -n 1 hooks)" = close ]
  cmp image first
}

@test "a hook that does not end is killed" {
  serve
  mount_it --push-interval 0s --grace 500ms --before-sync 'sleep 1000'
  put 3
  run -1 sync disk
  status_has 'did not end within 500 ms'
}

@test "--pass-fd: the command has an open descriptor" {
  serve
  run -0 "$BIN/r3-mount" --pass-fd 7 "$(region)" disk --run sh -c \
    'head -c 4096 first >piece && dd of=/dev/fd/7 if=piece conv=notrunc status=none && cmp -n 4096 - piece <&7; echo $R3_FD'
  [[ ${lines[-1]} == 7 ]]
  run -0 "$BIN/r3-mount" -r --pass-fd 7 "$(region)" disk --run sh -c '! echo x >&7'
  run -2 --separate-stderr "$BIN/r3-mount" --pass-fd 7 "$(region)" disk
  [[ $stderr == *"--pass-fd: there is no command"* ]]
}

@test "an outage is told, in the status and as events" {
  serve
  start_server r3-mount --json --control "unix:$PWD/ctl" --push-interval 0s --cache cache "$(region)" disk
  mount=$server_pid
  local out=$server_out err=$server_err
  eventually status_has '"pull_complete":true'
  status_has '"connected":true'
  cut "$ram"
  put 1
  sync disk 3>&- &
  local syncing=$!
  eventually status_has '"connected":false'
  cmp disk first
  serve
  wait "$syncing"
  status_has '"connected":true,"outages":1'
  stop_server "$mount"
  grep -q '"event":"disconnected"' "$out"
  grep -q '"event":"reconnected","seconds":' "$out"
  grep -q "connection lost: " "$err"
  cmp image first
}

@test "read-only: no writes, nothing pushed" {
  serve
  mount_it -r --cache cache
  cmp disk first
  run -1 dd if=first of=disk bs=4096 count=1 conv=notrunc status=none
}

# A mount through a link that damages what passes; options of faultproxy.
damaged() {
  serve
  start_server tests/fault/faultproxy -l "unix:$PWD/p" -c "unix:$PWD/s" --seed "${R3_SEED:-1}" "$@"
  start_server r3-mount -q --control "unix:$PWD/ctl" --cache cache --push-interval 20ms \
    "r3+unix:///?socket=$PWD/p" disk
  mount=$server_pid
  cmp disk first
  for block in 1 2 3 50 51 100 127; do put $block; done
  PATIENCE=60 eventually status_has '"pull_complete":true'
  [[ $(ask wait-clean) == *'"clean":true'* ]]
  cmp disk first
  cmp image first
  [[ $(ask status) != *'"outages":0,'* ]]
  [[ $(ask status) != *'"outages":0}'* ]]
  STOP_PATIENCE=30 stop_server "$mount"
  [ "$server_status" = 0 ]
}

@test "a link that flips bits" { damaged --flip 0.002; }
@test "a link that loses bytes" { damaged --drop 0.0003; }
@test "a link that repeats bytes" { damaged --duplicate 0.0005; }
@test "a link that exchanges bytes" { damaged --reorder 0.0003; }
@test "a link that is cut again and again" { damaged --reset-after 700K; }

killed() { # MODE
  need "python3" command -v python3
  mkdir kills
  run -0 timeout -k 5 300 python3 "$ROOT/tests/system/managed_kills.py" "$BIN" "${MOUNT_KILLS:-25}" \
    "${R3_SEED:-1}" "$PWD/kills" "$1"
  echo "$output"
  [[ ${lines[-1]} == "killed ${MOUNT_KILLS:-25} times" ]]
}

@test "r3-mount killed with -9 under load: no acknowledged write is lost" { killed mount; }
@test "its server killed with -9 under load" { killed server; }
@test "both killed with -9 under load" { killed both; }
