# SPDX-License-Identifier: Apache-2.0
# Real servers for tests of region helpers: each is started in the test's own directory, on a socket file or a
# free port of 127.0.0.1. teardown ends them all, and first what the test has started in front of them.

peers=()

stop_peers() {
  local pid
  for pid in "${peers[@]}"; do kill -KILL "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done
  peers=()
}

teardown() {
  local status=0
  stop_servers || status=$?
  stop_peers
  return "$status"
}

# forget_peer PID: kills one of them now.
forget_peer() {
  local pid rest=()
  kill -KILL "$1"
  wait "$1" 2>/dev/null || true
  for pid in "${peers[@]}"; do [[ $pid == "$1" ]] || rest+=("$pid"); done
  peers=("${rest[@]}")
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# start_redis [OPTION...]: at $redis (a socket file). Sets redis_pid.
start_redis() {
  redis=$BATS_TEST_TMPDIR/redis.sock
  mkdir -p "$BATS_TEST_TMPDIR/redis"
  redis-server --port 0 --unixsocket "$redis" --dir "$BATS_TEST_TMPDIR/redis" --daemonize no --save '' \
    --appendonly yes --appendfsync always "$@" >>"$BATS_TEST_TMPDIR/redis.log" 2>&1 3>&- &
  redis_pid=$!
  peers+=("$redis_pid")
  eventually redis-cli -s "$redis" ping >/dev/null 2>&1
}

# start_redis_loading: the same again, which takes a tenth of a second for each key of its file, until key-load-delay is 0.
start_redis_loading() {
  redis-server --port 0 --unixsocket "$redis" --dir "$BATS_TEST_TMPDIR/redis" --daemonize no --save '' \
    --appendonly yes --appendfsync always --key-load-delay 100000 --loading-process-events-interval-bytes 1024 \
    >>"$BATS_TEST_TMPDIR/redis.log" 2>&1 3>&- &
  redis_pid=$!
  peers+=("$redis_pid")
  eventually eval 'redis-cli -s "$redis" ping 2>&1 | grep -q LOADING'
}

# start_redis_pair: a primary at 127.0.0.1:${pair[0]}, its replica at ${pair[1]}, processes ${pair_pids[0..1]}, and a
# sentinel that makes the one the other when the first is gone.
start_redis_pair() {
  local dir=$BATS_TEST_TMPDIR/sentinel
  pair=("$(free_port)" "$(free_port)") pair_pids=()
  start_redis_at 0
  start_redis_at 1 --replicaof 127.0.0.1 "${pair[0]}"
  eventually eval 'redis-cli -p "${pair[1]}" info replication | grep -q "master_link_status:up"'
  mkdir "$dir"
  printf 'port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor r3 127.0.0.1 %s 1\n' "$(free_port)" "$dir" "${pair[0]}" >"$dir/conf"
  printf 'sentinel down-after-milliseconds r3 500\nsentinel failover-timeout r3 2000\n' >>"$dir/conf"
  redis-server "$dir/conf" --sentinel >>"$dir/log" 2>&1 3>&- &
  peers+=("$!")
  eventually grep -q '+slave' "$dir/log"
}
start_redis_at() { # I OPTION...
  mkdir -p "$BATS_TEST_TMPDIR/pair$1"
  redis-server --port "${pair[$1]}" --bind 127.0.0.1 --dir "$BATS_TEST_TMPDIR/pair$1" --daemonize no --save '' \
    --appendonly yes --appendfsync always "${@:2}" >>"$BATS_TEST_TMPDIR/pair$1.log" 2>&1 3>&- &
  pair_pids[$1]=$! peers+=($!)
  eventually redis-cli -p "${pair[$1]}" ping >/dev/null
}

# start_lying_proxy PORT: stands before the web server at PORT, at http://127.0.0.1:$lying_port; the word in the file `lie`
# says what it does with answers, and the file `asked` has what it was asked (lying_proxy.py).
start_lying_proxy() {
  echo true >lie
  : >asked
  python3 "$ROOT/tests/system/lying_proxy.py" "$1" "$PWD" >lying.port 2>lying.log 3>&- &
  peers+=("$!")
  eventually test -s lying.port
  lying_port=$(<lying.port)
}

# start_redis_cluster: four nodes at 127.0.0.1, ports ${nodes[0..3]}, processes ${node_pids[0..3]}: three have a third of
# the slots each, the fourth is a replica of the first.
start_redis_cluster() {
  local i port
  nodes=() node_pids=()
  for i in 0 1 2 3; do
    port=$(free_port)
    while ((port > 55000)); do port=$(free_port); done # the bus is 10000 higher
    mkdir -p "$BATS_TEST_TMPDIR/node$i"
    redis-server --port "$port" --bind 127.0.0.1 --dir "$BATS_TEST_TMPDIR/node$i" --daemonize no --save '' \
      --appendonly yes --appendfsync always --cluster-enabled yes --cluster-node-timeout 1000 \
      >>"$BATS_TEST_TMPDIR/node$i.log" 2>&1 3>&- &
    node_pids+=($!) peers+=($!) nodes+=("$port")
    eventually node "$i" ping >/dev/null
  done
  for i in 0 1 2; do node "$i" cluster addslotsrange $((i * 5461 + (i > 0))) $((i < 2 ? (i + 1) * 5461 : 16383)) >/dev/null; done
  for i in 1 2 3; do node 0 cluster meet 127.0.0.1 "${nodes[i]}" >/dev/null; done
  eventually cluster_is_whole
  eventually eval 'node 3 cluster replicate "$(node 0 cluster myid)" | grep -q OK'
  eventually eval 'node 3 info replication | grep -q "master_link_status:up"'
}
node() { redis-cli -p "${nodes[$1]}" "${@:2}"; } # I COMMAND...
cluster_is_whole() {
  local i
  for i in 0 1 2 3; do
    node "$i" cluster info | grep -q cluster_state:ok && (($(node "$i" cluster nodes | grep -c connected) == 4)) || return
  done
}

# start_nginx: serves $www at http://127.0.0.1:$nginx_port/, and below /bucket/ takes objects, too. Sets nginx_pid.
start_nginx() {
  www=$BATS_TEST_TMPDIR/www nginx_port=${nginx_port:-$(free_port)}
  mkdir -p "$www/bucket"
  echo '<Error><Code>NoSuchKey</Code></Error>' >"$www/missing.xml" # as S3 says it
  cat >"$BATS_TEST_TMPDIR/nginx.conf" <<EOF
daemon off; master_process off; pid $BATS_TEST_TMPDIR/nginx.pid; error_log $BATS_TEST_TMPDIR/nginx.log; worker_processes 1;
user root;
events {}
http { access_log off; client_body_temp_path $BATS_TEST_TMPDIR/nginx.body;
  server { listen 127.0.0.1:$nginx_port; root $www;
    location /bucket/ { dav_methods PUT DELETE; create_full_put_path on; client_max_body_size 0; error_page 404 /missing.xml; }
    location /whole/ { alias $www/; max_ranges 0; }
    location /secret/ { alias $www/; auth_basic r3; auth_basic_user_file $BATS_TEST_TMPDIR/users; } } }
EOF
  nginx -c "$BATS_TEST_TMPDIR/nginx.conf" >>"$BATS_TEST_TMPDIR/nginx.log" 2>&1 3>&- &
  nginx_pid=$!
  peers+=("$nginx_pid")
  eventually answers "$nginx_port"
}

# start_swift: OpenStack Swift with the S3 API, which verifies signatures, at http://127.0.0.1:$swift_port; the
# file $credentials has a key. The bucket `bucket` is there.
start_swift() {
  local dir=$BATS_TEST_TMPDIR/swift kind port account container object
  mkdir -p "$dir/srv/d1" "$dir/etc"
  swift_port=${swift_port:-$(free_port)} account=$(free_port) container=$(free_port) object=$(free_port)
  cat >"$dir/etc/swift.conf" <<EOF
[swift-hash]
swift_hash_path_suffix = r3
swift_hash_path_prefix = r3
[storage-policy:0]
name = Policy-0
default = yes
EOF
  for kind in account container object; do
    port=${!kind}
    (cd "$dir/etc" && swift-ring-builder $kind.builder create 4 1 1 && swift-ring-builder $kind.builder add \
      "r1z1-127.0.0.1:$port/d1" 1 && swift-ring-builder $kind.builder rebalance) >>"$dir/log" 2>&1
    cat >"$dir/etc/$kind-server.conf" <<EOF
[DEFAULT]
devices = $dir/srv
mount_check = false
bind_ip = 127.0.0.1
bind_port = $port
swift_dir = $dir/etc
workers = 0
log_address = $dir/none
user = root
[pipeline:main]
pipeline = $kind-server
[app:$kind-server]
use = egg:swift#$kind
EOF
  done
  cat >"$dir/etc/proxy-server.conf" <<EOF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $swift_port
swift_dir = $dir/etc
workers = 0
log_address = $dir/none
user = root
[pipeline:main]
pipeline = catch_errors cache s3api tempauth copy container_quotas slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:9
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
storage_domain = localhost
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:copy]
use = egg:swift#copy
[filter:container_quotas]
use = egg:swift#container_quotas
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
EOF
  for kind in account container object proxy; do start_swift_part $kind; done
  PATIENCE=90 eventually answers "$swift_port"
  credentials=$BATS_TEST_TMPDIR/credentials
  (umask 077; printf '[default]\naws_access_key_id = test:tester\naws_secret_access_key = testing\n' >"$credentials")
  PATIENCE=90 eventually s3 PUT "http://127.0.0.1:$swift_port/bucket"
}

