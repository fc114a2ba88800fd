#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# uffd-serve with real page faults of real processes.
load ../helper

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  need "a userfaultfd" "$BIN/uffd-serve" --version
}

# serve REGION OPTIONS...: at unix:s
serve() { start_server uffd-serve -l "unix:$PWD/s" "$@"; }
client() { timeout -k 1 30 "$BIN/uffd-serve" -c "unix:$PWD/s" "$@"; }
half_present() { (($(status_of | jq .present) > 1000000)); }
four_pages_present() { [[ $(status_of | jq .present) == $((4 * 4096)) ]]; }
no_clients() { [[ $(status_of | jq .clients) == 0 ]]; }
status_of() { "$BIN/uffd-serve" --ask status "unix:$PWD/control"; }

@test "uffd-serve: a real file comes byte for byte, in every kind of memory" {
  head -c 20000001 /dev/urandom >image
  serve image
  client | cmp - image
  client -o copy
  cmp copy image
  client --memory shared | cmp - image
}

@test "uffd-serve: a pattern comes byte for byte, with and without prefetch, in any chunk" {
  "$BIN/ram-ul" --version
  start_server nbd-serve -l "unix:$PWD/n" pattern:9999999
  nbd=$server_pid
  need nbdcopy command -v nbdcopy
  nbdcopy "nbd+unix:///?socket=$PWD/n" expected
  truncate -s 9999999 expected
  for options in "" --no-prefetch "--chunk-size 64K" "--chunk-size 1M --no-prefetch" "--read-ahead 4K --no-prefetch"; do
    # shellcheck disable=SC2086
    serve $options pattern:9999999
    client | cmp - expected
    client --touch random
    stop_server
  done
}

@test "uffd-serve: regions of every length, to the last byte" {
  for size in 1 4095 4096 4097 8191 1048577; do
    head -c "$size" /dev/urandom >image
    serve image
    client | cmp - image
    stop_server
  done
}

@test "uffd-serve: an output file that is not empty is kept, unless --force" {
  echo precious >out
  head -c 10000 /dev/urandom >image
  serve image
  run -1 client -o out
  [[ $output == *"--force"* ]]
  [[ $(<out) == precious ]]
  client -o out --force
  cmp out image
}

@test "uffd-serve: many clients at once, each with all of it" {
  head -c 5000000 /dev/urandom >image
  serve image --control "unix:$PWD/control"
  for i in 1 2 3 4 5 6 7 8; do
    client -o "copy$i" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
  for i in 1 2 3 4 5 6 7 8; do cmp "copy$i" image; done
  eventually no_clients
}

@test "uffd-serve: zeroes take no memory in the server's reads" {
  truncate -s 64M holes
  serve holes --control "unix:$PWD/control"
  [[ $(client | sha256sum) == "$(sha256sum <holes)" ]]
  (($(status_of | jq .bytes_read) < 4000000))
}

@test "uffd-serve: --bench says how long it took" {
  serve pattern:4M
  run client --touch sequential --bench --json
  [[ $status == 0 ]]
  [[ $(jq -s 'map(select(.event == "touched"))[0].pages' <<<"$output") == 1024 ]]
  run client --touch random --bench
  [[ $output == *"1024 pages in "*"MB/s"* ]]
}

@test "uffd-serve: --run gets the address, and ends the server" {
  head -c 100000 /dev/urandom >image
  run -7 timeout 20 "$BIN/uffd-serve" -l "unix:$PWD/s" image --run sh -c \
    "'$BIN/uffd-serve' -c \"\$R3_ADDRESS\" -o copy && exit 7"
  cmp copy image
}

# far REGION OPTIONS...: serves it over r3 at unix:r, behind a proxy at unix:p that the socket unix:pc controls.
far() {
  start_server ram-ul -l "unix:$PWD/r" "$1"
  ram=$server_pid
  start_server tests/fault/faultproxy -l "unix:$PWD/p" -c "unix:$PWD/r" --control "unix:$PWD/pc" "${@:2}"
  region="r3+unix:///?socket=$PWD/p"
}
proxy() { "$BIN/tests/fault/faultproxy" --ask "$1" "unix:$PWD/pc" >/dev/null; }

