# SPDX-License-Identifier: Apache-2.0
"""mmap-hashsync against rsync, casync and a block syncer that keeps state, and against hashing at the speed of
memory. Ours runs as it is meant to: a resident pair, which looks again and again; the others are started for
each round, read both files (rsync) or one and their state, and know nothing of what was. The rows say so."""
import json
import os
import random
import resource
import shutil
import subprocess
import time

from session import BIN, Group, Missing, need, run_json

OURS = "r3"
TOOL = f"{BIN}/mmap-hashsync"
LIMITS = f"{BIN}/tests/bench/limits"
PAGE = 4096
RSYNC = ["rsync", "-I", "--inplace", "--no-whole-file"]
TUNED = [*RSYNC, "-B", "4096", "--cc=xxh3"]


def cpu_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(command):
    """Seconds by the clock and of processors' time."""
    cpu, begun = cpu_of_children(), time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - begun, cpu_of_children() - cpu


def fill(path, size):
    """Bytes of the libraries of this machine, which are as compressible as programs' memory."""
    source = [os.path.join("/usr/lib/x86_64-linux-gnu", name) for name in sorted(os.listdir("/usr/lib/x86_64-linux-gnu"))
              if ".so" in name] if os.path.isdir("/usr/lib/x86_64-linux-gnu") else ["/bin/sh"]
    with open(path, "wb") as out:
        while out.tell() < size:
            for name in source:
                if os.path.isfile(name):
                    with open(name, "rb") as one:
                        out.write(one.read(size - out.tell()))
                if out.tell() >= size:
                    break


class Pair:
    """A source and a destination that stay, over a UNIX socket, and what they say of their rounds."""

    def __init__(self, directory, source, options):
        self.control = f"unix:{directory}/control"
        copies = f"{directory}/copies"
        os.mkdir(copies)
        address = f"unix:{directory}/sync"
        self.processes = []
        self.start([TOOL, "recv", copies, "-l", address, "--fsync", "none"], ready=True)
        self.start([TOOL, "send", source, address, "--interval", "500ms", "--control", self.control, *options], ready=True)

    def start(self, command, ready):
        reading, writing = os.pipe()
        self.processes.append(subprocess.Popen([*command, "--ready-fd", str(writing)], pass_fds=[writing]))
        os.close(writing)
        if ready and not os.read(reading, 1):
            raise RuntimeError(f"{command} did not become ready")
        os.close(reading)

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            process.wait()