# swift_quota BYTES: of the bucket `bucket`, told to the server that has it (there is no memcached for tokens).
swift_quota() {
  local dir=$BATS_TEST_TMPDIR/swift part port
  part=$(swift-get-nodes "$dir/etc/container.ring.gz" AUTH_test bucket 2>&1 | sed -n 's/^Partition[\t ]*//p')
  port=$(sed -n 's/^bind_port = //p' "$dir/etc/container-server.conf")
  curl -sSf -X POST -H "X-Timestamp: $(date +%s).00000" -H "X-Container-Meta-Quota-Bytes: $1" \
    "http://127.0.0.1:$port/d1/$part/AUTH_test/bucket"
}

start_swift_part() { # KIND
  SWIFT_TEST_CONFIG_FILE='' "swift-$1-server" "$BATS_TEST_TMPDIR/swift/etc/$1-server.conf" \
    >>"$BATS_TEST_TMPDIR/swift/log" 2>&1 3>&- &
  swift_pid=$! # of the last one: the proxy
  peers+=("$swift_pid")
}

# A request signed by another implementation than ours.
s3() { python3 "$ROOT/tests/system/s3_request.py" "$credentials" "$@" 2>>"$BATS_TEST_TMPDIR/swift/log"; }

# start_ceph: one monitor and one OSD in memory; $ceph_conf is the configuration, `disks` a pool. No authentication.
start_ceph() {
  local dir=$BATS_TEST_TMPDIR/ceph port id
  port=$(free_port) id=$(cat /proc/sys/kernel/random/uuid)
  mkdir -p "$dir/mon" "$dir/osd"
  ceph_conf=$dir/ceph.conf
  cat >"$ceph_conf" <<EOF
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon_initial_members = a
mon_host = v2:127.0.0.1:$port
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_bind_msgr1 = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_crush_chooseleaf_type = 0
osd_objectstore = memstore
memstore_device_bytes = 1073741824
mon_data = $dir/mon
osd_data = $dir/osd
run_dir = $dir
admin_socket =
pid_file =
log_file = $dir/\$name.log
mon_allow_pool_size_one = true
EOF
  monmaptool --create --clobber --fsid "$(sed -n 's/^fsid = //p' "$ceph_conf")" --addv a "[v2:127.0.0.1:$port]" \
    "$dir/monmap" >>"$dir/out" 2>&1
  ceph-mon -c "$ceph_conf" --mkfs -i a --monmap "$dir/monmap" >>"$dir/out" 2>&1
  ceph-mon -c "$ceph_conf" -i a -f >>"$dir/out" 2>&1 3>&- &
  peers+=("$!")
  PATIENCE=90 eventually ceph_does osd new "$id"
  ceph-osd -c "$ceph_conf" -i 0 --mkfs --osd-uuid "$id" >>"$dir/out" 2>&1
  start_osd
  PATIENCE=90 eventually ceph_does osd pool create disks 8
  PATIENCE=90 eventually timeout 20 rados -c "$ceph_conf" -p disks put probe "$ceph_conf"
}

