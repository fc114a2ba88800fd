# SPDX-License-Identifier: Apache-2.0
# A real block device as a region: what is zeroed and discarded at odd offsets, and nothing else.
load ../helper

setup() {
  need_root
  need "/dev/loop-control" test -c /dev/loop-control
  need "libnbd's python" /usr/bin/python3 -c 'import nbd'
  cd "$BATS_TEST_TMPDIR"
}

teardown() {
  local status=0
  stop_servers || status=1
  [ -z "${node:-}" ] || losetup -d "$node"
  return $status
}

# make_device SECTOR [OPTION]: a block device of 1 MiB with random bytes, a copy of which is in `copy`.
make_device() {
  head -c 1M /dev/urandom >below
  cp below copy
  node=$(losetup --find --show --sector-size "$@" below)
  start_server nbd-serve -l "unix:$PWD/nbd" "file:$node"
}

# Seeded ranges of any alignment are zeroed, discarded and written over NBD; after each the whole device is
# compared with what it has to be, which is left in `expected`.
change() {
  /usr/bin/python3 - "$PWD/nbd" <<'END'
import nbd, random, sys
expected = bytearray(open("copy", "rb").read())
size = len(expected)
handle = nbd.NBD()
handle.connect_unix(sys.argv[1])
assert handle.get_size() == size
chance = random.Random(3)
for number in range(120):
    offset = chance.choice([chance.randrange(size), chance.randrange(size // 4096) * 4096])
    length = min(chance.choice([1, 511, 4096, 4097, 65536, chance.randrange(1, size // 4)]), size - offset)
    end, kind = offset + length, number % 4
    if kind == 0:
        handle.zero(length, offset)
    elif kind == 1:
        handle.zero(length, offset, nbd.CMD_FLAG_NO_HOLE)
    elif kind == 2:
        handle.trim(length, offset)
    else:
        data = bytes(chance.randrange(256) for _ in range(min(length, 5000)))
        end = offset + len(data)
        handle.pwrite(data, offset)
    seen = handle.pread(size, 0)
    if kind < 2:
        expected[offset:end] = bytes(length)
    elif kind == 2:
        expected[offset:end] = seen[offset:end]  # anything may be there now
    else:
        expected[offset:end] = data
    assert seen == bytes(expected), f"{kind} of {length} at {offset}: other bytes than expected"
handle.flush()
open("expected", "wb").write(expected)
END
}

@test "a device with sectors of 512 bytes: odd ranges are zeroed and discarded, and nothing else" {
  make_device 512
  change
  stop_server
  [ "$server_status" = 0 ]
  cmp "$node" expected
}

@test "a device with sectors of 4096 bytes: odd ranges are zeroed and discarded, and nothing else" {
  make_device 4096
  change
  stop_server
  [ "$server_status" = 0 ]
  cmp "$node" expected
}

@test "a discard gives the space of a device back" {
  make_device 4096
  /usr/bin/python3 - "$PWD/nbd" <<'END'
import nbd, sys
handle = nbd.NBD()
handle.connect_unix(sys.argv[1])
handle.trim(1 << 20, 0)
handle.flush()
END
  [ "$(stat -c %b below)" = 0 ]
}

@test "a device that is read-only is served read-only" {
  make_device 4096 --read-only
  /usr/bin/python3 - "$PWD/nbd" <<'END'
import nbd, sys
handle = nbd.NBD()
handle.connect_unix(sys.argv[1])
assert handle.is_read_only()
assert handle.pread(4096, 0) == open("below", "rb").read(4096)
END
}