@test "uffd-serve: a client can be stopped while it waits for a page" {
  far pattern:8M
  serve "$region" --no-prefetch --events-fd 8 8>events
  proxy "hole on"
  "$BIN/uffd-serve" -c "unix:$PWD/s" >copy 2>/dev/null 3>&- &
  pid=$!
  eventually grep -q '"connected"' events
  kill -TERM $pid
  wait $pid && false
  [[ $? == 1 || ! -s copy ]]
  proxy "hole off"
  "$BIN/uffd-serve" -c "unix:$PWD/s" | head -c 8 | cmp - <(printf '\0\0\0\0\0\0\0\0')
}

@test "uffd-serve: the region's server is killed and back in the middle: waited for, right bytes" {
  head -c 30000000 /dev/urandom >image
  start_server nbd-serve -l "unix:$PWD/n" image
  serve "nbd+unix:///?socket=$PWD/n" --no-prefetch --read-ahead 64K
  mkfifo pipe
  client >pipe 3>&- &
  pid=$!
  exec 5<pipe
  head -c 1000000 <&5 >copy
  nbd=${servers[0]}
  kill -KILL "$nbd"
  forget_server "$nbd"
  start_server nbd-serve -l "unix:$PWD/n" image
  cat <&5 >>copy
  exec 5<&-
  wait $pid
  cmp copy image
}

peer() { timeout -k 1 30 python3 "$ROOT/tests/system/uffd_peer.py" "$@"; }

@test "uffd-serve: hands over as userfaultfd-go does" {
  need_root
  head -c 3000001 /dev/urandom >image
  serve image
  peer original s image
  stop_server
  serve --protocol original --no-prefetch image
  peer original s image
}

@test "uffd-serve: a mapping that is shorter than the region, as the original may have" {
  need_root
  head -c 409600 /dev/urandom >image
  cat image image >longer
  serve longer
  peer original s image
}

@test "uffd-serve: restores memory as Firecracker hands it over" {
  need_root
  head -c 3000001 /dev/urandom >image
  for options in "--protocol firecracker" "" "--protocol firecracker --no-prefetch --chunk-size 64K"; do
    # shellcheck disable=SC2086
    serve $options image
    peer firecracker s image
    stop_server
  done
}

@test "uffd-serve: another protocol than --protocol says is refused" {
  need_root
  head -c 30001 /dev/urandom >image
  serve --protocol firecracker image
  run -1 client
  [[ $output == *"--protocol"* ]]
}

@test "uffd-serve: nonsense is refused, said, and touches nobody else" {
  need_root
  head -c 30000000 /dev/urandom >image
  serve image --no-prefetch --control "unix:$PWD/control"
  mkfifo pipe
  client >pipe 3>&- &
  pid=$!
  exec 5<pipe
  head -c 1000000 <&5 >copy
  peer hostile s >said
  cat said
  (($(grep -c refused: said) == 21))
  for word in "no descriptor came" "no userfaultfd" "too many desc" overlap "whole pages" "beyond the region" "not known" "too long"; do
    grep -q "$word" said
  done
  cat <&5 >>copy
  exec 5<&-
  wait $pid
  cmp copy image
  [[ $(grep -c "was refused" "$server_err") == 21 ]]
}

@test "uffd-serve: clients that die while they hand over or wait leave nothing behind" {
  need_root
  far pattern:8M
  serve "$region" --no-prefetch --control "unix:$PWD/control"
  run peer die-early s
  proxy "hole on"
  mkfifo late
  for _ in 1 2 3; do
    python3 "$ROOT/tests/system/uffd_peer.py" die-late s >late 3>&- &
    pid=$!
    read -r _ <late
    kill -KILL $pid
    wait $pid || true
  done
  proxy "hole off"
  eventually no_clients
  client | head -c 16 | cmp - <(printf '\0\0\0\0\0\0\0\0\10\0\0\0\0\0\0\0')
  kill -0 "$server_pid"
}

@test "uffd-serve: a region that fails is SIGBUS with its place, and no zeroes" {
  head -c 5000000 /dev/urandom >image
  for options in "" --no-prefetch; do
    # shellcheck disable=SC2086
    serve image $options --events-fd 8 8>events
    client --touch sequential
    truncate -s 2500000 image
    run -1 client -o copy --force
    [[ $output == *"byte 2498560: "* ]]
    (($(stat -c %s copy) <= 2500000))
    cmp -n "$(stat -c %s copy)" copy image
    grep '"event":"poisoned"' events | grep -q '"offset":2498560'
    stop_server
    head -c 5000000 /dev/urandom >image
  done
}

