# SPDX-License-Identifier: Apache-2.0
"""tapisk on a tape in a file that streams at a given rate and takes its time to wind, beside that rate: a full cache
written to the tape, the tape read into an empty cache, and how often it was wound for a GB. Then on one that has no rate,
beside the same bytes written to a file and read from it, in pieces as long as a record."""
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time

from managed_rows import Started
from session import BIN, Group, need

TAPISK = f"{BIN}/tapisk"
OURS, LIMIT = "tapisk", "the drive's rate"
MB = 1_000_000
RATE = 100  # MB/s
SIZE = 256 << 20


def ask(word, control):
    done = subprocess.run([TAPISK, "--ask", word, f"unix:{control}"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def tape_command(place, more, traits):
    tape = f"tape:{place}/t.tap{traits}"
    return [TAPISK, "-q", "--control", f"unix:{place}/ctl", "--push-interval", "0s", *more, tape, f"{place}/disk"]


def write(place, traits):
    """MB/s of what is in the cache to the tape, and the hash of it."""
    mount = Started(tape_command(place, ["--size", str(SIZE)], traits))
    try:
        digest = hashlib.md5()
        with open(f"{place}/disk", "r+b") as disk:
            for _ in range(SIZE >> 20):
                piece = os.urandom(1 << 20)
                digest.update(piece)
                disk.write(piece)
            disk.flush()
            os.fsync(disk.fileno())  # all of it is in the cache
        begun = time.monotonic()
        ask("flush", f"{place}/ctl")
        return SIZE / MB / (time.monotonic() - begun), digest.hexdigest()
    finally:
        mount.stop()


def streamed(control):
    """MB/s from the first block that came to the last one: without the winding to where they are."""
    first = None
    while True:
        now, got = time.monotonic(), ask("status", control)["tape_read"]
        if first is None and got > 0:
            first = now, got
        if got >= SIZE:
            return (got - first[1]) / MB / (now - first[0])
        time.sleep(0.02)


def read(place, digest, traits):
    """MB/s of the tape to an empty cache, and how often the tape was wound for a GB. Of a tape that takes no time: from
    the start of the tool on."""
    os.remove(f"{place}/t.tap.cache")
    begun = time.monotonic()
    mount = Started(tape_command(place, [] if traits else ["--pull-first"], traits))
    try:
        rate = streamed(f"{place}/ctl") if traits else SIZE / MB / (time.monotonic() - begun)
        seeks = ask("status", f"{place}/ctl")["seeks"] / (SIZE / 1e9)
        with open(f"{place}/disk", "rb") as disk:
            if hashlib.md5(disk.read()).hexdigest() != digest:
                raise RuntimeError("wrong bytes from the tape")
        return rate, seeks
    finally:
        mount.stop()


def both(traits):
    """MB/s written and read, and seeks for a GB."""
    place = tempfile.mkdtemp(prefix="r3-tape-")
    try:
        written, digest = write(place, traits)
        return written, *read(place, digest, traits)
    finally:
        shutil.rmtree(place)


class Tape(Group):
    name, title, ours = "tape", "256 MiB on a tape of 100 MB/s, 20 s from end to end", OURS

    def start(self):
        need(TAPISK)

    def round(self, _):
        written, got, seeks = both(f"?rate={RATE * MB}&seek=20s&capacity=1G")
        for row, value in (("written", written), ("read", got)):
            yield row, OURS, "MB/s", value
            yield row, LIMIT, "MB/s", RATE
        yield "read in the order of the tape", OURS, "seeks/GB", seeks


def plain_file():
    """MB/s of a file that is written and synced, and then read and written to another one, as a cache is filled."""
    piece, rates = os.urandom(256 << 10), []
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as cache:
        begun = time.monotonic()
        for _ in range(SIZE >> 18):
            file.write(piece)
        file.flush()
        os.fdatasync(file.fileno())
        rates.append(SIZE / MB / (time.monotonic() - begun))
        file.seek(0)
        begun = time.monotonic()
        while part := file.read(256 << 10):
            cache.write(part)
        cache.flush()
        rates.append(SIZE / MB / (time.monotonic() - begun))
    return rates


class Free(Group):
    name, title, ours = "tape-free", "256 MiB on a tape in a file that takes no time", OURS

    def start(self):
        need(TAPISK)

    def round(self, _):
        written, got, _ = both("")
        rates = plain_file()
        for row, value, rate in (("written", written, rates[0]), ("read into the cache", got, rates[1])):
            yield row, OURS, "MB/s", value
            yield row, "a file", "MB/s", rate


def groups():
    return [Tape(), Free()]
