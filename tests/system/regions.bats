#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Regions that helpers serve, on the real servers.
load ../helper
load servers

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  export R3_LIBEXEC=$BIN
}

# The example of r3-region-helper(7) that begins with LINE.
example() { # LINE
  awk -v first="$1" '/^\.Ed/ { on = 0 } $0 == first { on = 1 } on' "$ROOT/man/r3-region-helper.7" | sed 's/\\e/\\/g'
}

@test "the helpers in the page, in Python and in C++, are regions" {
  mkdir libexec
  example '#!/usr/bin/env python3' >libexec/region-ram
  chmod +x libexec/region-ram
  export R3_LIBEXEC=$PWD/libexec
  written ram:4000000
  make -C "$ROOT" --no-print-directory install DESTDIR="$PWD/dest" PREFIX=/usr BUILD="$BIN" >/dev/null
  example '#include "libcommon/base/sizes.hpp"' >ram.cpp
  local sanitizers=()
  [[ $BIN != */build-* ]] || sanitizers=("-fsanitize=$(basename "$BIN" | sed 's/^build-//; s/-/,/g')")
  "${CXX:-g++}" -std=c++20 -pthread "${sanitizers[@]}" -Idest/usr/include/r3tools ram.cpp -Ldest/usr/lib -lr3common \
    -lsodium -lzstd -lxxhash -o libexec/region-ram
  written ram:4M
}

@test "helpers that are not there, or do not take the region" {
  fails 2 "there is no region-nosuch in" nosuch:thing
  fails 2 "password-file=FILE" redis://me:secret@localhost/0/x
  fails 2 'unknown parameter "colour"' 'redis://localhost/0/x?colour=red'
  fails 2 "no password" "redis://localhost/0/x?password-file=/dev/null"
  fails 2 "with the database's number" redis://localhost
  fails 2 "a power of two from 4K to 32M" 'redis://localhost/0/x?size=1M&chunk=5000'
  fails 2 "s3://BUCKET/NAME" 's3://bucket?anonymous=yes'
  fails 2 "endpoint=http" 's3://bucket/x?anonymous=yes&endpoint=ftp://x'
  fails 1 "Connection refused" "redis://127.0.0.1:$(free_port)/0/x?size=1M"
  fails 1 "Failed to connect" "http://127.0.0.1:$(free_port)/x"
  printf secret >open && chmod 644 open
  fails 1 "chmod 600" "redis://localhost/0/x?password-file=$PWD/open"
}

@test "redis: a region in a database, cut into chunks" {
  start_redis
  written "redis+unix:///3/dir/disk?socket=$redis&size=4M&chunk=16K"
  read_again "redis+unix:///3/dir/disk?socket=$redis"
  [[ $(redis-cli -s "$redis" -n 3 get 'r3:{dir/disk}') == "r3 region 1"$'\n'"size 4194304"$'\n'"chunk 16384"$'\n'"id "* ]]
  (($(redis-cli -s "$redis" -n 3 strlen 'r3:{dir/disk}:0') == 16384))
  fails 2 "its size is 4194304, not 8388608" "redis+unix:///3/dir/disk?socket=$redis&size=8M"
  fails 2 "its chunk size is 16384, not 4096" "redis+unix:///3/dir/disk?socket=$redis&chunk=4K"
  fails 2 "there is none" "redis+unix:///3/other?socket=$redis"
  redis-cli -s "$redis" -n 3 set 'r3:{dir/disk}:1' short >/dev/null
  start_server nbd-serve -l "unix:$PWD/n" "redis+unix:///3/dir/disk?socket=$redis"
  run ! nbdcopy "nbd+unix:///?socket=$PWD/n" null:
  redis-cli -s "$redis" -n 3 set 'r3:{dir/disk}' nonsense >/dev/null
  fails 1 "its label is not that of a region" "redis+unix:///3/dir/disk?socket=$redis"
}

@test "redis: r3map's layout is read, and written" {
  start_redis
  head -c 16384 /dev/urandom >data
  for at in 0 4096 12288; do
    dd if=data bs=4096 skip=$((at / 4096)) count=1 status=none | redis-cli -s "$redis" -x set $at >/dev/null
  done
  with_a_hole "redis+unix:///0/?socket=$redis&layout=r3map&size=16K&chunk=4K"
  cmp <(redis-cli -s "$redis" get 8192 | head -c 4096) <(dd if=data bs=4096 skip=2 count=1 status=none)
}

