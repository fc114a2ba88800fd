#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# r3-seed and r3-leech from outside, without a device: what they refuse, and a region that moves.
load ../helper

setup() { cd "$BATS_TEST_TMPDIR"; }

@test "migration: wrong usage ends with 2 and says what is accepted" {
  truncate -s 64K a b
  run -2 "$BIN/r3-seed" --driver none a -l tcp://0.0.0.0:0
  [[ $output == *"--plain"* ]]
  run -2 "$BIN/r3-seed" --driver none a -l unix:s --key-file k
  [[ $output == *"--peer-keys"* ]]
  run -2 "$BIN/r3-seed" --driver tape a -l unix:s
  [[ $output == *"--driver"*fuse* ]]
  run -2 "$BIN/r3-leech" --driver none a b
  [[ $output == *"no r3 region"* ]]
  run -2 "$BIN/r3-leech" --driver none --finalize soon 'r3+unix:///?socket=s' b
  [[ $output == *"--finalize"*auto*ask* ]]
  run -2 "$BIN/r3-leech" --driver none --on-timeout never 'r3+unix:///?socket=s' b
  [[ $output == *"--on-timeout"*postcopy* ]]
  run -2 "$BIN/r3-leech" --driver none --finalize-at 101 'r3+unix:///?socket=s' b
  [[ $output == *"--finalize-at"* ]]
}

@test "migration: a region moves without a device, and its records say where it is" {
  head -c 300000 /dev/urandom >a
  truncate -s 300000 b
  start_server r3-seed --driver none a -l unix:s
  local seeder=$server_pid
  start_server r3-leech --driver none --control unix:ctl 'r3+unix:///?socket=s' b
  eventually gone "$seeder"
  forget_server "$seeder"
  eventually cmp a b
  [[ $("$BIN/r3-leech" --ask status unix:ctl) == *'"percent":100'* ]]
  stop_server "$server_pid"
  run -1 "$BIN/r3-seed" --driver none a -l unix:s
  [[ $output == *"moved to another host"* ]]
  start_server r3-seed --driver none b -l unix:s # it is here now
  # And back again: what is still there is not pulled twice.
  start_server r3-leech --driver none --control unix:ctl 'r3+unix:///?socket=s' a
  [[ $("$BIN/r3-leech" --ask status unix:ctl) =~ \"spared\":[1-9] ]]
}

@test "migration: a leecher whose key may only read cannot move anything" {
  "$BIN/r3-key" gen -o seeder.key
  "$BIN/r3-key" gen -o leecher.key
  echo "$("$BIN/r3-key" pub leecher.key) leecher ro *" >peers
  truncate -s 64K a b
  start_server r3-seed --driver none a -l unix:s --key-file seeder.key --peer-keys peers
  run -1 "$BIN/r3-leech" --driver none "r3+unix:///?socket=s&server-key=$("$BIN/r3-key" pub seeder.key)&key-file=leecher.key" b
  [[ $output == *"may only read"* ]]
}

@test "migration: a damaged record is refused" {
  truncate -s 64K a
  echo nonsense >a.r3-owner
  run -1 "$BIN/r3-seed" --driver none a -l unix:s
  [[ $output == *"a.r3-owner"*"no record"* ]]
}
