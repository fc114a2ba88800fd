# SPDX-License-Identifier: Apache-2.0
# r3-mount from outside: what it refuses, and how. No mount is made here.
load ../helper

mount_fails() { refuses "$1" "$2" r3-mount "${@:3}"; } # STATUS WORDS ARGS...

setup() { cd "$BATS_TEST_TMPDIR"; }

@test "impossible options of a managed mount" {
  mount_fails 2 --chunk-size --chunk-size 5000 memory:4K disk
  mount_fails 2 --chunk-size --chunk-size 2M memory:4K disk
  mount_fails 2 --cache-size --cache-size 1M memory:4K disk
  mount_fails 2 --sync --sync later memory:4K disk
  mount_fails 2 "needs --cache" --sync local memory:4K disk
  mount_fails 2 --pull-first --pull-first --no-pull memory:4K disk
  mount_fails 2 backward --pull-order backward memory:4K disk
  printf '4K\n4K,1,2,3\n' >order
  mount_fails 2 "line 2" --pull-order ./order memory:4K disk
  mount_fails 2 "line 2" --replay ./order memory:4K disk
  mount_fails 2 "status 3" --pull-order "exec:exit 3" memory:4K disk
  mount_fails 1 nowhere --record nowhere/set memory:4K disk
  mount_fails 1 regular --record /dev/null memory:4K disk
  mount_fails 2 direct --direct --record set memory:4K disk
  mount_fails 2 direct --direct --pull-order reverse memory:4K disk
  mount_fails 2 --cache --direct --cache c memory:4K disk
  [ ! -e disk ] && [ ! -e c ]
}

@test "a cache that is none, or of something else, is refused and left alone" {
  head -c 100000 /dev/urandom >foreign
  cp foreign before
  mount_fails 1 "no cache" --cache foreign memory:1M disk
  cmp foreign before
  mkdir directory
  mount_fails 1 directory --cache directory memory:1M disk
  mount_fails 1 missing/cache --cache missing/cache memory:1M disk
  : >file
  truncate -s 1M file
  [ ! -e disk ]
}

@test "without a region" { mount_fails 2 REGION --direct; }

@test "an unknown driver" {
  mount_fails 2 "--driver: 'floppy' is none of auto, ublk, nbd, loop, fuse" --direct --driver floppy memory:4K disk
  [ ! -e disk ]
}

@test "impossible numbers" {
  mount_fails 2 --threads --direct --threads 0 memory:4K
  mount_fails 2 --threads --direct --threads many memory:4K
  mount_fails 2 --connections --direct --connections 65 memory:4K
  mount_fails 2 --io-timeout --direct --io-timeout soon memory:4K
  mount_fails 2 --grace --direct --grace -1s memory:4K
}

@test "impossible modes" {
  for mode in 8 1000 rw -1 0x1 77777777777777777777; do
    mount_fails 2 --mode --direct "--mode=$mode" memory:4K
  done
}

@test "unknown owners" {
  mount_fails 2 --owner --direct --owner nobody-has-this-name memory:4K
  mount_fails 2 --owner --direct --owner root:nobody-has-this-name memory:4K
  mount_fails 2 --owner --direct --owner : memory:4K
  mount_fails 2 --owner --direct --owner -5 memory:4K
}

@test "a bad region, and one that is not there" {
  mount_fails 2 memory --direct memory:lots disk
  mount_fails 1 "$PWD/missing" --direct "file:$PWD/missing" disk
  [ ! -e disk ]
}

@test "a path that cannot be a mount point is left alone" {
  echo precious >full
  mkdir directory
  mount_fails 1 "not empty" --direct memory:4K full
  mount_fails 1 directory --direct memory:4K directory
  mount_fails 1 missing/disk --direct memory:4K missing/disk
  mount_fails 1 /dev/null --direct memory:4K /dev/null
  [ "$(cat full)" = precious ]
  [ ! -e missing ]
}

@test "--list-drivers names each driver and says why or why not" {
  run "$BIN/r3-mount" --list-drivers
  [[ $status == 0 || $status == 3 ]]
  [ "${#lines[@]}" = 4 ]
  local names=(ublk nbd loop fuse) i
  for i in 0 1 2 3; do [[ ${lines[i]} == "${names[i]}"$'\t'@(yes|no)$'\t'?* ]]; done
  run "$BIN/r3-mount" --list-drivers --json
  [ "$(jq -c 'select(.event == "driver") | has("usable") and has("reason")' <<<"$output" | tr -d '\n')" = truetruetruetrue ]
}

@test "a command that is a region does not outlive r3-mount, whatever it was doing" {
  cat >server <<'END'
#!/bin/sh
sleep 1000 &
echo $! >sleeper
echo $$ >pid
wait
END
  chmod +x server
  ended() { ! grep -qs '^State:.[^Z]' "/proc/$1/status"; } # perhaps nobody reaps it
  for signal in KILL TERM; do
    rm -f pid
    "$BIN/r3-mount" --direct "nbd+exec:./server" 2>/dev/null 3>&- &
    mount=$!
    eventually test -s pid
    kill -"$signal" "$mount"
    wait "$mount" || true
    eventually ended "$(cat pid)"
    eventually ended "$(cat sleeper)"
  done
}
