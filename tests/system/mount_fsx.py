# SPDX-License-Identifier: Apache-2.0
# mount_fsx.py PATH SECONDS SEED EXPECTED: a file or block device is read, written, mapped, punched and synced
# at random, every way that a program has, and each answer is compared with what a model of it says. Ends with
# what has to be in the region, in EXPECTED. The seed says it all: a failure prints it, and the last steps.
import ctypes
import errno
import mmap
import os
import random
import stat
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
LONGEST = 300_000


class Subject:
    def __init__(self, path, seed):
        self.chance = random.Random(seed)
        self.path = path
        self.file = os.open(path, os.O_RDWR)
        self.direct = os.open(path, os.O_RDWR | os.O_DIRECT)
        self.size = os.lseek(self.file, 0, os.SEEK_END)
        self.is_device = stat.S_ISBLK(os.stat(path).st_mode)
        self.map = mmap.mmap(self.file, self.size)
        self.model = bytearray(self.map[:])
        self.buffer = mmap.mmap(-1, LONGEST // 4096 * 4096 + 8192)  # aligned, for direct I/O
        self.steps = []

    # Lengths around pages, and a few long ones; `grain` is what both ends are a multiple of.
    def range(self, grain=1):
        chance = self.chance
        length = chance.choice([1, 511, 512, 4095, 4096, 4097, chance.randrange(1, 20_000), chance.randrange(1, LONGEST)])
        offset = chance.choice([chance.randrange(self.size), self.size - 1 - chance.randrange(9000)])
        offset = max(0, offset) // grain * grain
        length = max(grain, length // grain * grain)
        length = min(length, (self.size - offset) // grain * grain)
        return (offset, length) if length > 0 else (0, grain)

    def bytes(self, length):
        return self.chance.randbytes(length) if self.chance.random() < 0.8 else bytes(length)

    def same(self, what, seen, offset):
        wanted = self.model[offset:offset + len(seen)]
        if seen == wanted:
            return
        first = next(i for i in range(len(seen)) if seen[i] != wanted[i])
        raise AssertionError(f"{what}: byte {offset + first} is {seen[first]}, not {wanted[first]}")

    def read(self):
        offset, length = self.range()
        seen = os.pread(self.file, length, offset)
        assert len(seen) == length, f"{len(seen)} of {length}"
        self.same("read", seen, offset)

    def write(self):
        offset, length = self.range()
        data = self.bytes(length)
        self.model[offset:offset + length] = data
        assert os.pwrite(self.file, data, offset) == length

    def read_map(self):
        offset, length = self.range()
        self.same("mapping", self.map[offset:offset + length], offset)

    def write_map(self):
        offset, length = self.range()
        data = self.bytes(length)
        self.model[offset:offset + length] = data
        self.map[offset:offset + length] = data

    def read_direct(self):
        offset, length = self.range(512 if self.is_device else 4096)
        view = memoryview(self.buffer)[:length]
        assert os.preadv(self.direct, [view], offset) == length
        self.same("direct read", bytes(view), offset)

    def write_direct(self):
        offset, length = self.range(512 if self.is_device else 4096)
        data = self.bytes(length)
        self.buffer[:length] = data
        self.model[offset:offset + length] = data
        assert os.pwritev(self.direct, [memoryview(self.buffer)[:length]], offset) == length

    def clear(self):
        mode = self.chance.choice([PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE])
        offset, length = self.range(512 if self.is_device else 1)
        if self.is_device:
            self.map.flush()  # a device forgets the pages of such a range, changed or not
        if libc.fallocate(self.file, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
            raise OSError(ctypes.get_errno(), f"fallocate {mode}")
        self.model[offset:offset + length] = bytes(length)

    def sync(self):
        self.chance.choice([self.map.flush, lambda: os.fsync(self.file), lambda: os.fdatasync(self.direct)])()

    # What the kernel has cached is read from the region again.
    def forget(self):
        os.fsync(self.file)
        os.posix_fadvise(self.file, 0, 0, os.POSIX_FADV_DONTNEED)

    def refused(self, what, call, errors):
        try:
            result = call()
        except OSError as error:
            assert error.errno in errors, f"{what}: {error}"
            return
        raise AssertionError(f"{what}: {result} instead of an error")

    def resize(self):
        other = self.chance.choice([0, 1, self.size - 1, self.size + 1, 2 * self.size])
        self.refused("truncation", lambda: os.ftruncate(self.file, other), (errno.EPERM, errno.EINVAL))
        beyond = -(-self.size // 4096) * 4096 + self.chance.randrange(9000)  # the last page: r3-mount(1), CAVEATS
        self.refused("write past the end", lambda: os.pwrite(self.file, b"x", beyond), (errno.ENOSPC,))
        assert os.pread(self.file, 10, self.size) == b""
        assert os.lseek(self.file, 0, os.SEEK_END) == self.size

    def step(self):
        kinds = [self.read, self.write, self.read_map, self.write_map, self.read_direct, self.write_direct,
                 self.clear, self.sync, self.forget, self.resize]
        kind = self.chance.choices(kinds, [9, 9, 9, 9, 6, 6, 3, 2, 1, 1])[0]
        self.steps.append(kind.__name__)
        kind()


def main():
    path, seconds, seed, expected = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    subject = Subject(path, seed)
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            subject.step()
        subject.map.flush()
        subject.forget()
        subject.same("all of it", subject.map[:], 0)
    except (AssertionError, OSError) as error:
        sys.exit(f"seed {seed}, step {len(subject.steps)} ({' '.join(subject.steps[-12:])}): {error}")
    os.fsync(subject.file)
    with open(expected, "wb") as file:
        file.write(subject.model)
    print(f"seed {seed}: {len(subject.steps)} steps")


main()
