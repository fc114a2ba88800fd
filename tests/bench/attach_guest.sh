#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In the guest of tests/vm/run: how long a device takes to be usable, by either way of waiting. Prints
# "CONTENDER MILLISECONDS", one line for each of 25 attachments a way, in turns.
set -euo pipefail
sock=/run/attach.sock
modprobe nbd nbds_max=2 max_part=0
"$BIN/nbd-serve" -q -l unix:$sock memory:16M &
until [[ -S $sock ]]; do sleep 0.05; done
for _ in {1..25}; do
  for way in sysfs udev; do
    "$BIN/nbd-attach" -q --json --wait $way unix:$sock --run true |
      jq -r --arg way $way 'select(.event == "attached") | "\($way) \(.waited * 1000)"'
  done
done
kill %1
