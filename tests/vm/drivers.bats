# SPDX-License-Identifier: Apache-2.0
# r3-mount's drivers ublk and nbd with the kernel's own. Runs inside tests/vm/run.
load drivers

works_as_a_disk() { # DRIVER
  truncate -s 48M region
  mount_region "$1" "$PWD/region" --mode 0640 --owner nobody:daemon
  [ "$(blockdev --getsize64 "$disk")" = $((48 << 20)) ]
  [ "$(blockdev --getss "$disk")" = 512 ]
  [ "$(stat -Lc '%a %U %G' "$disk")" = "640 nobody daemon" ]
  head -c 5M /dev/urandom >source
  dd if=source of="$disk" bs=1M oflag=direct status=none
  dd if=source of="$disk" bs=512 seek=20001 count=7 oflag=direct status=none
  printf x | dd of="$disk" bs=1 seek=9000001 conv=notrunc status=none
  sync "$disk"
  cmp -n $((5 << 20)) source region
  cmp -n 3584 source region 0 $((20001 * 512))
  [ "$(dd if=region bs=1 skip=9000001 count=1 status=none)" = x ]
  blkdiscard "$disk" -o 1M -l 1M
  [ "$(dd if=region bs=1M skip=1 count=1 status=none | tr -d '\0' | wc -c)" = 0 ]
  [ "$(ask driver)" = "$1" ]
  mkfs.ext4 -q "$disk"
  mount "$disk" "$mnt"
  cp -r /usr/include/linux "$mnt"
  (cd "$mnt" && find . -type f -exec sha256sum {} + >../sums)
  fstrim "$mnt"
  umount "$mnt"
  e2fsck -fn "$disk"
  stop_server "$mount_pid"
  [ "$server_status" = 0 ]
  [ ! -e "$disk" ]
  no_device_left
  mount_region "$1" "$PWD/region" -r
  run ! dd if=/dev/zero of="$disk" bs=4K count=1 oflag=direct
  mount -o ro "$disk" "$mnt"
  (cd "$mnt" && sha256sum --quiet -c ../sums)
  umount "$mnt"
}

@test "ublk: a disk with any access, modes, discard, ext4 and its checksums, read-only" { works_as_a_disk ublk; }
@test "nbd: a disk with any access, modes, discard, ext4 and its checksums, read-only" { works_as_a_disk nbd; }

outlives_its_server() { # DRIVER
  truncate -s 16M image
  serve "$PWD/image"
  mount_region "$1" "$(over_nbd)"
  head -c 4M /dev/urandom >source
  dd if=source of="$disk" bs=64K oflag=direct status=none
  kill -KILL "$serve_pid"
  forget_server "$serve_pid"
  dd if="$disk" bs=64K count=64 iflag=direct status=none >seen &
  reader=$!
  eventually asks connected false
  serve "$PWD/image"
  wait "$reader"
  cmp source seen
  kill -STOP "$serve_pid"
  dd if=source of="$disk" bs=64K seek=64 oflag=direct status=none &
  writer=$!
  eventually is_waiting
  kill -CONT "$serve_pid"
  wait "$writer"
  sync "$disk"
  cmp -n $((4 << 20)) source image 0 $((4 << 20))
}

@test "ublk: the region's server is killed, comes back, stands still" { outlives_its_server ublk; }
@test "nbd: the region's server is killed, comes back, stands still" { outlives_its_server nbd; }
