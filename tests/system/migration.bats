#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# r3-seed and r3-leech as their users have them: real mounts, real applications, processes that are killed.
load ../helper
load migration

@test "migration: a region moves, bytes and all, and the seeder ends" {
  head -c 16M /dev/urandom >a.img
  truncate -s 16M b.img
  seed --on-suspend 'echo suspended >>hooks' --on-stop 'echo stopped >>hooks' a.img a
  printf 'last words' | dd of=a bs=1 seek=5000000 conv=notrunc status=none
  leech "$(region s)" b.img b --on-resume 'echo resumed >>hooks'
  complete
  [ "$(head -c 5000010 b | tail -c 10)" = 'last words' ]
  cmp a.img b
  [ "$(cat hooks)" = $'suspended\nresumed\nstopped' ]
  [ "$(od -An -tu4 -j8 -N4 a.img.r3-owner | tr -d ' ')" = 4 ]
  [ "$(od -An -tu4 -j8 -N4 b.img.r3-owner | tr -d ' ')" = 1 ]
  run -1 "$BIN/r3-seed" -l unix:t a.img a
  [[ $output == *"moved to another host"* ]]
}

@test "migration: an application writes all the time, and nothing that it was told of is lost" {
  truncate -s 32M a.img
  truncate -s 32M b.img
  # The application: rewrites 8 KiB at a time, notes each after fsync, stops when told.
  cat >app <<'APP'
import os, sys, random
path, log, stop = sys.argv[1:4]
fd = os.open(path, os.O_RDWR)
out = open(log, "a")
n = sum(1 for _ in open(log))
random.seed(n)
while not os.path.exists(stop):
    n += 1
    at = random.randrange(4096) * 8192
    os.pwrite(fd, n.to_bytes(8, "little") * 1024, at)
    if n % 16 == 0: os.fsync(fd)
    out.write(f"{at} {n}\n"); out.flush()
APP
  seed --on-suspend 'touch stop; while kill -0 $(cat app.pid) 2>/dev/null; do sleep 0.01; done' a.img a
  : >log
  setsid python3 app a log stop 3>&- & echo $! >app.pid
  disown
  eventually test -s log
  leech --max-downtime 1s --max-time 5s "$(region s)" b.img b
  complete
  python3 - <<'CHECK'
last = {}
for line in open("log"):
    at, n = map(int, line.split()); last[at] = n
assert len(last) > 10
with open("b", "rb") as f:
    for at, n in last.items():
        f.seek(at)
        assert f.read(8192) == n.to_bytes(8, "little") * 1024, (at, n)
CHECK
}

@test "migration: stores through a mapping come along" {
  truncate -s 4M a.img
  truncate -s 4M b.img
  seed --on-suspend 'touch stop; until [ -e stopped ]; do sleep 0.01; done' a.img a
  python3 - 3>&- <<'APP' &
import mmap, os, time
fd = os.open("a", os.O_RDWR)
m = mmap.mmap(fd, 4 << 20)
n = 0
while not os.path.exists("stop"):
    n += 1
    m[(n * 37 % 1024) * 4096:(n * 37 % 1024) * 4096 + 8] = n.to_bytes(8, "little")
    m[0:8] = n.to_bytes(8, "little")
    if n == 1: open("begun", "w")
open("count", "w").write(str(n))
open("stopped", "w")
APP
  eventually test -e begun
  leech --max-time 3s "$(region s)" b.img b
  complete
  [ "$(od -An -tu8 -N8 b | tr -d ' ')" = "$(cat count)" ]
  cmp a.img b
}

@test "migration: an application that writes after it was told to stop stays, with its write" {
  truncate -s 4M a.img
  truncate -s 4M b.img
  # It says that it has stopped, and writes on.
  seed --on-suspend 'touch liar' a.img a
  python3 - 3>&- <<'APP' &
import os
fd = os.open("a", os.O_RDWR)
n = 0
while not os.path.exists("end"):
    n += 1
    os.pwrite(fd, n.to_bytes(8, "little"), 0)
open("count", "w").write(str(n))
APP
  # COMMIT comes a while after the answer to FINALIZE: there is a write by then.
  local held=$server_err
  start_server tests/fault/faultproxy -l unix:link -c unix:s --delay 200ms
  leech --max-downtime 5s --max-time 5s "$(region link)" b.img b
  PATIENCE=30 eventually event seed.events resumed
  server_err=$held
  grep -q 'wrote after it was told to stop' "$server_err"
  kill -INT "$leecher"
  forget_server "$leecher"
  touch end
  eventually test -s count
  [ "$(od -An -tu8 -N8 a | tr -d ' ')" = "$(cat count)" ]
  phase_is r3-seed seed.ctl seeding
}

