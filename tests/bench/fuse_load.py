# SPDX-License-Identifier: Apache-2.0
"""Loads mounted files in turn: fuse_load.py SECONDS GROUP:FILE:CONTENDER... Prints lines of
tab-separated row, contender, unit, value; a row is measured on all files before the next one."""
import mmap
import os
import random
import sys
import threading
import time

KIB, MIB = 1 << 10, 1 << 20


def transfer(path, seconds, flags, block, call, offsets, workers=1):
    """Calls call(fd, [buffer], offset) until the time is over; returns calls a second."""
    counts = [0] * workers
    end = time.perf_counter() + seconds

    def work(number):
        fd = os.open(path, flags)
        buffer = mmap.mmap(-1, block)
        buffer[:] = b"r" * block
        order = offsets(os.fstat(fd).st_size, number)
        while time.perf_counter() < end:
            call(fd, [buffer], next(order))
            counts[number] += 1
        os.close(fd)

    began = time.perf_counter()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def in_order(size, _):
    while True:
        yield from range(0, size, MIB)


def anywhere(size, seed):
    numbers = random.Random(seed)
    while True:
        yield numbers.randrange(size // 4096) * 4096


def cold_reads(path, _):
    """The whole file through an empty page cache, in MiB a second."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    buffer, size = mmap.mmap(-1, MIB), os.fstat(fd).st_size
    began = time.perf_counter()
    for offset in range(0, size, MIB):
        os.preadv(fd, [buffer], offset)
    os.close(fd)
    return size / MIB / (time.perf_counter() - began)


DIRECT_READ, DIRECT_WRITE = os.O_RDONLY | os.O_DIRECT, os.O_WRONLY | os.O_DIRECT
ROWS = [
    ("sequential 1 MiB writes", "MiB/s",
     lambda p, s: transfer(p, s, os.O_WRONLY, MIB, os.pwritev, in_order)),
    ("sequential 1 MiB reads, cold", "MiB/s", cold_reads),
    ("sequential 1 MiB reads, O_DIRECT", "MiB/s",
     lambda p, s: transfer(p, s, DIRECT_READ, MIB, os.preadv, in_order)),
    ("random 4 KiB reads, 1 in flight", "ops/s",
     lambda p, s: transfer(p, s, DIRECT_READ, 4 * KIB, os.preadv, anywhere)),
    ("random 4 KiB reads, 16 in flight", "ops/s",
     lambda p, s: transfer(p, s, DIRECT_READ, 4 * KIB, os.preadv, anywhere, 16)),
    ("random 4 KiB writes, 1 in flight", "ops/s",
     lambda p, s: transfer(p, s, DIRECT_WRITE, 4 * KIB, os.pwritev, anywhere)),
]


def main():
    seconds = float(sys.argv[1])
    for row, unit, measure in ROWS:
        for spec in sys.argv[2:]:
            group, path, contender = spec.split(":")
            print(f"{row}, {group}\t{contender}\t{unit}\t{measure(path, seconds):.6g}", flush=True)


main()
