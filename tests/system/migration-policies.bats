#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# When r3-leech moves a region and what it does when it cannot: --on-timeout, --max-time, --finalize-at,
# --finalize-fd, a full disk, hooks that fail, peers that do not fit.
load ../helper
load migration

setup() {
  need_root
  need fuse test -e /dev/fuse
  cd "$BATS_TEST_TMPDIR"
}

# writer: an application that writes the first MiB of a all the time, until a file end is there.
writer() {
  python3 - 3>&- <<'APP' &
import os
fd = os.open("a", os.O_RDWR)
n = 0
while not os.path.exists("end"):
    n += 1
    os.pwrite(fd, n.to_bytes(8, "little") * 8192, n % 16 * 65536)
    if n == 16: open("writing", "w")
open("written", "w").write(str(n))
APP
  eventually test -e writing
}

@test "migration: force waits for all, and the stop ends that; the next start has the region" {
  truncate -s 8M a.img b.img
  # The application's last words, for which the link needs a minute.
  seed --on-suspend 'head -c 4M /dev/urandom | dd of=a bs=1M conv=notrunc status=none' a.img a
  link slow s --rate 500K
  leech --max-downtime 0s --max-time 1ms --on-timeout force "$(region slow)" b.img b
  eventually event seed.events migrated
  run ! event leech.events migrated
  kill -TERM "$leecher"
  eventually gone "$leecher"
  forget_server "$leecher"
  grep -q 'not all is here yet' leech.err
  leech "$(region s)" b.img b
  complete
  cmp a.img b
}
