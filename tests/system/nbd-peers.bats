#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# nbd-serve with the NBD clients that others wrote: libnbd's, QEMU's and fio's.
load ../helper

setup() {
  sock=$BATS_TEST_TMPDIR/nbd.sock
  uri="nbd+unix:///?socket=$sock"
  cd "$BATS_TEST_TMPDIR" || return
}

# Both kinds of region: what is answered at once, and what may have to wait.
# shellcheck disable=SC2119,SC2120 # arguments come from "start_$kind"
start_memory() { start_server nbd-serve -l "unix:$sock" memory:64M "$@"; }
start_file() {
  truncate -s 64M image
  start_server nbd-serve -l "unix:$sock" "$@" image
}

random_image() { head -c "$2" /dev/urandom >"$1"; }

@test "nbdinfo: all that it can ask" {
  need nbdinfo command -v nbdinfo
  start_file --description "an image"
  nbdinfo "$uri"
  nbdinfo --json "$uri" | jq -e '.exports[0] | .can_multi_conn and .can_df and .can_fast_zero and .can_flush and .can_fua and .can_trim and .can_zero and .can_cache'
  [ "$(nbdinfo --size "$uri")" = 67108864 ]
  nbdinfo --list "$uri"
  nbdinfo --can connect "$uri"
  [ "$(nbdinfo --map --json "$uri" | jq '[.[].length] | add')" = 67108864 ]
}

@test "nbdcopy: there and back with several connections, sparse too" {
  need nbdcopy command -v nbdcopy
  random_image r.img 64M
  for kind in memory file; do
    "start_$kind"
    nbdcopy r.img "$uri"
    nbdcopy "$uri" - | cmp - r.img
    nbdcopy --connections=4 --requests=64 "$uri" back.img
    cmp back.img r.img
    nbdcopy --synchronous "$uri" - | cmp - r.img
    stop_server
  done
  truncate -s 64M sparse.img
  dd if=r.img of=sparse.img bs=64k count=3 seek=77 conv=notrunc status=none
  start_memory
  nbdcopy sparse.img "$uri"
  nbdcopy "$uri" - | cmp - sparse.img
  nbdinfo --map "$uri" | grep -q 'hole,zero'
}

@test "qemu-io: writes, zeroes, discard, flush, FUA, asynchronous and unaligned" {
  need qemu-io command -v qemu-io
  for kind in memory file; do
    "start_$kind"
    qemu-io -f raw -c 'write -P 0xab 0 1M' -c 'read -P 0xab 0 1M' -c 'write -z 512k 256k' \
      -c 'read -P 0 512k 256k' -c 'discard 0 64k' -c flush -c 'aio_write -P 0xcd 2M 1M' \
      -c aio_flush -c 'read -P 0xcd 2M 1M' -c 'write -f -P 1 65537 513' -c 'read -P 1 65537 513' \
      "$uri" | tee out
    ! grep -qi 'fail\|error' out
    stop_server
  done
}

@test "qemu-img: convert, compare, map, bench; blocks that have a minimum" {
  need qemu-img command -v qemu-img
  random_image r.img 64M
  for kind in memory file; do
    "start_$kind" --min-block 512
    qemu-img convert -n -f raw -O raw r.img "$uri"
    qemu-img compare -f raw -F raw r.img "$uri"
    qemu-img map --output=json -f raw "$uri" | jq -e '[.[].length] | add == 67108864'
    qemu-img bench -f raw -c 2000 -d 32 "$uri"
    qemu-img bench -f raw -w -c 2000 -d 32 --flush-interval=100 "$uri"
    stop_server
  done
}

@test "qemu-io: an export name of 3000 bytes is refused and nothing else" {
  need qemu-io command -v qemu-io
  start_memory
  run ! qemu-io -f raw -c 'read 0 512' "nbd+unix:///$(printf '%3000d' 1 | tr ' ' a)?socket=$sock"
  qemu-io -f raw -c 'read 0 512' "$uri"
}