class Once(Group):
    """Cold: both sides start, compare and end; nothing is kept."""
    ours = OURS
    casync_done = False

    def __init__(self, directory_of, where, size, dirty):
        self.place, self.size, self.dirty = directory_of, size, dirty
        self.name = f"hashsync-{where}-{dirty}"
        self.title = f"mmap-hashsync once, {size >> 20} MiB on {where}, {dirty} % of the pages dirty"

    def start(self):
        for program in ("rsync", "casync"):
            need(program)
        self.where = f"{self.place}/r3bench-{os.getpid()}"
        os.mkdir(self.where)
        self.source = f"{self.where}/source"
        fill(self.source, self.size)
        self.copies = {name: f"{self.where}/copy-{number}" for number, name in enumerate(
            (OURS, "rsync", "rsync tuned", "state kept", "cp", "casync"))}
        for copy in self.copies.values():
            shutil.copy(self.source, copy)
        self.state = f"{self.where}/state"
        subprocess.run([f"{LIMITS}/state_sync", self.source, self.state, self.copies["state kept"]],
                       stdout=subprocess.DEVNULL, check=True)
        self.random = random.Random(1)

    def __exit__(self, *_):
        super().__exit__()
        shutil.rmtree(getattr(self, "where", "/nonexistent"), ignore_errors=True)

    def soil(self):
        pages = self.size // PAGE
        with open(self.source, "r+b") as source:
            for page in self.random.sample(range(pages), pages * self.dirty // 100):
                source.seek(page * PAGE + 256)
                source.write(os.urandom(256))

    def commands(self):
        return {
            OURS: [TOOL, "send", self.source, f"recv:{self.copies[OURS]}", "--once", "--fsync", "none"],
            "rsync": [*RSYNC, self.source, self.copies["rsync"]],
            "rsync tuned": [*TUNED, self.source, self.copies["rsync tuned"]],
            "state kept": [f"{LIMITS}/state_sync", self.source, self.state, self.copies["state kept"]],
            "cp": ["cp", self.source, self.copies["cp"]],
        }

    def casync(self):
        """Chunks by content into a store, and back out of it with the old copy as a seed."""
        store, index, copy = f"{self.where}/store.castr", f"{self.where}/source.caibx", self.copies["casync"]
        shutil.rmtree(store, ignore_errors=True)
        begun, cpu = time.monotonic(), cpu_of_children()
        for command in (["casync", "make", f"--store={store}", index, self.source],
                        ["casync", "extract", f"--store={store}", f"--seed={copy}", index, f"{copy}.new"]):
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        os.replace(f"{copy}.new", copy)
        return time.monotonic() - begun, cpu_of_children() - cpu

    def round(self, seconds):
        del seconds
        self.soil()
        casync = [] if self.casync_done else [("casync", None)]  # once: it takes as long as all others together
        self.casync_done = True
        for name, command in [*self.commands().items(), *casync]:
            wall, cpu = timed(command) if command else self.casync()
            yield "whole run", name, "MB/s", self.size / wall / 1e6
            yield "processors' time", name, "MB a CPU second", self.size / cpu / 1e6
            if subprocess.run(["cmp", "-s", self.source, self.copies[name]], check=False).returncode != 0:
                raise RuntimeError(f"{name} did not copy")
        if self.dirty == 0:
            pair = [f"{LIMITS}/cold_hash", self.source, self.copies["rsync"]]
            for name, command in {"limit": pair, "reading alone": [*pair, "read"]}.items():
                wall, cpu = timed(command)
                yield "whole run", name, "MB/s", self.size / wall / 1e6
                yield "processors' time", name, "MB a CPU second", self.size / cpu / 1e6
            said = run_json([*self.commands()[OURS], "--stats", "json"])
            yield "on the wire", OURS, "bytes", said["wire_sent"] + said["wire_received"]


class Algorithms(Group):
    """The hash algorithms that could have been taken, a chunk at a time and as a whole."""
    ours = "XXH3-128"

    def __init__(self, threads):
        self.threads = threads
        self.name = f"hashsync-algorithms-{threads}"
        self.title = f"hash algorithms, {threads} threads, GB a CPU second"

    def start(self):
        need(f"{LIMITS}/hash_speed")

    def round(self, seconds):
        del seconds
        for chunk in ("4K", "64K", "1M", "0"):
            done = subprocess.run([f"{LIMITS}/hash_speed", "128M", chunk, str(self.threads)],
                                  stdout=subprocess.PIPE, check=True, text=True)
            for line in done.stdout.splitlines():
                one = json.loads(line)
                yield chunk.replace("0", "whole") if chunk == "0" else chunk, one["algorithm"], "GB/CPU s", \
                    one["bytes_per_cpu_second"] / 1e9


class Warm(Group):
    """A resident pair that looks again: a round by its own clock, against hashing the same memory."""
    ours = OURS

    def __init__(self, size):
        self.size = size
        self.name = "hashsync-warm"
        self.title = f"mmap-hashsync, warm rounds, {size >> 20} MiB in memory, 1 % of the pages dirty"

    def start(self):
        for program in ("rsync", f"{LIMITS}/hash_speed"):
            need(program)
        if not os.path.isdir("/dev/shm"):
            raise Missing("needs /dev/shm")
        self.cold = Once("/dev/shm", "tmpfs", self.size, 1)
        self.cold.__enter__()
        self.pair = Pair(self.directory, self.cold.source, [])

    def __exit__(self, *_):
        if hasattr(self, "pair"):
            self.pair.stop()
        if hasattr(self, "cold"):
            self.cold.__exit__()
        super().__exit__()

    def status(self):
        return run_json([TOOL, "--ask", "status", self.pair.control])

    def cpu(self):
        used = 0
        for process in self.pair.processes:
            with open(f"/proc/{process.pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            used += int(fields[11]) + int(fields[12])
        return used / os.sysconf("SC_CLK_TCK")

    def round(self, seconds):
        del seconds
        before, cpu = self.status(), self.cpu()
        for _ in range(8):
            self.cold.soil()
            now = self.status()["rounds"]
            while self.status()["rounds"] < now + 1:
                time.sleep(0.02)
        after = self.status()
        rounds = after["rounds"] - before["rounds"]
        # The pages that changed are looked at twice, and what asks for the status is not the pair's time.
        yield "a round, processors' time", OURS, "MB a CPU second", self.size * rounds / (self.cpu() - cpu) / 1e6
        yield "a round, by the clock", OURS, "MB/s", self.size / after["last_round_seconds"] / 1e6
        for name in ("rsync", "rsync tuned", "state kept"):
            self.cold.soil()
            wall, used = timed(self.cold.commands()[name])
            yield "a round, processors' time", name, "MB a CPU second", self.size / used / 1e6
            yield "a round, by the clock", name, "MB/s", self.size / wall / 1e6
        limit = subprocess.run([f"{LIMITS}/hash_speed", "512M", "4K", "2"], stdout=subprocess.PIPE, check=True, text=True)
        one = next(json.loads(line) for line in limit.stdout.splitlines() if '"XXH3-128"' in line)
        yield "a round, processors' time", "limit", "MB a CPU second", one["bytes_per_cpu_second"] / 1e6
        yield "a round, by the clock", "limit", "MB/s", one["bytes_per_second"] / 1e6


class Fan(Group):
    """What a source spends on many destinations: through a hub, and itself."""
    ours = "hub"
    name, title = "hashsync-fan", "one source, many destinations: 64 MiB once to each, processors' time of the source"

    def start(self):
        self.source = f"{self.directory}/source"
        fill(self.source, 64 << 20)

    def run_fan(self, count, through_hub):
        where = f"{self.directory}/{count}-{through_hub}"
        shutil.rmtree(where, ignore_errors=True)
        os.mkdir(where)
        address = f"unix:{where}/s"
        running = []

        def start(*command):
            reading, writing = os.pipe()
            running.append(subprocess.Popen([TOOL, *command, "--ready-fd", str(writing)], pass_fds=[writing],
                                            stderr=subprocess.DEVNULL))
            os.close(writing)
            return reading
        if through_hub:
            os.read(start("hub", address), 1)
        source = ["send", self.source, *([address] if through_hub else ["-l", address]), "--interval", "20ms"]
        os.read(start(*source), 1)
        sender = running[-1]
        for number in range(count):
            os.mkdir(f"{where}/{number}")
            start("recv", f"{where}/{number}", address)
        end = time.monotonic() + 120
        for number in range(count):
            while subprocess.run(["cmp", "-s", self.source, f"{where}/{number}/source"], check=False).returncode != 0:
                if time.monotonic() > end:
                    raise RuntimeError("the copies do not get there")
                time.sleep(0.05)
        with open(f"/proc/{sender.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        for process in running:
            process.terminate()
            process.wait()
        shutil.rmtree(where)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def round(self, seconds):
        del seconds
        for count in (1, 4, 16):
            for name, through in (("hub", True), ("direct", False)):
                yield f"{count} destinations", name, "copies a CPU second", count / max(self.run_fan(count, through), 0.01)


def groups():
    size = (256 if os.environ.get("QUICK") == "1" else 1024) << 20
    return [Once("/dev/shm", "tmpfs", size, 0), Once("/dev/shm", "tmpfs", size, 1), Once("/var/tmp", "disk", size, 1),
            Warm(size), Algorithms(1), Algorithms(2), Fan()]