@test "uffd-serve: a server is killed; its client waits until another one has taken over" {
  head -c 30000000 /dev/urandom >image
  serve image --no-prefetch --read-ahead 64K
  mkfifo pipe
  client >pipe 2>errors 3>&- &
  pid=$!
  exec 5<pipe
  head -c 1000000 <&5 >copy
  kill -KILL "$server_pid"
  forget_server "$server_pid"
  eventually grep -q "the server has gone" errors
  serve image # without --adopt: it could be another region
  eventually grep -q "adopt takes it over" "$server_err"
  kill -0 $pid
  stop_server
  serve image --adopt
  cat <&5 >>copy
  exec 5<&-
  wait $pid
  cmp copy image
  grep -q "has taken over" errors
}

@test "uffd-serve: a server that is told to end poisons what a client without a duplicate did not touch" {
  need_root
  serve pattern:1M --no-prefetch --events-fd 8 8>events
  python3 - "$ROOT/tests/system" s >said 3>&- <<'END' &
import sys
sys.path.insert(0, sys.argv[1])
import uffd_peer, struct
uffd = uffd_peer.open_uffd()
mapped, address = uffd_peer.memory(1 << 20, uffd)
peer = uffd_peer.connect(sys.argv[2])
peer.sendall(struct.pack(">q", address))
uffd_peer.send_fds(peer, b"\0", [uffd])
print(mapped[8], flush=True)
peer.recv(1)
print(mapped[1 << 19], flush=True)
END
  pid=$!
  eventually grep -q 8 said
  stop_server
  wait $pid && false
  status=$?
  [[ $(wc -l <said) == 1 ]]
}

@test "uffd-serve: --writable: what a client writes is in the region, and nothing else is touched" {
  head -c 5000001 /dev/urandom >image
  cp image wanted
  for at in 0 12345 4096000 5000000; do printf X | dd of=wanted bs=1 seek=$at conv=notrunc status=none; done
  for kind in anonymous shared; do
    cp image region
    serve region --writable --push-interval 0s --control "unix:$PWD/control"
    client --write wanted --memory $kind
    (($(status_of | jq .bytes_pushed) <= 4 * 4096))
    cmp region wanted
    client | cmp - wanted
    stop_server
    cmp region wanted
  done
}

@test "uffd-serve: without --writable a client cannot push" {
  head -c 100000 /dev/urandom >image
  serve image
  run -1 client --write image
  [[ $output == *"--writable"* ]]
}

# A client that writes a byte into each page and then waits, told by the server's word, an interval or the end.
writer() {
  python3 - "$ROOT/tests/system" s >said 3>&- <<'END' &
import sys, struct, signal, fcntl
sys.path.insert(0, sys.argv[1])
import uffd_peer
uffd = uffd_peer.open_uffd(features=1 | 1 << 15)
mapped, address = uffd_peer.memory(1 << 20, uffd, mode=3)
peer, size = uffd_peer.greet(sys.argv[2])
uffd_peer.send_fds(peer, uffd_peer.message(3, struct.pack("<I12x", 5) + struct.pack("<QQQQ", address, 1 << 20, 0, 4096), 1), [uffd])
peer.recv(16)
for page in range(0, 256, 2):
    mapped[page * 4096 + 5] = 7
print("written", flush=True)
signal.pause()
END
  writer_pid=$!
  eventually grep -q written said
}

@test "uffd-serve: pushed on request, at an interval and at the end" {
  need_root
  need "asynchronous write tracking" bash -c '[[ $(uname -r | cut -d. -f1) -ge 7 ]] || (($(uname -r | cut -d. -f2) >= 7))'
  head -c 1M /dev/urandom >image
  cp image wanted
  python3 -c '
data = bytearray(open("wanted", "rb").read())
for page in range(0, 256, 2): data[page * 4096 + 5] = 7
open("wanted", "wb").write(data)'
  for how in request interval end; do
    cp image region
    interval=0s
    [[ $how != interval ]] || interval=50ms
    serve region --writable --push-interval $interval --control "unix:$PWD/control"
    writer
    case $how in
      request)
        cmp region image
        [[ $("$BIN/uffd-serve" --ask push "unix:$PWD/control" | jq .pushed) == $((128 * 4096)) ]]
        cmp region wanted
        ;;
      interval) eventually cmp -s region wanted ;;
    esac
    stop_server
    cmp region wanted
    kill -KILL $writer_pid
    wait $writer_pid || true
  done
}