@test "nbdsh: commands and flags that were not offered are errors, in sync" {
  need nbdsh /usr/bin/python3 -c 'import nbd'
  start_memory
  run -0 /usr/bin/python3 - "$uri" <<'PY'
import errno, nbd, sys
h = nbd.NBD()
h.set_strict_mode(0)
h.add_meta_context("base:allocation")
h.connect_uri(sys.argv[1])
size = h.get_size()
def refused(want, act):
    try:
        act()
    except nbd.Error as e:
        assert e.errnum == want, (e, want)
        return
    raise SystemExit("was not refused")
refused(errno.EINVAL, lambda: h.pread(512, size))
refused(errno.EINVAL, lambda: h.pread(512, size - 1))
refused(errno.ENOSPC, lambda: h.pwrite(bytes(512), size))
refused(errno.ENOSPC, lambda: h.zero(512, size))
refused(errno.EINVAL, lambda: h.trim(512, size))
refused(errno.EINVAL, lambda: h.cache(512, size))
refused(errno.EINVAL, lambda: h.flush(nbd.CMD_FLAG_FAST_ZERO))
refused(errno.EINVAL, lambda: h.pwrite(bytes(512), 0, nbd.CMD_FLAG_DF))
h.zero(4096, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
h.pread(512, 0, nbd.CMD_FLAG_DF | nbd.CMD_FLAG_FUA)
chunks = []
h.pwrite(b"x" * 65536, 1 << 20)
h.pread_structured(4 << 20, 0, lambda data, offset, kind, error: chunks.append((offset, len(data), kind)))
assert any(kind == nbd.READ_HOLE for _, _, kind in chunks), chunks
assert sum(length for _, length, kind in chunks if kind == nbd.READ_DATA) == 65536 + 4096, chunks
entries = []
h.block_status(size, 0, lambda context, offset, found, error: entries.extend(found))
assert sum(entries[0::2]) == size, entries
h.shutdown()
PY
}

@test "nbdsh: flush on one connection covers the writes of another; DISC loses no reply" {
  need nbdsh /usr/bin/python3 -c 'import nbd'
  start_file
  run -0 /usr/bin/python3 - "$uri" <<'PY'
import nbd, sys
a, b = nbd.NBD(), nbd.NBD()
for h in a, b:
    h.connect_uri(sys.argv[1])
    assert h.can_multi_conn()
a.pwrite(b"1" * 4096, 0)
b.flush()
assert b.pread(4096, 0) == b"1" * 4096
cookies = [a.aio_pread(nbd.Buffer(4096), i * 4096) for i in range(32)]
a.aio_disconnect()
while a.aio_in_flight() > 0:
    a.poll(-1)
    for c in list(cookies):
        if a.aio_command_completed(c):
            cookies.remove(c)
assert not cookies
PY
}

@test "fio: random unaligned writes of 512 bytes to 256 KiB, each verified" {
  need "fio with nbd" sh -c 'fio --enghelp | grep -qw nbd'
  cat >job <<'FIO'
[global]
ioengine=nbd
uri=${URI}
size=64m
[v]
rw=randwrite
bsrange=512-256k
bs_unaligned=1
iodepth=32
verify=crc32c
verify_fatal=1
do_verify=1
verify_backlog=0
FIO
  for kind in memory file; do
    "start_$kind"
    URI=$uri fio job | tee out
    grep -q 'err= 0' out
    stop_server
  done
}

@test "one region through another: nbd-serve of nbdkit's export" {
  need nbdkit command -v nbdkit
  need nbdcopy command -v nbdcopy
  random_image r.img 16M
  nbdkit -f -U "$PWD/kit.sock" memory 16M 3>&- &
  servers+=($!)
  eventually nbdinfo --size "nbd+unix:///?socket=$PWD/kit.sock"
  start_server nbd-serve -l "unix:$sock" "nbd+unix:///?socket=$PWD/kit.sock"
  nbdcopy r.img "$uri"
  nbdcopy "$uri" - | cmp - r.img
  nbdcopy "nbd+unix:///?socket=$PWD/kit.sock" - | cmp - r.img
}
