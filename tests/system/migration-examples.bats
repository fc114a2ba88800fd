#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Running programs move between two hosts (network namespaces), with a client that never stops asking: a to-do list
# whose state is mapped memory, there and back again; SQLite in WAL mode on an ext4. What the client saw of it is
# printed.
load ../helper
load migration

setup() {
  need_mounts
  need "network namespaces" unshare --net true
  cd "$BATS_TEST_TMPDIR"
  "$BIN/r3-key" psk -o psk
  hosts=r3$$
  # The client's host is the switch between the others.
  ip netns add "$hosts-c"
  ip -n "$hosts-c" link add name switch type bridge
  ip -n "$hosts-c" addr add 10.83.0.3/24 dev switch
  ip -n "$hosts-c" link set switch up
  for host in a b; do
    ip netns add "$hosts-$host"
    ip -n "$hosts-c" link add "v$host" type veth peer name eth netns "$hosts-$host"
    ip -n "$hosts-c" link set "v$host" master switch up
    ip -n "$hosts-$host" link set lo up
    ip -n "$hosts-$host" link set eth up
  done
  ip -n "$hosts-a" addr add 10.83.0.1/24 dev eth
  ip -n "$hosts-b" addr add 10.83.0.2/24 dev eth
}

teardown() {
  local status=0
  touch stop
  cat ./*.pid 2>/dev/null | xargs -r kill 2>/dev/null || true
  for path in a.fs b.fs; do umount -l "$path" 2>/dev/null || true; done
  stop_servers || status=$?
  for path in a b; do umount -l "$path" 2>/dev/null || true; done
  for host in a b c; do ip netns del "$hosts-$host" || status=$?; done
  return "$status"
}

# go HOST: "${on[@]}" CMD runs CMD there, as the process that it is started as.
go() { on=(nsenter "--net=/run/netns/$hosts-$1"); }

# serve HOST KIND PATH: the service, in the background; HOST.pid has its process.
serve() {
  go "$1"
  "${on[@]}" setsid python3 "$ROOT/tests/system/todo.py" serve "$2" "$3" "$(address "$1")" >>"$1.log" 2>&1 3>&- &
  echo $! >"$1.pid"
  disown
}
address() { if [[ $1 == a ]]; then echo 10.83.0.1; else echo 10.83.0.2; fi; }
# used_at HOST LEAST: the client is there, and so many things have been acknowledged in all.
used_at() {
  local things at
  read -r things at <used && [[ $at == "$(address "$1")" ]] && ((things >= $2))
} 2>/dev/null

use() {
  go c
  "${on[@]}" python3 "$ROOT/tests/system/todo.py" use stop 10.83.0.1 10.83.0.2 >used.out 2>used.err 3>&- &
  client=$!
}

# What the client found, and how long the longest time without an answer was.
ask_client() {
  touch stop
  wait "$client" || { cat used.err >&2; return 1; }
  [[ $(cat used.out) =~ \"things\":\ ([0-9]+) ]]
  ((BASH_REMATCH[1] >= 40))
  echo "# $1: $(cat used.out)" >&3
}

# host HOST EVENTS TOOL ARGS...: a tool on a host.
host() {
  go "$1"
  "${on[@]}" "$BIN/$3" --events-fd 8 --psk-file psk "${@:4}" 8>>"$2" >>"$2.log" 2>&1 3>&- &
  servers+=("$!")
  eventually event "$2" attached
}

@test "migration: a to-do list in mapped memory moves to another host and back, its client always at work" {
  truncate -s 4M a.img b.img
  host a seed.events r3-seed -l tcp://10.83.0.1:10833 --on-suspend 'kill $(cat a.pid); tail -s 0.002 --pid=$(cat a.pid) -f /dev/null' \
    a.img a
  first=${servers[-1]}
  serve a mapped a
  use
  eventually used_at a 20
  host b there.events r3-leech --seed-on tcp://10.83.0.2:10833 \
    --on-suspend 'kill $(cat b.pid); tail -s 0.002 --pid=$(cat b.pid) -f /dev/null' 'r3://10.83.0.1/?psk-file=psk' b.img b
  second=${servers[-1]}
  serve b mapped b # it waits for its first page
  PATIENCE=30 eventually used_at b 40
  PATIENCE=30 eventually event there.events seeding
  eventually gone "$first"
  forget_server "$first"
  # Home again: most of it is still there.
  host a back.events r3-leech --control unix:back.ctl 'r3://10.83.0.2/?psk-file=psk' a.img a
  serve a mapped a
  PATIENCE=30 eventually used_at a 60
  PATIENCE=30 eventually event back.events complete
  eventually gone "$second"
  forget_server "$second"
  ask_client "to-do list in mapped memory, two moves"
  [[ $(status_of r3-leech back.ctl) =~ \"spared\":[1-9] ]]
}

@test "migration: SQLite in WAL mode on an ext4 moves, killed in the middle of its work" {
  need "loop devices" losetup -f
  truncate -s 32M a.img b.img
  mkfs.ext4 -q -F a.img
  mkdir a.fs b.fs
  host a seed.events r3-seed -l tcp://10.83.0.1:10833 \
    --on-suspend 'kill -KILL $(cat a.pid); tail -s 0.002 --pid=$(cat a.pid) -f /dev/null; umount a.fs' a.img a
  first=${servers[-1]}
  mount -o loop a a.fs
  serve a sqlite a.fs/todo.db
  use
  eventually used_at a 20
  host b there.events r3-leech --on-resume 'mount -o loop b b.fs' 'r3://10.83.0.1/?psk-file=psk' b.img b
  PATIENCE=30 eventually event there.events ready
  [ -s b.fs/todo.db-wal ]
  serve b sqlite b.fs/todo.db
  PATIENCE=30 eventually used_at b 40
  PATIENCE=30 eventually event there.events complete
  eventually gone "$first"
  forget_server "$first"
  ask_client "SQLite in WAL mode"
  kill "$(cat b.pid)"
  tail -s 0.002 --pid="$(cat b.pid)" -f /dev/null
  umount b.fs
  e2fsck -fn b >/dev/null
}