@test "redis: passwords come from a file, and are nowhere to be seen" {
  start_redis --requirepass hidden-word
  (umask 077; echo hidden-word >password; echo other >wrong)
  fails 1 "WRONGPASS" "redis+unix:///0/x?socket=$redis&size=1M&password-file=$PWD/wrong"
  fails 1 "NOAUTH" "redis+unix:///0/x?socket=$redis&size=1M"
  start_server nbd-serve -v -l "unix:$PWD/n" "redis+unix:///0/x?socket=$redis&size=1M&password-file=$PWD/password"
  [[ -n $(pgrep -P "$server_pid") ]]
  local pid
  for pid in "$server_pid" $(pgrep -P "$server_pid"); do
    run ! grep -qs hidden-word "/proc/$pid/cmdline" "/proc/$pid/environ"
  done
  run ! grep -q hidden-word "$server_err"
}

@test "redis: over TLS, for the right name only" {
  local port
  port=$(free_port)
  openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=r3 \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>/dev/null
  openssl req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.pem -days 2 -subj /CN=other \
    -addext subjectAltName=DNS:other.example 2>/dev/null
  start_redis --tls-port "$port" --tls-cert-file "$PWD/cert.pem" --tls-key-file "$PWD/key.pem" --tls-auth-clients no
  written "rediss://127.0.0.1:$port/0/x?size=4M&chunk=16K&ca-file=$PWD/cert.pem"
  read_again "rediss://localhost:$port/0/x?ca-file=$PWD/cert.pem"
  fails 1 "the server's certificate: self" "rediss://localhost:$port/0/x"
  fails 1 "other.pem" "rediss://localhost:$port/0/x?ca-file=$PWD/none/other.pem"
  fails 2 "belong to rediss:" "redis://localhost:$port/0/x?ca-file=$PWD/cert.pem"
  redis-cli -s "$redis" config set tls-cert-file "$PWD/other.pem" tls-key-file "$PWD/other.key" >/dev/null
  fails 1 "ostname mismatch" "rediss://localhost:$port/0/x?ca-file=$PWD/other.pem"
  # What is changed on the way ends the connection; it is never taken for bytes of the region.
  redis-cli -s "$redis" config set tls-cert-file "$PWD/cert.pem" tls-key-file "$PWD/key.pem" >/dev/null
  start_server tests/fault/faultproxy -l tcp://127.0.0.1:0 -c "tcp://127.0.0.1:$port" --direction down --skip 16K \
    --record 1K --flip 0.002 --seed 3
  local proxy
  proxy=$(grep -o '[0-9]*$' "$server_out" | head -n 1)
  start_server nbd-serve -l "unix:$PWD/n" "rediss://127.0.0.1:$proxy/0/x?ca-file=$PWD/cert.pem"
  nbdcopy "nbd+unix:///?socket=$PWD/n" back
  cmp -n 3000001 data back
}

@test "redis: a cluster, whose slots move" {
  start_redis_cluster
  local others="nodes=127.0.0.1:${nodes[1]}%2C127.0.0.1:${nodes[2]}%2C127.0.0.1:${nodes[3]}"
  # Asked of a node that does not have it.
  local slot holder=0 key
  slot=$(node 0 cluster keyslot 'r3:{a}')
  ((slot > 5461)) && holder=1
  ((slot > 10922)) && holder=2
  local asked=$(((holder + 1) % 3)) target=$(((holder + 2) % 3))
  written "redis://127.0.0.1:${nodes[asked]}/0/a?size=4M&chunk=16K"
  read_again "redis://127.0.0.1:${nodes[holder]}/0/a"
  # The slot moves to another node, while the region is written.
  start_server nbd-serve -l "unix:$PWD/n" "redis://127.0.0.1:${nodes[asked]}/0/a?$others"
  node "$target" cluster setslot "$slot" importing "$(node "$holder" cluster myid)" >/dev/null
  node "$holder" cluster setslot "$slot" migrating "$(node "$target" cluster myid)" >/dev/null
  head -c 4194304 /dev/urandom >data
  nbdcopy --flush data "nbd+unix:///?socket=$PWD/n"
  nbdcopy "nbd+unix:///?socket=$PWD/n" back
  cmp data back
  for key in $(node "$holder" cluster getkeysinslot "$slot" 1000); do
    node "$holder" migrate 127.0.0.1 "${nodes[target]}" "$key" 0 5000 >/dev/null
  done
  for key in 0 1 2; do node "$key" cluster setslot "$slot" node "$(node "$target" cluster myid)" >/dev/null; done
  nbdcopy "nbd+unix:///?socket=$PWD/n" back
  cmp data back
}

@test "redis: a value that is cut short is never zeroes; a full server says so" {
  start_redis
  start_server nbd-serve -l "unix:$PWD/n" "redis+unix:///0/x?socket=$redis&size=1M&chunk=16K"
  redis-cli -s "$redis" set 'r3:{x}:1' short >/dev/null
  run /usr/bin/python3 -m nbd -u "nbd+unix:///?socket=$PWD/n" -c 'h.pread(4096, 16384 + 4096)'
  [[ $output == *"Input/output error"* ]]
  redis-cli -s "$redis" config set maxmemory 1 maxmemory-policy noeviction >/dev/null
  run /usr/bin/python3 -m nbd -u "nbd+unix:///?socket=$PWD/n" -c 'h.pwrite(b"x" * 16384, 0)'
  [[ $output == *"No space left"* ]]
}

