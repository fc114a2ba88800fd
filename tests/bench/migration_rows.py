# SPDX-License-Identifier: Apache-2.0
"""Moving a region that is in use, through faultproxy's link of 1 Gbit/s: r3-seed and r3-leech; beside them what the
seed asks to compare with, a managed mount (the application is stopped, the region mounted on the other side), and
the limits: two round trips, and size / rate. Both sides and the application are on this machine, on tmpfs.

The application is this program: it writes at one side, says when it has stopped, and waits in a read at the
other side's device, which was opened before."""
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time

from managed_rows import PROXY, Started, ask
from session import BIN, Group, need, run_json

OURS, MANAGED, LIMIT = "r3-leech", "stop, then r3-mount", "limit"
RATE = 1e9 / 8  # bytes a second
SIZE = int(os.environ.get("MIGRATION_MIB", 128)) << 20
BLOCK = 4096


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("a move did not end")
        time.sleep(0.001)


class Move:
    """One region, filled, and what shows it on both sides."""

    def __init__(self, directory, rtt):
        self.directory, self.rtt = directory, rtt
        self.a, self.b = f"{directory}/a", f"{directory}/b"
        for path in (self.a, self.b):
            with open(f"{path}.img", "wb") as image:
                image.truncate(SIZE)
        chance = random.Random(1)
        block = chance.randbytes(1 << 20)
        with open(f"{self.a}.img", "r+b") as image:
            for i in range(SIZE >> 20):
                image.write(i.to_bytes(8, "little") + block[8:])
        self.processes = []

    def start(self, *command):
        self.processes.append(Started([f"{BIN}/{command[0]}", *command[1:]]))
        return self.processes[-1]

    def link(self, target):
        delay = ["--delay", f"{self.rtt / 2:g}ms"] if self.rtt else []
        self.processes.append(Started([PROXY, "-l", f"unix:{self.directory}/link", "-c", target, "--rate", "1G", *delay]))
        return f"r3+unix:///?socket={self.directory}/link"

    def stop(self):
        for process in reversed(self.processes):
            process.stop()

    def seed(self):
        for fifo in ("told", "stopped"):
            os.mkfifo(f"{self.directory}/{fifo}")
        self.start("r3-seed", "-q", "-l", f"unix:{self.directory}/s", "--on-suspend",
                   f"echo >{self.directory}/told; read x <{self.directory}/stopped", f"{self.a}.img", self.a)
        return self.link(f"unix:{self.directory}/s")

    def stopped_when_told(self, last_words):
        """Waits until the application is to stop; `last_words` are what it still has to do. When it had."""
        with open(f"{self.directory}/told") as told:
            told.read()
        last_words()
        stopped = time.monotonic()
        with open(f"{self.directory}/stopped", "w") as answer:
            answer.write("\n")
        return stopped

    def leech(self, region, *options):
        """Does not wait: it is ready only when the region is here."""
        self.begun = time.monotonic()
        self.leecher = subprocess.Popen(
            [f"{BIN}/r3-leech", "-q", "--control", f"unix:{self.directory}/ctl", *options, region, f"{self.b}.img", self.b],
            stdout=subprocess.DEVNULL)

    def status(self):
        done = subprocess.run([f"{BIN}/r3-leech", "--ask", "status", f"unix:{self.directory}/ctl"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        found = json.loads(done.stdout) if done.returncode == 0 else {}
        return {"phase": "starting", "percent": 0, **found}  # it may not listen yet

    def first_use(self, offset):
        """Opens the device of the other side, and reads and writes a block; when that was done."""
        wait_until(lambda: os.path.exists(self.b) and os.stat(self.b).st_size == SIZE)
        with open(self.b, "r+b", buffering=0) as device:
            data = os.pread(device.fileno(), BLOCK, offset)
            os.pwrite(device.fileno(), data, offset)
            return time.monotonic()

    def end_leecher(self):
        self.leecher.terminate()
        self.leecher.wait()


def dirty(path, share):
    """Writes that much of the region, every so many blocks."""
    with open(path, "r+b", buffering=0) as device:
        for i in range(int(SIZE / BLOCK * share)):
            os.pwrite(device.fileno(), b"dirty" + bytes(BLOCK - 5), int(i / share) * BLOCK)


def thread(body, *arguments):
    result = []
    runner = threading.Thread(target=lambda: result.append(body(*arguments)))
    runner.start()

    def join():
        runner.join()
        return result[0]
    return join


class Downtime(Group):
    """The application stops when so much is dirty, and goes on at the other side."""
    name, ours = "migration-downtime", OURS
    title = f"migration of {SIZE >> 20} MiB, 1 Gbit/s"

    def start(self):
        need(PROXY)

    def move(self, rtt, share):
        place = tempfile.mkdtemp(prefix="r3bench.", dir="/dev/shm")
        move = Move(place, rtt)
        try:
            region = move.seed()
            move.leech(region, "--finalize", "ask")
            wait_until(lambda: move.status()["percent"] == 100)
            pulled = time.monotonic() - move.begun
            use = thread(move.first_use, 0)
            stopped = thread(move.stopped_when_told, lambda: dirty(move.a, share) if share else None)
            subprocess.run([f"{BIN}/r3-leech", "--ask", "finalize", f"unix:{place}/ctl"], stdout=subprocess.DEVNULL,
                           check=True)
            stopped, used = stopped(), use()
            wait_until(lambda: move.status()["phase"] == "complete")
            here = time.monotonic()
            move.end_leecher()
            if subprocess.run(["cmp", "-s", f"{move.a}.img", f"{move.b}.img"]).returncode != 0:
                raise RuntimeError("the bytes are not the same")
            return used - stopped, here - stopped, pulled
        finally:
            move.stop()
            shutil.rmtree(place, ignore_errors=True)

    def managed(self, rtt, share):
        place = tempfile.mkdtemp(prefix="r3bench.", dir="/dev/shm")
        move = Move(place, rtt)
        try:
            move.start("ram-ul", "-q", "-l", f"unix:{place}/s", f"{move.a}.img")
            region = move.link(f"unix:{place}/s")
            if share:
                dirty(f"{move.a}.img", share)
            stopped = time.monotonic()
            move.start("r3-mount", "-q", "--control", f"unix:{place}/ctl", region, move.b)
            used = move.first_use(0)
            wait_until(lambda: ask(f"{place}/ctl")["pull_complete"])
            return used - stopped, time.monotonic() - stopped
        finally:
            move.stop()
            shutil.rmtree(place, ignore_errors=True)

    def round(self, seconds):
        for rtt in (0, 10, 40):
            for share in (0, 0.01, 0.1):
                row = f"RTT {rtt} ms, {share * 100:g} % dirty"
                downtime, here, pulled = self.move(rtt, share)
                yield row, OURS, "downtime, ms", downtime * 1000
                yield row, LIMIT, "downtime, ms", 2 * rtt + 0.001  # to divide by
                yield row, OURS, "stopped until all is there, ms", here * 1000
                yield row, LIMIT, "stopped until all is there, ms", (2 * rtt / 1000 + SIZE * share / RATE) * 1000 + 0.001
                if share == 0:
                    yield row, OURS, "all pulled, s", pulled
                    yield row, LIMIT, "all pulled, s", SIZE / RATE
                if share != 0.1:
                    downtime, here = self.managed(rtt, share)
                    yield row, MANAGED, "downtime, ms", downtime * 1000
                    yield row, MANAGED, "stopped until all is there, ms", here * 1000


class Bursts(Group):
    """An application that writes 16 MiB over and over for 300 ms, and little for 400 ms: moved by --finalize auto
    at once, and in a quiet phase. Until it has read again what it works with."""
    name, title, ours = "migration-bursts", "migration of an application that writes in bursts", "--quiet-wait 5s"
    working_set = 16 << 20

    def work(self, move, ended):
        begun = time.monotonic()
        piece = os.urandom(65536)
        with open(move.a, "r+b", buffering=0) as device:
            n = 0
            while not ended.is_set():
                busy = (time.monotonic() - begun) % 0.7 < 0.3
                os.pwrite(device.fileno(), piece, n * 65536 % self.working_set)
                n += 1
                time.sleep(0.0005 if busy else 0.05)

    def move(self, wait):
        place = tempfile.mkdtemp(prefix="r3bench.", dir="/dev/shm")
        move, ended = Move(place, 10), threading.Event()
        try:
            region = move.seed()
            working = thread(self.work, move, ended)
            time.sleep(random.uniform(0, 0.7))
            stopped = thread(move.stopped_when_told, lambda: (ended.set(), working()))
            use = thread(move.first_use, 0)
            move.leech(region, "--quiet-wait", wait)
            stopped = stopped()
            use()
            with open(move.b, "rb", buffering=0) as device:
                for at in range(0, self.working_set, 1 << 20):
                    os.pread(device.fileno(), 1 << 20, at)
            whole = time.monotonic() - stopped
            wait_until(lambda: move.status()["phase"] == "complete")
            rounds = move.status()["rounds"]
            took = time.monotonic() - move.begun
            move.end_leecher()
            return whole, took, rounds
        finally:
            ended.set()
            move.stop()
            shutil.rmtree(place, ignore_errors=True)

    def start(self):
        need(PROXY)

    def round(self, seconds):
        for contender, wait in ((self.ours, "5s"), ("--quiet-wait 0s", "0s")):
            for _ in range(2):
                whole, took, rounds = self.move(wait)
                yield "RTT 10 ms", contender, "stopped until 16 MiB were read again, ms", whole * 1000
                yield "RTT 10 ms", contender, "whole move, s", took
                yield "RTT 10 ms", contender, "rounds", max(rounds, 0.1)


class Tracking(Group):
    """What it costs a write that somebody tracks it: 4 KiB to a region in memory, in one process."""
    name, title, ours = "migration-tracking", "4 KiB writes to memory, ns", "tracked"
    load = f"{BIN}/tests/bench/track-load"

    def start(self):
        need(self.load)

    def round(self, seconds):
        for row, figures in run_json([self.load, str(seconds)]).items():
            for contender, value in figures.items():
                yield row, contender, "ns", value


def groups():
    return [Downtime(), Bursts(), Tracking()]
