#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Regions in Cassandra: one real server for all tests of this file, each in a keyspace or table of its own.
load ../helper
load servers

setup_file() {
  need "Java and Maven" command -v java mvn
  need "python3-cassandra" /usr/bin/python3 -c 'import cassandra'
  fetch_cassandra
  export cassandra_jars cassandra=$BATS_FILE_TMPDIR/cassandra
  start_cassandra "$cassandra"
  cql_does "$cassandra" '
for keyspace in ("k", "Other"):
    s.execute(f"""create keyspace "{keyspace}" with replication = {{
        \u0027class\u0027: \u0027SimpleStrategy\u0027, \u0027replication_factor\u0027: 1}}""")
s.execute("create role maker with password = \u0027hidden-word\u0027 and login = true")
s.execute("grant all on keyspace k to maker")
s.execute("create role looker with password = \u0027hidden-word\u0027 and login = true")
s.execute("grant select on keyspace k to looker")'
}

teardown_file() { kill -KILL "$(<"$cassandra/pid")" 2>/dev/null || true; }

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  export R3_LIBEXEC=$BIN
  (umask 077; echo hidden-word >password; echo wrong >other)
  server="maker@127.0.0.1:$(<"$cassandra/port")" with="password-file=$PWD/password"
}

@test "cql: a region in a table, in both versions of the protocol" {
  written "cql://$server/k/disks/dir/disk?size=4M&chunk=16K&$with"
  read_again "cql://$server/k/disks/dir/disk?$with&protocol=4&consistency=ONE"
  written "cql://$server/k/disks/large?size=4M&chunk=1M&$with&consistency=QUORUM"
  written "cql://$server/k/disks/old?size=4M&chunk=256K&$with&protocol=4"
  read_again "cql://$server/k/disks/old?$with"
  cql_does "$cassandra" '
rows = {r.key: r.data for r in s.execute("select key, data from k.disks")}
assert rows["dir/disk/region"].startswith(b"r3 region 1\nsize 4194304\nchunk 16384\nid "), rows["dir/disk/region"]
data = open("'"$PWD"'/data", "rb").read()
chunks = {k: v for k, v in rows.items() if k.startswith("old-")}
assert len(chunks) > 5
for key, value in chunks.items():
    at = int(key[4:])
    assert value == data[at:at + 262144].ljust(262144, b"\0"), key'
  fails 2 "its size is 4194304, not 8388608" "cql://$server/k/disks/large?size=8M&$with"
  fails 2 "its chunk size is 1048576, not 4096" "cql://$server/k/disks/large?chunk=4K&$with"
  fails 2 "there is none" "cql://$server/k/disks/other?$with"
}

@test "cql: what the server refuses, and what makes no sense" {
  fails 2 "cql://HOST/KEYSPACE/TABLE/NAME" "cql://$server/k/disks"
  fails 2 "LOCAL_QUORUM" "cql://$server/k/disks/x?size=1M&consistency=MOST"
  fails 2 "at most 8.0 MiB" "cql://$server/k/disks/x?size=64M&chunk=16M&$with"
  fails 2 "protocol=4 or protocol=5" "cql://$server/k/disks/x?size=1M&protocol=3"
  fails 1 "No such file or directory" "cql://$server/none/disks/x?$with"
  fails 1 "No such file or directory" "cql://$server/k/none/x?$with"
  fails 1 "Cannot achieve consistency level THREE" "cql://$server/k/refused/x?size=1M&$with&consistency=THREE"
  fails 1 "username" "cql://$server/k/disks/x?size=1M&password-file=$PWD/other"
  fails 1 "wants a user and a password" "cql://$server/k/disks/x?size=1M"
  fails 1 "Permission denied" "cql://$server/Other/disks/x?size=1M&$with"
  fails 1 "Connection refused" "cql://127.0.0.1:$(free_port)/k/disks/x?size=1M&$with"
  # Who may only read gets what is there, and no more.
  start_server nbd-serve -l "unix:$PWD/w" "cql://$server/k/rights/x?size=1M&$with"
  head -c 1048576 /dev/urandom >data
  nbdcopy --flush data "nbd+unix:///?socket=$PWD/w"
  start_server nbd-serve -l "unix:$PWD/n" "cql://looker@${server#*@}/k/rights/x?$with"
  nbdcopy "nbd+unix:///?socket=$PWD/n" back
  cmp data back
  run ! nbdcopy --flush data "nbd+unix:///?socket=$PWD/n"
  fails 1 "Permission denied" "cql://looker@${server#*@}/k/rights/y?size=1M&$with"
}