start_osd() {
  ceph-osd -c "$ceph_conf" -i 0 -f >>"$BATS_TEST_TMPDIR/ceph/out" 2>&1 3>&- &
  osd_pid=$!
  peers+=("$osd_pid")
}

ceph_does() { timeout 20 ceph -c "$ceph_conf" --connect-timeout 10 "$@" >>"$BATS_TEST_TMPDIR/ceph/out" 2>&1; }

# fetch_cassandra: its Java archives, once for all runs with this build directory. Sets cassandra_jars.
fetch_cassandra() {
  cassandra_jars=$BIN/cassandra
  "$ROOT/tests/system/cassandra/fetch" "$cassandra_jars"
}

# start_cassandra DIRECTORY: one server with users and rights, on the port of DIRECTORY/port (a free one at the first
# start), process DIRECTORY/pid. What is in DIRECTORY stays when it is killed.
start_cassandra() {
  local dir=$1
  mkdir -p "$dir"
  [[ -e $dir/port ]] || free_port >"$dir/port"
  [[ -e $dir/storage ]] || free_port >"$dir/storage"
  cat >"$dir/cassandra.yaml" <<EOF
cluster_name: r3
num_tokens: 1
initial_token: 0
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
commitlog_sync: batch
commitlog_directory: $dir/commitlog
data_file_directories: [ $dir/data ]
saved_caches_directory: $dir/caches
hints_directory: $dir/hints
listen_address: 127.0.0.1
storage_port: $(<"$dir/storage")
rpc_address: 127.0.0.1
native_transport_port: $(<"$dir/port")
endpoint_snitch: SimpleSnitch
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [ { seeds: "127.0.0.1:$(<"$dir/storage")" } ]
memtable_heap_space: 64MiB
memtable_offheap_space: 64MiB
auto_snapshot: false
EOF
  (cd "$dir" && exec java @"$ROOT/tests/system/cassandra/java.options" -Dcassandra.config="file://$dir/cassandra.yaml" \
    -Dcassandra.storagedir="$dir" -Dcassandra.logdir="$dir" -Djava.io.tmpdir="$dir" -cp "$cassandra_jars/*" \
    org.apache.cassandra.service.CassandraDaemon) >>"$dir/log" 2>&1 3>&- &
  echo $! >"$dir/pid"
  PATIENCE=100 eventually cql_does "$dir" 's.execute("select key from system.local")'
}

