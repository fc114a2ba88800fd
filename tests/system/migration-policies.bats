#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# When r3-leech moves a region and what it does when it cannot: --on-timeout, --max-time, --finalize-at,
# --finalize-fd, a full disk, hooks that fail, peers that do not fit.
load ../helper
load migration

pulled() { [[ $("$BIN/r3-leech" --ask status "unix:$1" 2>/dev/null) == *'"percent":100'* ]]; }

# writer: an application that writes the first MiB of a all the time, until a file end is there.
writer() {
  python3 - 3>&- <<'APP' &
import os
fd = os.open("a", os.O_RDWR)
n = 0
while not os.path.exists("end"):
    n += 1
    os.pwrite(fd, n.to_bytes(8, "little") * 8192, n % 16 * 65536)
    if n == 16: open("writing", "w")
open("written", "w").write(str(n))
APP
  eventually test -e writing
}

@test "migration: force waits for all, and the stop ends that; the next start has the region" {
  truncate -s 8M a.img b.img
  # The application's last words, for which the link needs a minute.
  seed --on-suspend 'head -c 4M /dev/urandom | dd of=a bs=1M conv=notrunc status=none' a.img a
  link slow s --rate 500K
  leech --max-downtime 0s --max-time 1ms --on-timeout force "$(region slow)" b.img b
  eventually event seed.events migrated
  run ! event leech.events migrated
  kill -TERM "$leecher"
  eventually gone "$leecher"
  forget_server "$leecher"
  grep -q 'not all is here yet' leech.err
  leech "$(region s)" b.img b
  complete
  cmp a.img b
}

@test "migration: cancel leaves the region where it is, and the application goes on" {
  truncate -s 8M a.img b.img
  seed --on-suspend 'touch suspended' a.img a
  writer
  leech --max-downtime 0s --max-time 300ms --on-timeout cancel "$(region s)" b.img b
  PATIENCE=20 eventually gone "$leecher"
  run -1 wait "$leecher"
  forget_server "$leecher"
  grep -q 'cancelled: .*--max-time is over' leech.err
  phase_is r3-seed seed.ctl seeding
  touch end
  eventually test -s written
  [ "$(od -An -tu8 -j$((65536 * ($(cat written) % 16))) -N8 a | tr -d ' ')" = "$(cat written)" ]
  [ ! -e suspended ] && [ ! -e b ]
}

@test "migration: without --max-time, a writer faster than the link ends the wait by itself" {
  truncate -s 8M a.img b.img
  seed --on-suspend 'touch end; until [ -s written ]; do sleep 0.01; done' a.img a
  writer
  link slow s --rate 100M
  leech --max-downtime 0s "$(region slow)" b.img b
  complete
  (($(grep -c '"event":"dirty"' leech.events) >= 4))
  cmp a.img b
}