@test "helpers are confined" {
  [[ $BIN != */build-* ]] || skip "sanitizers need what is given up"
  start_redis
  start_server nbd-serve -l "unix:$PWD/n" "redis+unix:///0/x?socket=$redis&size=1M"
  local helper
  helper=$(pgrep -P "$server_pid")
  grep -qx 'NoNewPrivs:.1' "/proc/$helper/status"
  grep -qx 'Seccomp:.2' "/proc/$helper/status"
}

@test "redis, killed and back, and helpers killed: nothing flushed or answered is lost" {
  start_redis
  start_server nbd-serve -l "unix:$PWD/n" "redis+unix:///0/x?socket=$redis&size=1M&chunk=4K"
  local tool=$server_pid i
  for i in 1 2 3 4 5 6; do
    head -c 1048576 /dev/urandom >data
    nbdcopy --flush data "nbd+unix:///?socket=$PWD/n" &
    local copy=$!
    case $((i % 3)) in
      0) kill -KILL "$(pgrep -P "$tool")" ;;
      1) forget_peer "$redis_pid"; start_redis ;;
      2) kill -STOP "$redis_pid"; kill -CONT "$redis_pid" ;;
    esac
    wait "$copy"
    nbdcopy "nbd+unix:///?socket=$PWD/n" back
    cmp data back
  done
}

@test "redis: another region in the same place is never mixed in" {
  start_redis
  start_server nbd-serve -l "unix:$PWD/n" "redis+unix:///0/x?socket=$redis&size=1M&chunk=4K"
  head -c 1048576 /dev/urandom >data
  nbdcopy --flush data "nbd+unix:///?socket=$PWD/n"
  redis-cli -s "$redis" flushall >/dev/null
  kill -KILL "$(pgrep -P "$server_pid")"
  run ! timeout 20 nbdcopy "nbd+unix:///?socket=$PWD/n" back
  kill -KILL "$server_pid"
  forget_server
}

@test "redis: --io-timeout ends the wait for a server that is gone" {
  start_redis
  need_root
  : >file
  start_server r3-mount --direct --io-timeout 1s "redis+unix:///0/x?socket=$redis&size=1M" file
  forget_peer "$redis_pid"
  run -1 timeout 20 head -c 4096 file
  [[ $output == *"Input/output error"* ]]
}

@test "http: a file by its ranges" {
  start_nginx
  mkdir "$www/sub"
  head -c 5000001 /dev/urandom | tee "$www/sub/f" >"$www/f"
  : >"$www/empty"
  start_server nbd-serve -l "unix:$PWD/n" "http://127.0.0.1:$nginx_port/f"
  nbdcopy "nbd+unix:///?socket=$PWD/n" back
  cmp -n 5000001 "$www/f" back
  forget_peer "$nginx_pid"
  nbdcopy "nbd+unix:///?socket=$PWD/n" again &
  local copy=$!
  start_nginx
  wait "$copy"
  cmp back again
  echo more >>"$www/f"
  run ! nbdcopy "nbd+unix:///?socket=$PWD/n" back
  grep -q "has changed on the server" "$server_err" || run ! nbdcopy "nbd+unix:///?socket=$PWD/n" back
  fails 1 "status 404" "http://127.0.0.1:$nginx_port/none"
  fails 1 "no ranges" "http://127.0.0.1:$nginx_port/whole/f"
  start_server nbd-serve -l "unix:$PWD/s" "s3://sub/f?layout=object&anonymous=yes&endpoint=http://127.0.0.1:$nginx_port"
  nbdcopy "nbd+unix:///?socket=$PWD/s" back
  cmp -n 5000001 "$www/sub/f" back
  start_server nbd-serve -l "unix:$PWD/e" "http://127.0.0.1:$nginx_port/empty"
  (($(nbdinfo --size "nbd+unix:///?socket=$PWD/e") == 0))
}

@test "http: basic authentication" {
  start_nginx
  echo content >"$www/f"
  printf 'me:%s\n' "$(openssl passwd -apr1 word)" >users
  (umask 077; echo word >password; echo wrong >other)
  fails 1 "status 401" "http://127.0.0.1:$nginx_port/secret/f"
  fails 1 "status 401" "http://127.0.0.1:$nginx_port/secret/f#user=me&password-file=$PWD/other"
  start_server nbd-serve -l "unix:$PWD/n" "http://127.0.0.1:$nginx_port/secret/f#user=me&password-file=$PWD/password"
  (($(nbdinfo --size "nbd+unix:///?socket=$PWD/n") == 8))
}

