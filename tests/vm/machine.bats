# SPDX-License-Identifier: Apache-2.0
# The guest itself, and the kernel's own NBD client on nbd-serve. Runs inside tests/vm/run.
load ../helper

setup() {
  need "the guest of tests/vm/run" test "${IN_VM:-}" = 1
  sock=$BATS_TEST_TMPDIR/nbd.sock
}

teardown() {
  [[ ! -e /sys/block/nbd0/pid ]] || nbd-client -d /dev/nbd0 || true
  stop_servers
}

@test "ublk_drv, built from Debian's source, gives a control device" {
  modprobe ublk_drv 2>/dev/null || insmod "$UBLK"
  eventually test -c /dev/ublk-control
}

@test "the kernel's NBD client: ext4 on nbd-serve, direct and cached I/O, and a disconnect" {
  modprobe nbd nbds_max=4 max_part=0
  start_server nbd-serve -l "unix:$sock" memory:64M
  nbd-client -unix "$sock" /dev/nbd0 -b 4096 -C 2
  [ "$(blockdev --getsize64 /dev/nbd0)" = $((64 << 20)) ]
  mkfs.ext4 -q /dev/nbd0
  mkdir "$BATS_TEST_TMPDIR/mnt"
  mount /dev/nbd0 "$BATS_TEST_TMPDIR/mnt"
  head -c 5M /dev/urandom >"$BATS_TEST_TMPDIR/source"
  dd if="$BATS_TEST_TMPDIR/source" of="$BATS_TEST_TMPDIR/mnt/direct" bs=1M oflag=direct status=none
  cp "$BATS_TEST_TMPDIR/source" "$BATS_TEST_TMPDIR/mnt/cached"
  umount "$BATS_TEST_TMPDIR/mnt"
  echo 3 >/proc/sys/vm/drop_caches
  e2fsck -fn /dev/nbd0
  mount -o ro /dev/nbd0 "$BATS_TEST_TMPDIR/mnt"
  cmp "$BATS_TEST_TMPDIR/source" "$BATS_TEST_TMPDIR/mnt/direct"
  cmp "$BATS_TEST_TMPDIR/source" "$BATS_TEST_TMPDIR/mnt/cached"
  umount "$BATS_TEST_TMPDIR/mnt"
}

@test "a delay made by netem is there" {
  modprobe sch_netem
  tc qdisc add dev lo root netem delay 20ms
  run -0 ping -c 3 -i 0.2 -q 127.0.0.1
  tc qdisc del dev lo root
  [[ $output =~ =\ ([0-9]+) ]] && ((BASH_REMATCH[1] >= 40))
}

# Reads and writes the image through the region, from a UNIX socket of another nbd-serve.
copy_through() { # REGION
  head -c 3M /dev/urandom >"$BATS_TEST_TMPDIR/source"
  start_server nbd-serve -l "unix:$sock" "$1"
  nbdcopy "$BATS_TEST_TMPDIR/source" "nbd+unix:///?socket=$sock"
  nbdcopy "nbd+unix:///?socket=$sock" - | cmp - "$BATS_TEST_TMPDIR/source"
  cmp "$BATS_TEST_TMPDIR/source" "$BATS_TEST_TMPDIR/image"
  stop_server
}

@test "vsock: nbd-serve for libnbd, and as a region; a server that comes back is found again" {
  modprobe vsock_loopback
  truncate -s 3M "$BATS_TEST_TMPDIR/image"
  start_server nbd-serve -l vsock://1:7001 "$BATS_TEST_TMPDIR/image"
  [ "$(cat "$server_out")" = nbd+vsock://1:7001 ]
  [ "$(nbdinfo --size nbd+vsock://1:7001)" = $((3 << 20)) ]
  copy_through nbd+vsock://1:7001
  run -1 "$BIN/nbd-serve" -l vsock://1:7001 memory:1M
  [[ $output == *"vsock://1:7001"* ]]

  start_server nbd-serve -l "unix:$sock" nbd+vsock://1:7001
  kill -KILL "${servers[0]}"
  forget_server "${servers[0]}"
  start_server nbd-serve -l vsock://1:7001 "$BATS_TEST_TMPDIR/image"
  nbdcopy "nbd+unix:///?socket=$sock" - | cmp - "$BATS_TEST_TMPDIR/image"
  stop_server "${servers[0]}" # before the one that it needs
}

@test "vsock: ram-ul, and r3+vsock as a region" {
  modprobe vsock_loopback
  truncate -s 3M "$BATS_TEST_TMPDIR/image"
  start_server ram-ul -l vsock://1:7002 "disk=$BATS_TEST_TMPDIR/image"
  [ "$(cat "$server_out")" = r3+vsock://1:7002/disk ]
  copy_through r3+vsock://1:7002/disk
}