@test "migration: a suspend hook that fails or hangs refuses the move" {
  truncate -s 1M a.img
  truncate -s 1M b.img
  seed --hook-timeout 200ms --on-suspend '[ -e fine ] || { [ -e hang ] && sleep 60; echo no; exit 3; }' \
    --on-resume 'echo resumed >>hooks' a.img a
  leech "$(region s)" b.img b
  eventually event leech.events finalizing
  eventually grep -q resumed hooks
  grep -q 'ended with status 3' "$server_err"
  touch hang
  eventually grep -q 'did not end within 200 ms' "$server_err"
  touch fine
  complete
}

@test "migration: a lease that runs out gives the region back" {
  truncate -s 1M a.img
  truncate -s 1M b.img
  # A leecher that finalizes and dies: stopped by the suspend hook itself, before it can commit.
  seed --on-suspend 'kill -STOP $(cat leech.pid)' --on-resume 'touch resumed' a.img a
  leech --lease 1s --finalize ask "$(region s)" b.img b
  echo "$leecher" >leech.pid
  eventually all_is_here
  "$BIN/r3-leech" --ask finalize unix:leech.ctl
  eventually test -e resumed
  printf x | dd of=a bs=1 conv=notrunc,fsync status=none
  event seed.events resumed
  kill -KILL "$leecher"
  forget_server "$leecher"
  umount -l b 2>/dev/null || true
}

@test "migration: what was pulled before is not pulled again" {
  head -c 16M /dev/urandom >a.img
  cp a.img b.img
  printf different | dd of=b.img bs=1 seek=3000000 conv=notrunc status=none
  seed a.img a
  leech "$(region s)" b.img b
  complete
  [[ $(status_of r3-leech leech.ctl) =~ \"spared\":([0-9]+) ]]
  ((BASH_REMATCH[1] > 14000000 && BASH_REMATCH[1] < 16777216))
  cmp a.img b
}

@test "migration: two leechers pull, one gets it" {
  head -c 8M /dev/urandom >a.img
  truncate -s 8M b.img c.img
  seed a.img a
  "$BIN/r3-leech" --finalize ask --control unix:other.ctl "$(region s)" c.img c 2>other.err 3>&- &
  local other=$!
  servers+=("$other")
  leech --finalize ask "$(region s)" b.img b
  eventually all_is_here
  "$BIN/r3-leech" --ask finalize unix:leech.ctl
  complete
  cmp a.img b
  eventually gone "$other"
  grep -q 'given to another leecher' other.err
  forget_server "$other"
}

@test "migration: from A to B to C, and B's device stays" {
  head -c 8M /dev/urandom >a.img
  truncate -s 8M b.img c.img
  seed a.img a
  leech --seed-on unix:s2 "$(region s)" b.img b
  eventually event leech.events seeding
  eventually gone "$seeder"
  forget_server "$seeder"
  local middle=$leecher
  printf 'from b' | dd of=b bs=1 seek=4096 conv=notrunc status=none
  mv leech.events b.events
  "$BIN/r3-leech" --events-fd 8 "$(region s2)" c.img c 8>>c.events >/dev/null 2>c.err 3>&- &
  servers+=("$!")
  eventually event c.events complete
  eventually gone "$middle"
  forget_server "$middle"
  [ "$(head -c 4102 c | tail -c 6)" = 'from b' ]
}

@test "migration: another size, no seeder, not this side's" {
  truncate -s 1M a.img
  truncate -s 2M b.img
  seed a.img a
  run -1 "$BIN/r3-leech" "$(region s)" b.img b
  [[ $output == *"same size"* ]]
  truncate -s 1M c.img
  start_server ram-ul -l unix:t 1M
  run -1 "$BIN/r3-leech" "$(region t)" c.img c
  [[ $output == *"no seeder"* ]]
  run -1 "$BIN/r3-seed" -l unix:u a.img z
  [[ $output == *"another r3-seed or r3-leech"* ]]
}

# MIGRATION_KILLS=500 R3_SEED=7 for more of them, and others.
@test "migration: killed, stopped or cut off at any point, it ends with one owner and loses nothing" {
  need python3 python3 -c ''
  mkdir kills
  run -0 timeout -k 5 400 python3 "$ROOT/tests/system/migration_kills.py" "$BIN" "${MIGRATION_KILLS:-16}" "${R3_SEED:-1}" "$PWD/kills"
  [[ $output == *" 0 failed"* ]]
}