# cql_does DIRECTORY PROGRAM: runs PROGRAM with the session `s` of another client than ours.
cql_does() { /usr/bin/python3 "$ROOT/tests/system/cql_client.py" "$(<"$1/port")" cassandra cassandra <<<"$2" 2>>"$1/client"; }

# What is asked of every region on such a server.

# written REGION: through an NBD server; random bytes at odd places, over chunks and their borders.
written() {
  head -c 3000001 /dev/urandom >data
  start_server nbd-serve -l "unix:$PWD/n" "$1"
  nbdcopy --flush data "nbd+unix:///?socket=$PWD/n"
  /usr/bin/python3 -m nbd -u "nbd+unix:///?socket=$PWD/n" -c '
data = bytearray(open("data", "rb").read())
import random
random.seed(7)
for _ in range(60):
    at = random.randrange(len(data)); size = min(random.choice((1, 100, 4096, 65536, 200000)), len(data) - at)
    if random.random() < 0.3:
        h.zero(size, at); data[at:at + size] = bytes(size)
    else:
        part = random.randbytes(size); h.pwrite(part, at); data[at:at + size] = part
    at = random.randrange(len(data)); size = min(70000, len(data) - at)
    assert h.pread(size, at) == data[at:at + size], at
h.flush()
open("data", "wb").write(data)'
  nbdcopy "nbd+unix:///?socket=$PWD/n" back
  cmp -n 3000001 data back
  stop_server
}

# read_again REGION: what was written is there for another process.
read_again() {
  start_server nbd-serve -r -l "unix:$PWD/n" "$1"
  nbdcopy "nbd+unix:///?socket=$PWD/n" back
  cmp -n 3000001 data back
  stop_server
}

# with_a_hole REGION: 16 KiB that hold `data`, but for the third 4 KiB, which are missing; then it is given all of `data`.
with_a_hole() {
  start_server nbd-serve -l "unix:$PWD/n" "$1"
  nbdcopy "nbd+unix:///?socket=$PWD/n" back
  cmp <(head -c 8192 data) <(head -c 8192 back)
  cmp -n 4096 <(tail -c +8193 back) /dev/zero
  cmp <(tail -c 4096 data) <(tail -c 4096 back)
  nbdcopy --flush data "nbd+unix:///?socket=$PWD/n"
}

fails() { # STATUS TEXT REGION: nbd-serve cannot open the region, and says so
  run -"$1" "$BIN/nbd-serve" -l "unix:$PWD/n" "$3" --run true
  [[ $output == *"$2"* ]]
}