@test "migration: postcopy opens at once, and a read does not wait for the rest" {
  truncate -s 8M a.img b.img
  seed --on-suspend 'head -c 4M /dev/urandom | dd of=a bs=1M conv=notrunc status=none' a.img a
  link slow s --rate 4M
  leech --max-downtime 0s --max-time 1ms --on-timeout postcopy "$(region slow)" b.img b
  PATIENCE=20 eventually event leech.events migrated
  cmp -n 4096 -i 4000000 a.img b
  ! event leech.events complete
  [[ $(status_of r3-leech leech.ctl) =~ \"missed\":[1-9] ]]
  kill -KILL "$leecher" # the next test goes on from there
  forget_server "$leecher"
}

@test "migration: both killed after COMMIT, what is written here stays and the rest comes" {
  head -c 8M /dev/urandom >a.img
  cp a.img b.img
  seed --on-suspend 'head -c 4M /dev/urandom | dd of=a bs=1M conv=notrunc status=none' a.img a
  link slow s --rate 4M
  leech "$(region slow)" b.img b
  PATIENCE=20 eventually event leech.events migrated
  printf 'written here' | dd of=b bs=1 seek=3000000 conv=notrunc status=none
  kill -KILL "$leecher" "$seeder"
  forget_server "$leecher"
  forget_server "$seeder"
  run -1 "$BIN/r3-seed" -l unix:t b.img c
  [[ $output == *"r3-leech has to find out"* || $output == *"not completed"* ]]
  seed a.img a
  grep -q 'only read from here' "$server_err"
  leech "$(region s)" b.img b
  complete
  printf 'written here' | dd of=a.img bs=1 seek=3000000 conv=notrunc status=none
  cmp a.img b
}

@test "migration: --finalize-at moves before all is here; a descriptor or a word at any time" {
  head -c 4M /dev/urandom >a.img
  truncate -s 4M b.img c.img
  seed a.img a
  link slow s --rate 20M
  leech --finalize-at 30 --seed-on unix:s2 "$(region slow)" b.img b
  PATIENCE=20 eventually event leech.events migrated
  [[ $(status_of r3-leech leech.ctl) =~ \"percent\":([0-9]+) ]]
  ((BASH_REMATCH[1] >= 30 && BASH_REMATCH[1] < 100))
  PATIENCE=20 eventually event leech.events seeding
  cmp a.img b
  eventually gone "$seeder"
  forget_server "$seeder"
  # On to the next one, when a descriptor says so.
  mkfifo go
  exec 7<>go
  mv leech.events b.events
  seeder=$leecher
  "$BIN/r3-leech" --finalize ask --finalize-fd 7 --control unix:c.ctl --events-fd 8 "$(region s2)" c.img c \
    8>>leech.events >c.out 2>c.err 3>&- &
  servers+=("$!")
  PATIENCE=20 eventually pulled c.ctl
  run ! event leech.events finalizing
  echo >&7
  complete
  cmp a.img c
  run -2 "$BIN/r3-leech" --finalize-fd 99 "$(region s2)" d.img d
  [[ $output == *"--finalize-fd"* ]]
}

@test "migration: a full disk: said before the move, waited for after it" {
  truncate -s 4M a.img
  mkdir small
  mount -t tmpfs -o size=2560k tmpfs small
  truncate -s 4M small/b.img
  head -c 4M /dev/urandom >a.img
  seed a.img a
  leech "$(region s)" small/b.img b
  PATIENCE=20 eventually gone "$leecher"
  forget_server "$leecher"
  grep -q 'small/b.img: it cannot be kept here: No space left on device' leech.err
  eventually phase_is r3-seed seed.ctl seeding
  # And after the move: asked for before all is here.
  rm leech.events small/b.img*
  truncate -s 4M small/b.img
  link slow s --rate 20M
  leech --finalize-at 20 "$(region slow)" small/b.img b
  PATIENCE=20 eventually event leech.events migrated
  PATIENCE=20 eventually grep -q 'No space left on device: trying again' leech.err
  cmp a.img b # what cannot be kept is read from the seeder
  mount -o remount,size=20M small
  complete
  cmp a.img b
  stop_server "$leecher"
  cmp a.img small/b.img
  umount small
}

@test "migration: two finalize at once, one gets it" {
  head -c 8M /dev/urandom >a.img
  truncate -s 8M b.img c.img
  seed --on-suspend 'until [ -e both ]; do sleep 0.01; done' a.img a
  "$BIN/r3-leech" --finalize ask --control unix:other.ctl --events-fd 8 "$(region s)" c.img c \
    8>>other.events 2>other.err >other.out 3>&- &
  local other=$!
  servers+=("$other")
  leech --finalize ask "$(region s)" b.img b
  eventually all_is_here
  "$BIN/r3-leech" --ask finalize unix:leech.ctl & "$BIN/r3-leech" --ask finalize unix:other.ctl
  wait "$!"
  eventually event leech.events finalizing
  eventually event other.events finalizing
  touch both
  PATIENCE=20 eventually gone "$seeder"
  forget_server "$seeder"
  eventually grep -q '"complete"' leech.events other.events
  local won=$leecher lost=$other path=b
  event leech.events complete || won=$other lost=$leecher path=c
  eventually gone "$lost"
  forget_server "$lost"
  cat leech.err other.err | grep -q 'given to another leecher'
  cmp a.img $path
  kill -0 "$won"
}

@test "migration: hooks that fail or hang after the move are said, and change nothing" {
  head -c 1M /dev/urandom >a.img
  truncate -s 1M b.img c.img
  seed --hook-timeout 200ms --on-stop 'echo some words; sleep 60' a.img a
  leech --hook-timeout 200ms --on-resume 'sleep 60' "$(region s)" b.img b
  complete
  grep -q 'on-stop "echo some words; sleep 60": did not end within 200 ms' "$server_err"
  grep -q 'some words' "$server_err"
  grep -q 'on-resume "sleep 60": did not end within 200 ms' leech.err
  cmp a.img b
  stop_server "$leecher"
  rm leech.events
  seed b.img b
  leech --on-resume 'exit 7' "$(region s)" c.img c
  complete
  grep -q 'ended with status 7' leech.err
  cmp b.img c
}

@test "migration: wrong keys, another version, another file as the map" {
  truncate -s 64K a.img b.img
  "$BIN/r3-key" psk -o psk
  "$BIN/r3-key" psk -o other
  seed --psk-file psk a.img a
  run -1 timeout 10 "$BIN/r3-leech" "$(region s)&psk-file=other" b.img b
  [[ $output == *"key"* ]]
  run -1 timeout 10 "$BIN/r3-leech" "$(region s)" b.img b
  [[ $output == *r3-leech:* ]]
  cp a.img c.img
  head -c 56 /dev/urandom >c.img.r3-owner
  run -1 "$BIN/r3-leech" "$(region s)&psk-file=psk" c.img c
  [[ $output == *"no record of who owns"* ]]
  leech "$(region s)&psk-file=psk" b.img b
  complete
}
