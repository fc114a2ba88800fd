#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Regions whose server dies for good while they are written, and another one takes over. Servers take their time to agree
# on that: LONG=1 runs it.
load ../helper
load servers

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  export R3_LIBEXEC=$BIN
  nbd="nbd+unix:///?socket=$PWD/n"
}

served() { start_server nbd-serve -l "unix:$PWD/n" "$1"; }

@test "redis: a sentinel makes the replica the primary, while the region is written" {
  start_redis_pair
  local region="redis://127.0.0.1:${pair[0]}/0/x?nodes=127.0.0.1:${pair[1]}"
  written "$region&size=4M&chunk=16K"
  served "$region"
  nbdcopy --flush data "$nbd"
  eventually eval '[[ $(redis-cli -p "${pair[0]}" info replication | grep master_repl_offset) == \
    "$(redis-cli -p "${pair[1]}" info replication | grep master_repl_offset)" ]]'
  forget_peer "${pair_pids[0]}"
  head -c 4194304 /dev/urandom >data
  nbdcopy --flush data "$nbd"
  (($(grep -c "answers instead; what was not flushed is sent again" "$server_err") == 1))
  redis-cli -p "${pair[1]}" role | grep -qx master
  nbdcopy "$nbd" back
  cmp data back
  # The old one is back, as a replica, and nothing is read from or written to it.
  start_redis_at 0 --replicaof 127.0.0.1 "${pair[1]}"
  redis-cli -p "${pair[0]}" role | grep -qx slave
  kill -KILL "$(pgrep -P "$server_pid")"
  head -c 4194304 /dev/urandom >data
  nbdcopy --flush data "$nbd"
  nbdcopy "$nbd" back
  cmp data back
}

@test "redis: a cluster's replica takes over, while the region is written" {
  start_redis_cluster
  local name slot
  for name in a b c d e f g h i j k l; do
    slot=$(node 0 cluster keyslot "r3:{$name}")
    ((slot > 5461)) || break
  done
  ((slot <= 5461))
  local region="redis://127.0.0.1:${nodes[1]}/0/$name?nodes=127.0.0.1:${nodes[2]}%2C127.0.0.1:${nodes[3]}"
  written "$region&size=4M&chunk=16K"
  served "$region"
  nbdcopy --flush data "$nbd"
  eventually eval '[[ $(node 0 info replication | grep master_repl_offset) == "$(node 3 info replication | grep master_repl_offset)" ]]'
  forget_peer "${node_pids[0]}"
  head -c 4194304 /dev/urandom >data
  nbdcopy data "$nbd"
  nbdcopy "$nbd" back
  cmp data back
  node 3 role | grep -qx master
}