@test "s3: a region in a bucket of Swift, which verifies signatures" {
  start_swift
  local server="endpoint=http://127.0.0.1:$swift_port&credentials-file=$credentials"
  written "s3://bucket/a%20dir/disk?$server&size=4M"
  read_again "s3://bucket/a%20dir/disk?$server"
  # The bucket stands before the host.
  read_again "s3://bucket/a%20dir/disk?style=host&endpoint=http://localhost:$swift_port&credentials-file=$credentials"
  s3 GET "http://127.0.0.1:$swift_port/bucket/a%20dir/disk/region" | grep -qx 'size 4194304'
  fails 1 "NoSuchBucket" "s3://other/disk?$server&size=4M"
  fails 2 "its size is 4194304" "s3://bucket/a%20dir/disk?$server&size=8M"
  s3 PUT "http://127.0.0.1:$swift_port/bucket/whole" data
  start_server nbd-serve -l "unix:$PWD/n" "s3://bucket/whole?layout=object&$server"
  nbdcopy "nbd+unix:///?socket=$PWD/n" back
  cmp -n 3000001 data back
  s3 PUT "http://127.0.0.1:$swift_port/bucket/whole" "$ROOT/README.md"
  run ! nbdcopy "nbd+unix:///?socket=$PWD/n" back
  stop_server
  # The server goes away in the middle, and comes back.
  start_server nbd-serve -l "unix:$PWD/n" "s3://bucket/a%20dir/disk?$server"
  forget_peer "$swift_pid"
  nbdcopy --flush data "nbd+unix:///?socket=$PWD/n" &
  local copy=$!
  start_swift_part proxy
  wait "$copy"
  nbdcopy "nbd+unix:///?socket=$PWD/n" back
  cmp -n 3000001 data back
  # A quota is a full disk.
  swift_quota 100000
  run /usr/bin/python3 -m nbd -u "nbd+unix:///?socket=$PWD/n" -c 'h.pwrite(b"x" * 262144, 262144)'
  [[ $output == *"No space left"* ]]
  grep -q "the server says EntityTooLarge: Disk quota exceeded" "$server_err"
  nbdcopy "nbd+unix:///?socket=$PWD/n" back
  cmp -n 3000001 data back
  sed -i s/testing/wrong/ "$credentials"
  fails 1 "SignatureDoesNotMatch" "s3://bucket/a%20dir/disk?$server"
}

@test "rados: a region in a pool of Ceph" {
  start_ceph
  written "rados:disks/a%20disk?conf=$ceph_conf&size=4M&chunk=64K"
  read_again "rados:disks/a%20disk?conf=$ceph_conf"
  rados -c "$ceph_conf" -p disks get 'a disk' - | grep -qx 'size 4194304'
  (($(rados -c "$ceph_conf" -p disks stat 'a disk.0000000000000000' | sed 's/.*size //') == 65536))
  written "rados:disks/other?conf=$ceph_conf&size=4M&namespace=x"
  fails 1 "pool nosuch: No such file or directory" "rados:nosuch/disk?conf=$ceph_conf&size=4M"
  fails 2 "its size is 4194304" "rados:disks/a%20disk?conf=$ceph_conf&size=8M"
  fails 2 "rados:POOL/NAME" "rados:disks?conf=$ceph_conf"
  fails 1 "$PWD/none" "rados:disks/x?conf=$PWD/none"
  # Stopped for a while: waited for.
  start_server nbd-serve -l "unix:$PWD/n" "rados:disks/a%20disk?conf=$ceph_conf"
  kill -STOP "$osd_pid"
  nbdcopy --flush data "nbd+unix:///?socket=$PWD/n" &
  local copy=$!
  kill -CONT "$osd_pid"
  wait "$copy"
  nbdcopy "nbd+unix:///?socket=$PWD/n" back
  cmp -n 3000001 data back
  # A full cluster says so, where it would have to take more; what it has can be read.
  local ratio
  for ratio in nearfull backfillfull full; do ceph_does osd "set-$ratio-ratio" 0.000001; done
  PATIENCE=60 eventually eval 'ceph -c "$ceph_conf" health detail 2>/dev/null | grep -q "is full"'
  run /usr/bin/python3 -m nbd -u "nbd+unix:///?socket=$PWD/n" -c 'h.pwrite(b"x" * 65536, 54 * 65536)'
  [[ $output == *"No space left"* ]]
  grep -q "rados:disks/a disk.0000000000000036: No space left" "$server_err"
  nbdcopy "nbd+unix:///?socket=$PWD/n" back
  cmp -n 3000001 data back
}
