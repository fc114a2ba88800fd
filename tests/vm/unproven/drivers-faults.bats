# SPDX-License-Identifier: Apache-2.0
# Faults under r3-mount's drivers ublk and nbd. Written, but never run to the end: not in the stage vm until then.
#   tests/run tests/vm/unproven/drivers-faults.bats
load ../../helper

setup_file() {
  [ "${IN_VM:-}" != 1 ] || load_modules
}

load_modules() {
  modprobe nbd nbds_max=4 max_part=8
  modprobe -a fuse loop
  [ -e /dev/ublk-control ] || modprobe ublk_drv 2>/dev/null || insmod "$UBLK"
}

setup() {
  need "the guest of tests/vm/run" test "${IN_VM:-}" = 1
  cd "$BATS_TEST_TMPDIR" || return
  sock=$PWD/region.sock control=unix:$PWD/control.sock mnt=$PWD/mnt disk=$PWD/disk
  export STOP_PATIENCE=60
  mkdir "$mnt"
}

# Nothing may be left, whatever happened: no device, no task that waits uninterruptibly.
teardown() {
  umount "$mnt" 2>/dev/null || true
  stop_servers || true
  [ "${IN_VM:-}" != 1 ] || "$BIN/r3-mount" --list-drivers >/dev/null  # cleans
}

no_device_left() { ! compgen -G '/dev/ublk[bc]*' && ! compgen -G '/sys/block/nbd*/pid'; }
nobody_waits_for_ever() { ps -eo state=,args= | awk '$1 == "D" && $2 !~ /^\[/ { print; bad = 1 } END { exit bad }'; }

serve() { start_server nbd-serve -l "unix:$sock" "$@"; serve_pid=$server_pid; }
# mount_region DRIVER REGION ARGS...: as $disk.
mount_region() {
  local driver=$1 region=$2
  shift 2
  start_server r3-mount --direct --driver "$driver" "$region" "$disk" --control "$control" "$@"
  mount_pid=$server_pid
  node=$(readlink "$disk")
}
ask() { "$BIN/r3-mount" --ask status "$control" | jq -r ".$1"; }
asks() { [ "$(ask "$1")" = "$2" ]; }
is_waiting() { [ "$(ask waiting)" != 0 ]; }
kill_mount() { kill -KILL "$mount_pid"; forget_server "$mount_pid"; }
over_nbd() { echo "nbd+unix:///?socket=$sock"; }

outlives_its_daemon() { # DRIVER
  truncate -s 32M image
  serve "$PWD/image"
  mount_region "$1" "$(over_nbd)"
  before=$node
  mkfs.ext4 -q "$disk"
  mount "$disk" "$mnt"
  head -c 3M /dev/urandom | tee source >"$mnt/first"
  sync "$mnt/first"
  head -c 5M /dev/urandom >later
  dd if=later of="$mnt/second" bs=128K oflag=direct status=none &
  writer=$!
  kill_mount
  mount_region "$1" "$(over_nbd)"
  [ "$node" = "$before" ]
  [ "$(ask adopted)" = true ]
  grep -q '"adopted":true' <("$BIN/r3-mount" --ask status "$control") || [ "$(ask adopted)" = true ]
  wait "$writer"
  echo 3 >/proc/sys/vm/drop_caches
  cmp source "$mnt/first"
  cmp later "$mnt/second"
  umount "$mnt"
  e2fsck -fn "$disk"
  stop_server "$mount_pid"
  [ "$server_status" = 0 ]
  no_device_left
}

@test "ublk: r3-mount is killed under a mounted ext4, and the next start takes it over" { outlives_its_daemon ublk; }
@test "nbd: r3-mount is killed under a mounted ext4, and the next start takes it over" { outlives_its_daemon nbd; }

ends_with_its_memory() { # DRIVER
  mount_region "$1" memory:8M
  dd if="$disk" of=/dev/null bs=4K count=1 iflag=direct status=none
  kill_mount
  PATIENCE=60 eventually fails dd if="$node" of=/dev/null bs=4K count=1 iflag=direct
  mount_region "$1" memory:8M
  [ "$(ask adopted)" = false ]
  stop_server "$mount_pid"
  no_device_left
}
fails() { ! "$@" 2>/dev/null; }

