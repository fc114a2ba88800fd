#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Regions whose servers are busy, stall, lie, or are full: never a wrong byte, never a wait without
# an end that the user chose, and one line that says what is wrong.
load ../helper
load servers

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  export R3_LIBEXEC=$BIN
  nbd="nbd+unix:///?socket=$PWD/n"
}

tell() { echo "$1" >lie; }
asked() { grep -c "^$1 " asked; } # WORD: how many requests were answered so
is_asked() { (($(asked "$1") >= $2)); }
# has_line N TEXT: N lines of what the tool and its helper said have TEXT.
has_line() {
  (($(grep -c -- "$2" "$server_err") == $1)) || { echo "not $1 times \"$2\":" >&2; cat "$server_err" >&2; false; }
}
reads() { /usr/bin/python3 -m nbd -u "$nbd" -c "part = h.pread($2, $1); open('got', 'wb').write(part)"; } # OFFSET LENGTH
served() { start_server nbd-serve -l "unix:$PWD/n" "$1"; }

# read_fails WORD TEXT REGION: while WORD is told, a read is an error and TEXT is said; then the right bytes come.
read_fails() {
  tell true
  served "$3"
  tell "$1"
  run ! reads 65536 40000
  [ ! -e got ]
  has_line 1 "warning: .*$2"
  tell true
  reads 65536 40000
  cmp got <(tail -c +65537 data | head -c 40000)
  rm got
  stop_server
}

@test "http: a busy server is left alone as long as it asks, which is told once" {
  start_nginx
  start_lying_proxy "$nginx_port"
  head -c 3000001 /dev/urandom | tee data >"$www/f"
  served "http://127.0.0.1:$lying_port/f"
  tell busy
  reads 0 4096 &
  local copy=$!
  eventually is_asked busy 2
  tell true
  wait "$copy"
  cmp -n 4096 got data
  tell busy
  reads 4096 4096 &
  copy=$!
  eventually is_asked busy 3
  tell true
  wait "$copy"
  has_line 1 "status 503; trying again"
  has_line 1 "works again"
  # A pause that is longer than the user waits is not waited for at all.
  need_root
  : >file
  start_server r3-mount --direct --io-timeout 30s "http://127.0.0.1:$lying_port/f" file
  tell throttle
  run -1 timeout 20 head -c 4096 file
  [[ $output == *"Input/output error"* ]]
  has_line 1 "status 429, until --io-timeout"
  (($(asked throttle) <= 2)) # the kernel may ask twice
}

@test "http: other ranges, all of the file, another file, half of it, garbage, and no end" {
  start_nginx
  start_lying_proxy "$nginx_port"
  head -c 3000001 /dev/urandom | tee data >"$www/f"
  local url=http://127.0.0.1:$lying_port/f
  read_fails other-range "another range" "$url"
  read_fails whole "all of the file where a part was asked for" "$url"
  read_fails other-tag "has changed on the server" "$url"
  read_fails garbage "status 404" "$url"
  tell true
  served "$url"
  tell half
  reads 65536 40000 &
  local copy=$!
  eventually is_asked half 2
  tell true
  wait "$copy"
  cmp got <(tail -c +65537 data | head -c 40000)
  has_line 1 "trying again"
}

@test "http: a server that stalls, says nothing, or never comes to the point: until --io-timeout" {
  need_root
  start_nginx
  start_lying_proxy "$nginx_port"
  head -c 3000001 /dev/urandom | tee data >"$www/f"
  : >file
  local word
  for word in stall silent endless; do
    tell true
    start_server r3-mount --direct --io-timeout 500ms "http://127.0.0.1:$lying_port/f" file
    tell $word
    run -1 timeout 20 dd if=file bs=4096 skip=16 count=1
    [[ $output == *"Input/output error"* ]]
    tell true
    eventually eval 'dd if=file bs=4096 skip=16 count=1 status=none | cmp - <(tail -c +65537 data | head -c 4096)'
    stop_server
  done
}

@test "s3: lies about objects are no zeroes and no bytes" {
  start_nginx
  start_lying_proxy "$nginx_port"
  local region="s3://bucket/disk?anonymous=yes&endpoint=http://127.0.0.1:$lying_port" word copy
  written "$region&size=4M"
  read_fails garbage "status 404" "$region"
  read_fails other-range "another range" "$region"
  read_fails whole "all of the object where a part was asked for" "$region"
  tell true
  served "$region"
  for word in half busy; do
    tell $word
    reads 65536 40000 &
    copy=$!
    eventually is_asked $word 2
    tell true
    wait "$copy"
    cmp got <(tail -c +65537 data | head -c 40000)
  done
}

@test "redis: one that still loads, one that has become a replica, one that has lost its primary" {
  start_redis
  local region="redis+unix:///0/x?socket=$redis" port copy
  written "$region&size=4M&chunk=16K"
  served "$region"
  # It is back, but takes its time to read what it has kept.
  redis-cli -s "$redis" bgrewriteaof >/dev/null
  eventually eval '[[ $(redis-cli -s "$redis" info persistence) =~ aof_rewrite_in_progress:0.*aof_rewrite_scheduled:0 ]]'
  forget_peer "$redis_pid"
  start_redis_loading
  reads 65536 40000 &
  copy=$!
  eventually grep -q "LOADING" "$server_err"
  redis-cli -s "$redis" config set key-load-delay 0 >/dev/null
  wait "$copy"
  cmp got <(tail -c +65537 data | head -c 40000)
  # Its primary is not there: what it has may be read, or not, as it was told.
  port=$(free_port)
  redis-cli -s "$redis" replicaof 127.0.0.1 "$port" >/dev/null
  run /usr/bin/python3 -m nbd -u "$nbd" -c 'h.pwrite(b"x" * 16384, 0)'
  [[ $output == *"Operation not permitted"* || $output == *"Read-only"* ]]
  has_line 1 "the server says READONLY"
  reads 65536 40000
  cmp got <(tail -c +65537 data | head -c 40000)
  redis-cli -s "$redis" config set replica-serve-stale-data no >/dev/null
  reads 65536 40000 &
  copy=$!
  eventually grep -q "MASTERDOWN" "$server_err"
  redis-cli -s "$redis" config set replica-serve-stale-data yes >/dev/null
  wait "$copy"
  cmp got <(tail -c +65537 data | head -c 40000)
  has_line 1 "MASTERDOWN.*trying again"
}