@test "uffd-serve: what was written before a server died is pushed by the one that adopts" {
  need_root
  head -c 3M /dev/urandom >region
  tr 'a-m' 'n-z' <region >wanted
  serve region --writable --push-interval 0s --control "unix:$PWD/control"
  mkfifo input
  client --write input 2>errors 3>&- &
  pid=$!
  exec 6>input
  head -c 1500000 wanted >&6
  eventually half_present
  kill -KILL "$server_pid"
  forget_server "$server_pid"
  eventually grep -q "the server has gone" errors
  serve region --writable --push-interval 0s --adopt 6>&-
  tail -c +1500001 wanted >&6
  exec 6>&-
  wait $pid
  cmp region wanted
}

@test "uffd-serve: a program in C and one in C++ use the installed header" {
  local dest=$PWD/dest
  make -C "$ROOT" --no-print-directory install DESTDIR="$dest" PREFIX=/usr BUILD="$BIN" >/dev/null
  cat >example.cpp <<'END'
#include <cstdio>
#include "libcommon/device/remote_memory.hpp"
int main(int, char** argv) {
  r3::RemoteMemory memory(argv[1]);
  unsigned long sum = 0;
  for (const std::byte byte : memory.bytes()) sum += std::to_integer<unsigned>(byte);
  std::printf("%zu %lu\n", memory.bytes().size(), sum);
}
END
  cat >example.c <<'END'
#include <stdio.h>
#include "libcommon/device/remote_memory.h"
int main(int argc, char **argv) {
  char why[200];
  struct r3_memory *memory = r3_memory_open(argv[argc - 1], 1, why, sizeof why);
  if (!memory) return puts(why), 1;
  ((char *)r3_memory_bytes(memory))[5] = 'X';
  printf("%zu %ld\n", r3_memory_size(memory), (long)r3_memory_push(memory));
  r3_memory_close(memory);
}
END
  local flags=(-I"$dest/usr/include/r3tools" -pthread) sanitizers=()
  [[ $BIN != */build-* ]] || sanitizers=("-fsanitize=$(basename "$BIN" | sed 's/^build-//; s/-/,/g')")
  "${CXX:-g++}" -std=c++20 "${flags[@]}" "${sanitizers[@]}" example.cpp -L"$dest/usr/lib" -lr3common -o example
  gcc -std=c11 -Wall -Wextra -Werror "${flags[@]}" -c example.c -o example_c.o
  "${CXX:-g++}" "${sanitizers[@]}" -pthread example_c.o -L"$dest/usr/lib" -lr3common -o example_c
  head -c 1000000 /dev/zero | tr '\0' '\1' >image
  serve image --writable
  run ./example "unix:$PWD/s"
  [[ $status == 0 && $output == "1000000 1000000" ]]
  run ./example_c "unix:$PWD/s"
  [[ $status == 0 && $output == "1000000 4096" ]]
  [[ $(head -c 6 image | tail -c 1) == X ]]
  run -1 ./example_c "unix:$PWD/none"
  [[ $output == *"none: No such file"* ]]
}

# waiting_client SIZE [PAGE]: hands over, and touches the page when a line is written to descriptor 7.
waiting_client() {
  mkfifo "line$((++lines))" "said$lines"
  python3 "$ROOT/tests/system/uffd_peer.py" wait s "$@" <"line$lines" >"said$lines" 3>&- &
  waiter=$!
  exec 7>"line$lines" 8<"said$lines"
  read -r _ <&8
}
waiting_client_ends() {
  echo >&7
  read -r touched <&8
  exec 7>&- 8<&-
  wait $waiter
}
present_is() { [[ $(status_of | jq .present) == "$1" ]]; }
present_reaches() { (($(status_of | jq .present) >= $1)); }