@test "cql: passwords are nowhere to be seen" {
  start_server nbd-serve -v -l "unix:$PWD/n" "cql://$server/k/seen/x?size=1M&$with"
  local pid
  for pid in "$server_pid" $(pgrep -P "$server_pid"); do
    run ! grep -qs hidden-word "/proc/$pid/cmdline" "/proc/$pid/environ"
  done
  run ! grep -q hidden-word "$server_err"
  [[ $BIN == */build-* ]] || grep -qx 'Seccomp:.2' "/proc/$(pgrep -P "$server_pid")/status"
}

@test "cql: r3map's rows are read, and written; damage is an error" {
  head -c 16384 /dev/urandom >data
  cql_does "$cassandra" '
s.execute("create table k.map (key text primary key, data blob)")
data = open("'"$PWD"'/data", "rb").read()
for at in (0, 4096, 12288):
    s.execute("insert into k.map (key, data) values (%s, %s)", (f"p-{at}", data[at:at + 4096]))'
  fails 2 "needs size= and chunk=" "cql://$server/k/map/p?layout=r3map&$with"
  with_a_hole "cql://$server/k/map/p?layout=r3map&size=16K&chunk=4K&$with"
  cql_does "$cassandra" '
data = open("'"$PWD"'/data", "rb").read()
rows = {r.key: r.data for r in s.execute("select key, data from k.map")}
assert rows == {f"p-{at}": data[at:at + 4096] for at in range(0, 16384, 4096)}, rows.keys()
s.execute("insert into k.map (key, data) values (%s, %s)", ("p-4096", b"short"))'
  run ! nbdcopy "nbd+unix:///?socket=$PWD/n" null:
  run /usr/bin/python3 -m nbd -u "nbd+unix:///?socket=$PWD/n" -c 'h.pread(512, 6000)'
  [[ $output == *"Input/output error"* ]]
}

@test "cql: a writer whose clock is behind does not lose what it writes" {
  start_server nbd-serve -l "unix:$PWD/n" "cql://$server/k/clock/x?size=1M&chunk=64K&$with"
  head -c 1048576 /dev/urandom >data
  nbdcopy --flush data "nbd+unix:///?socket=$PWD/n"
  stop_server
  # As one would have left it whose clock is an hour ahead of ours.
  cql_does "$cassandra" '
import time
later = int((time.time() + 3600) * 1e6)
s.execute("insert into k.clock (key, data) values (%s, %s) using timestamp %s", ("x/clock", str(later).encode(), later))
for at in range(0, 1048576, 65536):
    s.execute("insert into k.clock (key, data) values (%s, %s) using timestamp %s", (f"x-{at}", bytes(65536), later - 1))'
  start_server nbd-serve -l "unix:$PWD/n" "cql://$server/k/clock/x?$with"
  nbdcopy "nbd+unix:///?socket=$PWD/n" back
  cmp -n 1048576 back /dev/zero
  nbdcopy --flush data "nbd+unix:///?socket=$PWD/n"
  nbdcopy "nbd+unix:///?socket=$PWD/n" back
  cmp data back
}

@test "cql: the server killed and back, and helpers killed: nothing answered is lost" {
  start_server nbd-serve -l "unix:$PWD/n" "cql://$server/k/killed/x?size=1M&chunk=4K&$with"
  local tool=$server_pid how copy
  for how in helper server stopped; do
    head -c 1048576 /dev/urandom >data
    nbdcopy --flush data "nbd+unix:///?socket=$PWD/n" &
    copy=$!
    case $how in
      helper) kill -KILL "$(pgrep -P "$tool")" ;;
      server) kill -KILL "$(<"$cassandra/pid")"; start_cassandra "$cassandra" ;;
      stopped) kill -STOP "$(<"$cassandra/pid")"; kill -CONT "$(<"$cassandra/pid")" ;;
    esac
    wait "$copy"
    nbdcopy "nbd+unix:///?socket=$PWD/n" back
    cmp data back
  done
  grep -q "trying again" "$server_err"
}

@test "cql: answers that are damaged or cut off on the way are never bytes of the region" {
  start_server tests/fault/faultproxy -l "unix:$PWD/p" -c "tcp://${server#*@}" --direction down --skip 4K --record 1K \
    --flip 0.002 --seed 5
  start_server nbd-serve -l "unix:$PWD/w" "cql://$server/k/flipped/x?size=4M&chunk=64K&$with"
  head -c 4194304 /dev/urandom >data
  nbdcopy --flush data "nbd+unix:///?socket=$PWD/w"
  start_server nbd-serve -l "unix:$PWD/n" "cql+unix://maker@/k/flipped/x?socket=$PWD/p&$with"
  /usr/bin/python3 -m nbd -u "nbd+unix:///?socket=$PWD/n" -c '
data = open("data", "rb").read()
failed = 0
for at in range(0, len(data), 65536):
    try:
        assert h.pread(65536, at) == data[at:at + 65536], at
    except nbd.Error:
        failed += 1
print(failed, "of", len(data) // 65536, "reads failed")
assert failed > 0'
}
