# SPDX-License-Identifier: Apache-2.0
"""Kills a source, a hub and destinations of mmap-hashsync with -9 at seeded moments, while files change.

Usage: hashsync_kills.py BIN KILLS SEED DIRECTORY

Every page of the two files holds the number of the generation that wrote it, and the second file's size
follows from that number. The source looks only between two generations. So what a destination may hold is
known: with a journal exactly one generation, in both files, whenever it is looked at; in place pages of any
generations that there were, and nothing else. At the end all hold the last one.
"""
import ctypes
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time

BIN, KILLS, SEED, HERE = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
PAGE = 4096
PATIENCE = 60
chance = random.Random(SEED)


def size_of_b(generation):
    return (16 + generation % 5) * PAGE + generation % 3 * 100


def page(generation):
    return struct.pack("<Q", generation) * (PAGE // 8)


class Lock:
    """Held by the writer, or by the source from --pre-cmd to --post-cmd."""
    path = f"{HERE}/lock"

    def __enter__(self):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return os.mkdir(self.path)
            except FileExistsError:
                assert time.monotonic() < end, "the source holds the files for ever"
                time.sleep(0.001)

    def __exit__(self, *_):
        os.rmdir(self.path)


def write(generation):
    with Lock():
        with open(f"{HERE}/a", "r+b") as a, mmap.mmap(a.fileno(), 0) as live:
            for at in range(0, len(live), PAGE):
                live[at:at + PAGE] = page(generation)
        size = size_of_b(generation)
        with open(f"{HERE}/b", "r+b") as b:
            b.write((page(generation) * 32)[:size])
            b.truncate(size)


def generations_in(path):
    """The generations in a copy; a page that is not one generation's is wrong in itself."""
    with open(path, "rb") as copy:
        data = copy.read()
    found = set()
    for at in range(0, len(data), PAGE):
        one = data[at:at + PAGE]
        stamp = struct.unpack_from("<Q", one.ljust(8, b"\0"))[0]
        assert one == page(stamp)[:len(one)] or one == bytes(len(one)), f"{path}: a page of no generation at {at}"
        if one != bytes(len(one)):
            found.add(stamp)
    return found, len(data)


LIBC = ctypes.CDLL(None)


def end_with_us():
    """A test that runs out of time leaves nobody behind who holds its pipes."""
    LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Process:
    def __init__(self, *arguments):
        self.arguments = arguments
        self.start()

    def start(self):
        self.process = subprocess.Popen([f"{BIN}/mmap-hashsync", "-q", *self.arguments],
                                        stdin=subprocess.DEVNULL, start_new_session=True,
                                        preexec_fn=end_with_us)

    def kill(self):
        """With the command that it may have started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        end = time.monotonic() + PATIENCE
        # One that has ended, but that nobody has reaped, does no more harm.
        running = ["pgrep", "-g", str(self.process.pid), "-r", "R,S,D"]
        while subprocess.run(running, stdout=subprocess.DEVNULL, check=False).returncode == 0:
            assert time.monotonic() < end, f"{self.arguments} survives SIGKILL"
            time.sleep(0.001)

    def check_alive(self):
        assert self.process.poll() is None, f"{self.arguments} ended by itself with {self.process.returncode}"


def check_journal(last):
    """After a start, which finishes what the journal holds, and before anything else comes."""
    subprocess.run([f"{BIN}/mmap-hashsync", "-q", "recv", f"{HERE}/journal", "--journal", "--once", "exec:true"],
                   stderr=subprocess.DEVNULL, check=False)
    if not os.path.exists(f"{HERE}/journal/a"):
        assert not os.path.exists(f"{HERE}/journal/b"), "half of an epoch: b without a"
        return
    a, _ = generations_in(f"{HERE}/journal/a")
    b, size = generations_in(f"{HERE}/journal/b")
    assert len(a) == 1 and a == b, f"not one epoch: {a} {b}"
    generation = a.pop()
    assert generation <= last and size == size_of_b(generation), f"generation {generation} of {last}, {size} bytes"


def check_in_place(last):
    for name in "ab":
        if os.path.exists(f"{HERE}/place/{name}"):
            assert max(generations_in(f"{HERE}/place/{name}")[0], default=0) <= last


def same(directory):
    def content(path):
        with open(path, "rb") as one:
            return one.read()
    try:
        return all(content(f"{HERE}/{name}") == content(f"{HERE}/{directory}/{name}") for name in "ab")
    except FileNotFoundError:
        return False


def main():
    for directory in ("journal", "place"):
        os.mkdir(f"{HERE}/{directory}")
    with open(f"{HERE}/a", "wb") as a:
        a.truncate(1500 * PAGE)
    open(f"{HERE}/b", "wb").close()
    write(1)
    hub = f"unix:{HERE}/hub"
    lock = Lock.path
    processes = {
        "hub": Process("hub", hub),
        "source": Process("send", f"{HERE}/a", f"{HERE}/b", hub, "--interval", "5ms",
                          "--pre-cmd", f"until mkdir {lock} 2>/dev/null; do sleep 0.002; done",
                          "--post-cmd", f"rmdir {lock}"),
        "journal": Process("recv", f"{HERE}/journal", hub, "--journal"),
        "place": Process("recv", f"{HERE}/place", hub),
    }
    generation, killed = 1, {name: 0 for name in processes}
    try:
        for _ in range(KILLS):
            for _ in range(chance.randrange(3)):
                generation += 1
                write(generation)
            time.sleep(chance.random() * 0.08)
            victim = chance.choice(list(processes))
            for process in processes.values():
                process.check_alive()
            processes[victim].kill()
            killed[victim] += 1
            if victim == "source":
                shutil.rmtree(lock, ignore_errors=True)
            if victim == "journal":
                check_journal(generation)
            check_in_place(generation)
            processes[victim].start()
        generation += 1
        write(generation)
        end = time.monotonic() + PATIENCE
        while not (same("journal") and same("place")):
            assert time.monotonic() < end, "the copies do not get there"
            time.sleep(0.02)
    finally:
        for process in processes.values():
            process.kill()
    print(f"killed {sum(killed.values())} times:", *(f"{name} {count}" for name, count in killed.items()))


main()