@test "uffd-serve: --pull-order names what is brought, by a file, a command or the content" {
  need_root
  head -c 8M /dev/urandom >image
  printf '4096000,8192\n40960,4096\n' >ranges
  # shellcheck disable=SC2016
  for order in "$PWD/ranges" "exec:cat $PWD/ranges; [ \$R3_SIZE = 8388608 ]"; do
    serve image --no-prefetch --pull-order "$order" --control "unix:$PWD/control"
    waiting_client 8388608 1001
    eventually present_is $((3 * 4096))
    waiting_client_ends
    [[ $(status_of | jq .faults) == 0 ]]
    stop_server
  done
  sqlite3 database "create table t(x); insert into t select hex(randomblob(500)) from generate_series(1, 5000); create index i on t(x);"
  serve database --no-prefetch --pull-order sqlite --control "unix:$PWD/control"
  waiting_client "$(stat -c %s database)"
  eventually present_reaches 8192
  waiting_client_ends
  [[ $(status_of | jq .faults) == 0 ]]
}

@test "uffd-serve: --pull-order reverse begins at the end, and then brings everything" {
  need_root
  far pattern:8M --rate 32M
  serve "$region" --pull-order reverse --read-ahead 4K --control "unix:$PWD/control"
  waiting_client 8388608 2047
  eventually present_reaches 1048576
  (($(status_of | jq .present) < 8388608))
  waiting_client_ends
  [[ $touched == 0 && $(status_of | jq .faults) == 0 ]]
}

@test "uffd-serve: an order that is none, or a bad list, is refused before anything is served" {
  head -c 8M /dev/urandom >image
  run -2 "$BIN/uffd-serve" -l "unix:$PWD/s" --pull-order backwards image
  [[ $output == *'"backwards" is no order'* ]]
  echo "four thousand" >ranges
  run -2 "$BIN/uffd-serve" -l "unix:$PWD/s" --pull-order ./ranges image
  run -2 "$BIN/uffd-serve" -l "unix:$PWD/s" --pull-order "exec:exit 3" image
  [[ ! -e s ]]
}

huge_pages() { # COUNT: that many are there to be used, until the test ends
  huge_before=$(</proc/sys/vm/nr_hugepages)
  need "huge pages" bash -c "echo $((huge_before + $1)) >/proc/sys/vm/nr_hugepages && (("'$(awk "/HugePages_Free/ {print \$2}" /proc/meminfo)'" >= $1))"
}
teardown() {
  [[ -z ${huge_before:-} ]] || echo "$huge_before" >/proc/sys/vm/nr_hugepages
  stop_servers
}

@test "uffd-serve: pages of 2 MiB: read, written back, handed over by Firecracker" {
  need_root
  huge_pages 16
  head -c 20000001 /dev/urandom >image
  for options in "" --no-prefetch "--no-prefetch --chunk-size 4M"; do
    # shellcheck disable=SC2086
    serve image $options --control "unix:$PWD/control"
    client --memory huge | cmp - image
    client --memory huge --touch random
    peer firecracker-huge s image
    stop_server
  done
  cp image region
  cp image wanted
  for at in 0 12345 4096000 20000000; do printf X | dd of=wanted bs=1 seek=$at conv=notrunc status=none; done
  serve region --writable --push-interval 0s
  client --write wanted --memory huge
  cmp region wanted
}

@test "uffd-serve: huge pages that fail are SIGBUS as well, with their place" {
  need_root
  huge_pages 8
  head -c 10M /dev/urandom >image
  serve image --no-prefetch
  client --memory huge --touch sequential
  truncate -s 5M image
  run -1 client --memory huge -o copy
  [[ $output == *"byte 4194304: "* ]]
  cmp -n 4194304 copy image
}

@test "uffd-serve: pages that a shared file has already are mapped (CONTINUE), the others brought" {
  need_root
  head -c 3000001 /dev/urandom >image
  for options in "" --no-prefetch; do
    # shellcheck disable=SC2086
    serve image $options
    peer minor s image
    stop_server
  done
}