@test "ublk: what ends with its process gives errors at once, and is cleaned by the next start" { ends_with_its_memory ublk; }
@test "nbd: what ends with its process gives errors at once, and is cleaned by the next start" { ends_with_its_memory nbd; }

taken_from_its_users() { # DRIVER
  mount_region "$1" memory:16M --grace 1s
  mkfs.ext4 -q "$disk"
  mount "$disk" "$mnt"
  exec 7<"$node"
  kill -TERM "$mount_pid"
  eventually gone "$mount_pid"
  run wait "$mount_pid"
  [ "$status" = 1 ]
  forget_server "$mount_pid"
  grep -q "$node is in use by .*the mount $mnt" "$BATS_TEST_TMPDIR"/server-1.err
  grep -q "taken away from those who used it" "$BATS_TEST_TMPDIR"/server-1.err
  run ! dd of=/dev/null bs=4K count=1 iflag=direct <&7
  exec 7<&-
  umount "$mnt" || umount -l "$mnt"
  nobody_waits_for_ever
  mount_region "$1" memory:16M
  stop_server "$mount_pid"
  eventually no_device_left
}

@test "ublk: users are named, waited for, and then lose it" { taken_from_its_users ublk; }
@test "nbd: users are named, waited for, and then lose it" { taken_from_its_users nbd; }

server_is_dead_at_the_end() { # DRIVER
  serve memory:8M
  mount_region "$1" "$(over_nbd)" --grace 1s
  kill -STOP "$serve_pid"
  dd if="$disk" of=/dev/null bs=4K count=1 iflag=direct status=none &
  reader=$!
  eventually is_waiting
  kill -TERM "$mount_pid"
  eventually gone "$mount_pid"
  forget_server "$mount_pid"
  run wait "$reader"
  [ "$status" != 0 ]
  kill -CONT "$serve_pid"
  no_device_left
  nobody_waits_for_ever
}

@test "ublk: TERM while the region's server stands still: nobody waits for ever" { server_is_dead_at_the_end ublk; }
@test "nbd: TERM while the region's server stands still: nobody waits for ever" { server_is_dead_at_the_end nbd; }

@test "auto takes ublk, then nbd, then loop, then fuse, and says why" {
  run -0 --separate-stderr "$BIN/r3-mount" --direct --driver auto memory:1M --run true
  [[ $output == /dev/ublkb* && $stderr == *"driver ublk (a block device)" ]]
  rmmod ublk_drv
  run -0 --separate-stderr "$BIN/r3-mount" --direct --driver auto memory:1M --run true
  [[ $output == /dev/nbd* && $stderr == *"driver nbd (a block device); not ublk: the kernel has no ublk"*"modprobe ublk_drv"* ]]
  run -1 "$BIN/r3-mount" --direct --driver ublk memory:1M
  [[ $output == *"the kernel has no ublk"*"modprobe ublk_drv"* ]]
  rmmod nbd
  run -1 "$BIN/r3-mount" --direct --driver nbd memory:1M
  [[ $output == *"the kernel has no NBD client"*"modprobe nbd"* ]]
  run -0 --separate-stderr "$BIN/r3-mount" --direct --driver auto memory:1M --run true
  [[ $output == /dev/loop* && $stderr == *"driver loop"*"not nbd: the kernel has no NBD client"* ]]
  load_modules
  run -0 --separate-stderr "$BIN/r3-mount" --direct --driver auto memory:1000 --run true
  [[ $output == /run/* && $stderr == *"driver fuse (a file); not ublk: a block device of 1000 bytes"* ]]
}

@test "without rights: one line that says so" {
  for driver in ublk nbd; do
    run -1 setpriv --reuid nobody --regid nogroup --clear-groups "$BIN/r3-mount" --direct --driver $driver memory:1M
    [ "${#lines[@]}" = 1 ]
    [[ $output == *root* ]]
  done
}
