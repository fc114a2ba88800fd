# SPDX-License-Identifier: Apache-2.0
# Faults under r3-mount's drivers ublk and nbd. Runs inside tests/vm/run.
load drivers

outlives_its_daemon() { # DRIVER
  truncate -s 32M image
  serve "$PWD/image"
  mount_region "$1" "$(over_nbd)"
  before=$node
  mkfs.ext4 -q "$disk"
  mount "$disk" "$mnt"
  head -c 3M /dev/urandom | tee source >"$mnt/first"
  sync "$mnt/first"
  head -c 12M /dev/urandom >later
  dd if=later of="$mnt/second" bs=128K oflag=direct status=none &
  writer=$!
  eventually has_bytes "$mnt/second"
  kill_mount
  mount_region "$1" "$(over_nbd)"
  [ "$node" = "$before" ]
  [ "$(ask adopted)" = true ]
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

@test "ublk: what ends with its process gives errors at once, and is cleaned by the next start" { ends_with_its_memory ublk; }
@test "nbd: what ends with its process gives errors at once, and is cleaned by the next start" { ends_with_its_memory nbd; }

taken_from_its_users() { # DRIVER
  mount_region "$1" memory:16M --grace 1s
  mkfs.ext4 -q "$disk"
  mount "$disk" "$mnt"
  exec 7<"$node"
  stop_server "$mount_pid"
  [ "$server_status" = 1 ]
  grep -q "$node is in use by .*the mount $mnt" "$BATS_TEST_TMPDIR"/server-1.err
  grep -q "taken away from those who used it" "$BATS_TEST_TMPDIR"/server-1.err
  [ "$(dd bs=4K count=1 iflag=direct status=none <&7 2>/dev/null | wc -c)" = 0 ]  # an error, or the end
  exec 7<&-
  umount "$mnt" || umount -l "$mnt"
  nobody_waits_for_ever
  mount_region "$1" memory:16M
  stop_server "$mount_pid"
  eventually no_device_left
}

@test "nbd: users are named, waited for, and then lose it" { taken_from_its_users nbd; }

server_is_dead_at_the_end() { # DRIVER
  serve memory:8M
  mount_region "$1" "$(over_nbd)" --grace 1s
  kill -STOP "$serve_pid"
  dd if="$disk" of=/dev/null bs=4K count=1 iflag=direct status=none &
  reader=$!
  eventually is_waiting
  stop_server "$mount_pid"
  local read_status=0
  wait "$reader" || read_status=$?
  [ "$read_status" = 1 ]
  kill -CONT "$serve_pid"
  no_device_left
  nobody_waits_for_ever
}

@test "ublk: TERM while the region's server stands still: nobody waits for ever" { server_is_dead_at_the_end ublk; }
@test "nbd: TERM while the region's server stands still: nobody waits for ever" { server_is_dead_at_the_end nbd; }

@test "without rights: one line that says so" {
  for driver in ublk nbd; do
    run -1 setpriv --reuid nobody --regid nogroup --clear-groups "$BIN/r3-mount" --direct --driver $driver memory:1M
    [ "${#lines[@]}" = 1 ]
    [[ $output == *root* ]]
  done
}