@test "uffd-serve: a process that forks: the child has its own copy of the rest, and so has the parent" {
  need_root
  head -c 6000000 /dev/urandom >image
  for options in "" "--no-prefetch --read-ahead 4K"; do
    # shellcheck disable=SC2086
    serve image $options --control "unix:$PWD/control"
    for kind in anonymous shared; do
      run timeout 30 "$BIN/tests/fault/forking_client" "unix:$PWD/s" image $kind
      [[ $status == 0 && $output == "child and parent are right" ]]
    done
    eventually no_clients
    stop_server
  done
}

@test "uffd-serve: a program in Go, as userfaultfd-go's hand over" {
  need_root
  need "go (golang-go)" command -v go
  GO111MODULE=off GOFLAGS='' GOTOOLCHAIN=local GOCACHE=$BIN/go-cache go build -o go-client "$ROOT/tests/system/uffd-go/client.go"
  head -c 5000001 /dev/urandom >image
  for options in "" "--protocol original --no-prefetch" "--chunk-size 256K"; do
    # shellcheck disable=SC2086
    serve image $options
    run timeout 30 ./go-client s image
    echo "$output"
    [[ $status == 0 && $output == "5000001 bytes are right" ]]
    stop_server
  done
}

@test "uffd-serve: connections that say nothing are bounded, and keep nobody out" {
  head -c 1000000 /dev/urandom >image
  serve image
  python3 - s "$server_pid" >said 3>&- <<'END' &
import os, resource, socket, sys
peers = []
for i in range(1000):
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(sys.argv[1])
    peers.append(peer)
print("connected", flush=True)
while len(os.listdir(f"/proc/{sys.argv[2]}/task")) > 80:
    pass
print("few threads", flush=True)
peers[0].recv(1)
sys.stdin.close()
import signal
signal.pause()
END
  crowd=$!
  eventually grep -q "few threads" said
  client | cmp - image
  (($(find "/proc/$server_pid/task" -mindepth 1 -maxdepth 1 | wc -l) < 80))
  kill -KILL $crowd
  wait $crowd || true
}

@test "uffd-serve: more clients than --max-clients are told so" {
  need_root
  head -c 1000000 /dev/urandom >image
  serve image --max-clients 1 --control "unix:$PWD/control"
  waiting_client 1000000
  run -1 client
  [[ $output == *"--max-clients"* ]]
  waiting_client_ends
  eventually no_clients
  client | cmp - image
}

@test "uffd-serve: a recorded working set comes first the next time" {
  need_root
  head -c 8M /dev/urandom >image
  serve image --record set
  python3 - "$ROOT/tests/system" s <<'END'
import sys, struct
sys.path.insert(0, sys.argv[1])
import uffd_peer
uffd = uffd_peer.open_uffd()
mapped, address = uffd_peer.memory(8 << 20, uffd)
peer = uffd_peer.connect(sys.argv[2])
peer.sendall(struct.pack(">q", address))
uffd_peer.send_fds(peer, b"\0", [uffd])
for page in (1500, 7, 8, 3):
    mapped[page * 4096]
END
  stop_server
  cat set
  grep -qE "6144000" set
  serve image --no-prefetch --replay set --control "unix:$PWD/control"
  waiting_client 8388608 1500
  eventually four_pages_present
  waiting_client_ends
  [[ $(status_of | jq .faults) == 0 ]]
}

@test "uffd-serve: wrong usage ends with 2 and says what is accepted" {
  run -2 "$BIN/uffd-serve" -l unix:x
  [[ $output == *"REGION is missing"* ]]
  run -2 "$BIN/uffd-serve" image
  [[ $output == *"--listen is missing"* ]]
  run -2 "$BIN/uffd-serve" -l tcp://localhost:0 image
  [[ $output == *"UNIX sockets only"* ]]
  run -2 "$BIN/uffd-serve" -l unix:x --protocol smoke image
  [[ $output == *"firecracker"* ]]
  run -2 "$BIN/uffd-serve" -l unix:x --chunk-size 5000 image
  [[ $output == *"powers of two"* ]]
  run -2 "$BIN/uffd-serve" -c unix:x image
  run -2 "$BIN/uffd-serve" -c unix:x --bench
  run -2 "$BIN/uffd-serve" -c unix:x --touch backwards
  [[ $output == *"sequential, random"* ]]
  run -2 "$BIN/uffd-serve" -c unix:x --json
  [[ ! -e x ]]
}
