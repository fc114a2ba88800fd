# SPDX-License-Identifier: Apache-2.0
# What the tests of r3-mount's drivers ublk and nbd share (load drivers).
load ../helper

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
  [ "${IN_VM:-}" != 1 ] || no_device_left || "$BIN/r3-mount" --list-drivers >/dev/null  # cleans
}

no_device_left() { ! compgen -G '/dev/ublk[bc]*' >/dev/null && ! compgen -G '/sys/block/nbd*/pid' >/dev/null; }
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
has_bytes() { [ "$(stat -c %s "$1")" != 0 ]; }
fails() { ! "$@" 2>/dev/null; }
over_nbd() { echo "nbd+unix:///?socket=$sock"; }
