#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Block devices of r3-mount beside nbd-client on nbdkit, inside tests/vm/run: each on 96 MiB of memory, in turn.
# Prints a JSON object a value: {"row", "contender", "unit", "value"}. ROUNDS (3), MS a measurement (700).
set -euo pipefail
bin=$(realpath "${BIN:-build}") rounds=${ROUNDS:-3} ms=${MS:-700}
modprobe nbd nbds_max=8 max_part=0
[ -e /dev/ublk-control ] || modprobe ublk_drv 2>/dev/null || insmod "$UBLK"
work=$(mktemp -d) && cd "$work"
mkdir mnt

"$bin/r3-mount" --direct --driver ublk memory:96M ublk >/dev/null &
"$bin/r3-mount" --direct --driver nbd memory:96M nbd >/dev/null &
nbdkit -f -U kit memory 96M &
until [ -S kit ] && [ -L ublk ] && [ -L nbd ]; do sleep 0.1; done
nbd-client -unix kit /dev/nbd7 -b 512 -C 2 >/dev/null 2>&1
ln -s /dev/nbd7 nbd-client+nbdkit

value() { # CONTENDER ROW UNIT VALUE
  printf '{"row": "%s", "contender": "%s", "unit": "%s", "value": %s}\n' "$2" "$1" "$3" "$4"
}
load() { # CONTENDER ROW TARGET FIO-OPTION...: its operations a second
  local contender=$1 row=$2 target=$3
  shift 3
  value "$contender" "$row" ops/s "$(fio --name=x --filename="$target" --direct=1 --ioengine=psync --time_based \
    --runtime="${ms}ms" --output-format=json "$@" | jq '[.jobs[0].read.iops, .jobs[0].write.iops] | add')"
}
for contender in ublk nbd nbd-client+nbdkit; do  # memory is touched once before
  dd if=/dev/zero of=$contender bs=1M oflag=direct status=none || true
done
for ((round = 0; round < rounds; ++round)); do
  for contender in ublk nbd nbd-client+nbdkit; do load $contender "4 KiB random read x1" $contender --rw=randread --bs=4k; done
  for contender in ublk nbd nbd-client+nbdkit; do load $contender "4 KiB random write x1" $contender --rw=randwrite --bs=4k; done
  for contender in ublk nbd nbd-client+nbdkit; do load $contender "1 MiB sequential read x1" $contender --rw=read --bs=1M; done
  for contender in ublk nbd nbd-client+nbdkit; do load $contender "1 MiB sequential write x1" $contender --rw=write --bs=1M; done
  for contender in ublk nbd nbd-client+nbdkit; do
    mkfs.ext4 -q -F $contender
    mount $contender mnt
    load $contender "ext4, 1 MiB direct write x1" mnt/file --rw=write --bs=1M --size=32M
    umount mnt
  done
done
# How nbd-attach learns that its device is usable: sysfs polled, or the kernel's events.
for ((round = 0; round < 5; ++round)); do
  for way in sysfs udev; do
    start=$(date +%s%N)
    "$bin/nbd-attach" unix:kit /dev/nbd6 --wait $way --run true >/dev/null
    value $way "nbd-attach, attach and detach" ms $((($(date +%s%N) - start) / 1000000))
  done
done
nbd-client -d /dev/nbd7 >/dev/null
# shellcheck disable=SC2046  # several processes
kill $(jobs -p)
wait
