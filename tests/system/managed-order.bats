#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Orders of pulling, over a slow link: an application finds here what it needs, and little else has crossed.
load ../helper

setup() {
  need_mounts
  need sqlite3 command -v sqlite3
  cd "$BATS_TEST_TMPDIR"
  sqlite3 db "create table t(a integer primary key, b text); create index i on t(b);
    with recursive c(x) as (select 1 union all select x+1 from c where x<100000)
      insert into t select x, hex(randomblob(20)) from c"
  start_server ram-ul -l "unix:$PWD/s" "$PWD/db"
  start_server tests/fault/faultproxy -l "unix:$PWD/p" -c "unix:$PWD/s" --delay 5ms --rate 200M
  touch shown
}

# mounted OPTION... -- SCRIPT: runs it when the first pulling is over; sets missed and present, what the
# application had to wait for and the bytes that are here in the end.
mounted() {
  local options=() script
  while [[ $1 != -- ]]; do options+=("$1"); shift; done
  script='until "$BIN"/r3-mount --ask status unix:c | jq -e .pull_complete; do sleep 0.05; done >&2
    "$BIN"/r3-mount --ask status unix:c >before
    '"$2"'
    "$BIN"/r3-mount --ask status unix:c >status'
  timeout 60 "$BIN/r3-mount" --control unix:c "${options[@]}" "r3+unix:///?socket=$PWD/p" shown \
    --run bash -c "$script" >out 2>err
  missed=$(jq .missed status) present=$(jq .present status)
}

query='sqlite3 -readonly shown "select count(*) from t where a between 500 and 600;
  select a from t where b > (select b from t where a=77) order by b limit 3"'

@test "what one run read is here before the next one asks, and nothing else" {
  mounted --no-pull --record set -- "$query"
  ((missed > 0))
  cp out first
  cp set again
  mounted --no-pull --replay set --record set -- "$query"
  diff first out
  echo "present: $present of $(stat -c %s db) bytes, missed: $missed" >&2
  ((missed == 0 && present * 20 < $(stat -c %s db)))
  [[ $(tail -n +2 again | sort) == "$(tail -n +2 set | sort)" ]]
}

@test "a list brings just what it names" {
  mounted --no-pull --pull-order "exec:echo 0,64K; echo 1M,128K" -- \
    'head -c 64K shown >a; dd if=shown bs=64K skip=16 count=2 of=b 2>dd'
  cmp a <(head -c 64K db)
  cmp b <(tail -c +$(((1 << 20) + 1)) db | head -c 128K)
  (($(jq .present before) == 192 << 10))
}

@test "the hint for databases: the schema is here, a lookup misses one leaf a level" {
  mounted --no-pull --pull-order sqlite -- 'sqlite3 -readonly shown .schema'
  grep -q "CREATE INDEX i" out
  ((present * 4 < $(stat -c %s db)))
}

@test "all is pulled whatever comes first, and every byte is right" {
  printf '2M,1M\n1M,4K,9\n' >order
  for order in auto reverse ./order sqlite ext4; do
    mounted --pull-order "$order" --record set -- 'cmp shown db'
    (($(jq .present before) == $(stat -c %s db)))
  done
}

@test "a list for a larger region: what is past the end is left out, with a warning" {
  echo "0,1T" >order
  mounted --no-pull --replay order -- 'cmp shown db'
  grep -q "warning: order: " err
  ((missed == 0))
}
