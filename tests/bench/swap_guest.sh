#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In the guest of tests/vm/run: a program that needs twice its memory, on ram-dl with each driver and on nbd-client's
# swap with nbdkit. Prints "CONTENDER SECONDS" for each. UBLK is the module's path, if the kernel has none.
set -euo pipefail
limit=24M need=48M region=96M
sock=/run/swap.sock
modprobe nbd nbds_max=4 max_part=0
modprobe ublk_drv 2>/dev/null || insmod "$UBLK"
mount -t cgroup2 cgroup2 /mnt
echo +memory >/mnt/cgroup.subtree_control
mkdir /mnt/small
echo $limit >/mnt/small/memory.max

load() { # CONTENDER
  (echo "$BASHPID" >/mnt/small/cgroup.procs && exec "$BIN/tests/bench/swap-load" $need) |
    awk -v name="$1" '$NF != 0 { exit 1 } { print name, $2 + $4 }'
}

with_ram_dl() { # DRIVER
  "$BIN/ram-ul" -q -l unix:$sock $region &
  local server=$! tool
  until [[ -S $sock ]]; do sleep 0.05; done
  mkfifo /run/ready
  "$BIN/ram-dl" -q --driver "$1" --ready-fd 9 "r3+unix:///?socket=$sock" 9>/run/ready >/dev/null &
  tool=$!
  read -r _ </run/ready
  load "ram-dl $1"
  kill $tool
  wait $tool
  kill $server
  wait $server
  rm -f $sock /run/ready
}

with_nbdkit() {
  nbdkit -f -U $sock memory $region &
  local server=$!
  until [[ -S $sock ]]; do sleep 0.05; done
  nbd-client -unix $sock /dev/nbd3 -b 4096 -C 2 -swap >/dev/null
  mkswap /dev/nbd3 >/dev/null
  swapon /dev/nbd3
  load "nbd-client + nbdkit"
  swapoff /dev/nbd3
  nbd-client -d /dev/nbd3 >/dev/null
  kill $server
  wait $server || true
  rm -f $sock
}

with_nbdkit
with_ram_dl ublk
with_ram_dl nbd
