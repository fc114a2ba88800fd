# SPDX-License-Identifier: Apache-2.0
"""uffd-serve against the least that answering page faults can be (limits/uffd_copy), and over a link."""
import json
import os
import subprocess
import time

from session import BIN, ONE_CPU, Group, Missing, need, run_json

TOOL = f"{BIN}/uffd-serve"
LIMIT = f"{BIN}/tests/bench/limits/uffd_copy"
SHM = "/dev/shm"


def touch(address, order, *more, pinned=False):
    command = [need(TOOL), "-c", address, "--touch", order, "--bench", "--json", *more]
    done = subprocess.run((ONE_CPU if pinned else []) + command, stdout=subprocess.PIPE, check=True, text=True)
    for line in done.stdout.splitlines():
        if '"touched"' in line:
            return json.loads(line)
    raise RuntimeError("no figures")


class Local(Group):
    """A region in this server's memory, first touched in order and at random."""
    ours = "uffd-serve"

    def __init__(self, name, title, pinned=False):
        self.name, self.title, self.pinned = name, title, pinned

    def start(self):
        need(LIMIT)
        image, small = (f"{SHM}/r3bench.uffd.{os.getpid()}.{size}" for size in (256, 32))
        for path, size in (image, 256), (small, 32):
            with open(path, "wb") as file:
                file.write(os.urandom(1 << 20) * size)
        at = lambda name: f"unix:{self.directory}/{name}"
        region = f"memory:256M?file={image}"
        try:
            self.fast = self.serve([TOOL, "-l", at("fast"), region], at("fast"), self.pinned)
            self.demand = self.serve([TOOL, "-l", at("demand"), "--no-prefetch", region], at("demand"), self.pinned)
            self.single = self.serve([TOOL, "-l", at("single"), "--no-prefetch", "--read-ahead", "4K",
                                      f"memory:32M?file={small}"], at("single"), self.pinned)
        finally:
            os.remove(image)
            os.remove(small)

    def round(self, seconds):
        pin = ONE_CPU if self.pinned else []
        limit = run_json(pin + [LIMIT, "sequential", "256M", "2M"])["bytes_per_second"] / 1e6
        for row, server in ("sequential", self.fast), ("sequential, no prefetch", self.demand):
            yield row, self.ours, "MB/s", touch(server.address, "sequential", pinned=self.pinned)["bytes_per_second"] / 1e6
            yield row, "limit", "MB/s", limit
        mine = touch(self.single.address, "random", pinned=self.pinned)
        least = run_json(pin + [LIMIT, "random", "32M", "4K"])
        yield "one 4 KiB fault, p50", self.ours, "us", mine["p50_us"]
        yield "one 4 KiB fault, p50", "limit", "us", least["p50_us"]


class Huge(Group):
    """The same with huge pages, which are made available for as long as it takes."""
    name, title, ours = "uffd-huge", "uffd-serve: pages of 2 MiB (hugetlb), first touch in order", "uffd-serve"
    setting = "/proc/sys/vm/nr_hugepages"
    wanted = 136  # 256 MiB and some

    def start(self):
        need(LIMIT)
        with open(self.setting) as file:
            self.before = int(file.read())
        if self.before < self.wanted:
            try:
                self.set(self.wanted)
            except OSError as error:
                raise Missing(f"needs huge pages: {error}")
        image = f"{SHM}/r3bench.uffd.{os.getpid()}"
        with open(image, "wb") as file:
            file.write(os.urandom(1 << 20) * 256)
        address = f"unix:{self.directory}/huge"
        try:
            self.server = self.serve([TOOL, "-l", address, f"memory:256M?file={image}"], address)
        finally:
            os.remove(image)

    def set(self, count):
        with open(self.setting, "w") as file:
            file.write(str(count))

    def __exit__(self, *rest):
        super().__exit__(*rest)
        if getattr(self, "before", self.wanted) < self.wanted:
            self.set(self.before)

    def round(self, seconds):
        mine = touch(self.server.address, "sequential", "--memory", "huge")
        yield "sequential", self.ours, "MB/s", mine["bytes_per_second"] / 1e6
        yield "sequential", "limit", "MB/s", run_json([LIMIT, "sequential", "256M", "2M", "huge"])["bytes_per_second"] / 1e6


class Far(Group):
    """A region behind a link of 1 Gbit/s: what a sequential reader gets, by round trip time."""
    name, title, ours = "uffd-rtt", "uffd-serve over 1 Gbit/s, sequential first touch", "uffd-serve"
    x, y = "round trip, ms", "MB/s"
    link = 1e9 / 8 / 1e6  # MB/s
    round_trips = [0, 5, 10, 20, 40]
    megabytes = 64

    def start(self):
        self.image = f"{SHM}/r3bench.uffd.{os.getpid()}"
        with open(self.image, "wb") as file:
            file.write(os.urandom(self.megabytes << 20))
        at = lambda name: f"unix:{self.directory}/{name}"
        self.serve([f"{BIN}/ram-ul", "-l", at("r"), f"memory:{self.megabytes}M?file={self.image}"], at("r"))
        self.servers = {}
        for trip in self.round_trips:
            proxy = [f"{BIN}/tests/fault/faultproxy", "-l", at(f"p{trip}"), "-c", at("r"), "--rate", "1G",
                     "--delay", f"{trip / 2}ms"]
            self.serve(proxy, at(f"p{trip}"))
            for name, more in ("uffd-serve", []), ("no prefetch", ["--no-prefetch"]):
                address = at(f"s{trip}{name[0]}")
                self.servers[trip, name] = self.serve(
                    [TOOL, "-l", address, *more, f"r3+unix:///?socket={self.directory}/p{trip}"], address)

    def __exit__(self, *rest):
        super().__exit__(*rest)
        if os.path.exists(self.image):
            os.remove(self.image)

    def round(self, seconds):
        for trip in self.round_trips:
            row = f"RTT {trip} ms"
            for name in "uffd-serve", "no prefetch":
                begun = time.monotonic()
                touch(self.servers[trip, name].address, "sequential")
                yield row, name, "MB/s", self.megabytes * 1.048576 / (time.monotonic() - begun)
            yield row, "link", "MB/s", self.link


def groups():
    return [Local("uffd", "uffd-serve: a region in memory, first touch"),
            Local("uffd-one-cpu", "uffd-serve: a region in memory, first touch, all on one CPU", pinned=True), Huge(), Far()]
