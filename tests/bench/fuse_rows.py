# SPDX-License-Identifier: Apache-2.0
"""r3-mount --direct: against nbdfuse, both on the same nbdkit; with its own server; and a region in
memory against the least that a FUSE server can be (raw). Every value over a local memory of 256 MiB.
Needs root. "r3 + nbd-serve" has our server behind it, "r3" and "nbdfuse" have nbdkit."""
import os
import subprocess
import time

from session import BIN, ONE_CPU, Group, Missing, need, run_json

LOAD = f"{BIN}/tests/bench/file-load"
RAW = f"{BIN}/tests/bench/limits/raw_fuse"
MOUNT, SERVE = f"{BIN}/r3-mount", f"{BIN}/nbd-serve"
SIZE = "256M"

JOBS = [
    ("4 KiB read x1", []),
    ("4 KiB read x16", ["--depth", "16"]),
    ("4 KiB write x1", ["--write"]),
    ("4 KiB write x16", ["--write", "--depth", "16"]),
    ("1 MiB read x1", ["--block", "1M", "--sequential"]),
    ("1 MiB write x1", ["--block", "1M", "--sequential", "--write"]),
    ("1 MiB cold read", ["--block", "1M", "--cold"]),
    ("1 MiB cached write", ["--block", "1M", "--sequential", "--write", "--cached"]),
]


class Mounted:
    """A process that shows a file; `usable_ms` is the time until a byte of it could be read."""

    def __init__(self, command, path, pinned):
        need(command[0])
        open(path, "wb").close()
        self.path = path
        began = time.perf_counter()
        self.process = subprocess.Popen((ONE_CPU if pinned else []) + command,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not self.usable():
            if self.process.poll() is not None or time.perf_counter() - began > 20:
                self.stop()
                raise RuntimeError(f"{command} shows nothing")
            time.sleep(0.0001)
        self.usable_ms = (time.perf_counter() - began) * 1000

    def usable(self):
        """The file is empty as long as nothing is mounted on it."""
        if os.stat(self.path).st_size == 0:
            return False
        with open(self.path, "rb", buffering=0) as file:
            return len(file.read(1)) == 1

    def stop(self):
        subprocess.run(["umount", self.path], stderr=subprocess.DEVNULL)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            subprocess.run(["umount", "-l", self.path], stderr=subprocess.DEVNULL)
            self.process.kill()
            self.process.wait()


class Fuse(Group):
    """One contender after the other is mounted for each row, so that all meet the same machine."""

    def __init__(self, name, title, ours, pinned=False):
        self.name, self.title, self.ours, self.pinned = name, title, ours, pinned

    def start(self):
        if os.geteuid() != 0:
            raise Missing("needs root")
        need(LOAD)
        self.mounts = []
        self.commands = self.contenders()
        for contender, command in self.commands.items():
            mounted = self.mount(contender, command)
            self.mounts.append(mounted)
            self.running.append(mounted)
            self.load(mounted, 0.3, ["--block", "1M", "--sequential", "--write"])

    def mount(self, contender, command):
        path = f"{self.directory}/{contender.replace(' ', '')}"
        return Mounted([word if word != "@" else path for word in command], path, self.pinned)

    def load(self, mounted, seconds, options):
        return run_json((ONE_CPU if self.pinned else []) + [
            LOAD, mounted.path, "--time", f"{round(seconds * 1000)}ms",
            "--pid", str(mounted.process.pid), *options])

    def round(self, seconds):
        for contender, command in self.commands.items():
            again = self.mount(f"{contender} again", command)
            again.stop()
            yield "until usable", contender, "ms", again.usable_ms
        for row, options in JOBS:
            for contender, mounted in zip(self.commands, self.mounts):
                result = self.load(mounted, seconds, options)
                yield row, contender, "ops/s", result["ops"]
                yield row, contender, "server CPU us/op", result["server_cpu_us"]


class OverNbd(Fuse):
    def contenders(self):
        theirs, ours = f"{self.directory}/nbdkit", f"{self.directory}/nbd-serve"
        self.serve(["nbdkit", "-f", "-U", theirs, "memory", SIZE], f"unix:{theirs}", self.pinned)
        self.serve([SERVE, "-l", f"unix:{ours}", f"memory:{SIZE}"], f"unix:{ours}", self.pinned)
        uri = "nbd+unix:///?socket="
        return {
            "r3": [MOUNT, "--direct", uri + theirs, "@"],
            "nbdfuse": ["nbdfuse", "@", uri + theirs],
            "r3 + nbd-serve": [MOUNT, "--direct", uri + ours, "@"],
        }


class Memory(Fuse):
    def contenders(self):
        theirs = f"{self.directory}/nbdkit"
        self.serve(["nbdkit", "-f", "-U", theirs, "memory", SIZE], f"unix:{theirs}", self.pinned)
        return {
            "r3 memory": [MOUNT, "--direct", f"memory:{SIZE}", "@"],
            "raw": [RAW, SIZE, "@"],
            "nbdfuse + nbdkit": ["nbdfuse", "@", f"nbd+unix:///?socket={theirs}"],
        }


def groups():
    title = "r3-mount --direct, FUSE: "
    return [
        OverNbd("fuse-nbd", title + "NBD over a UNIX socket", "r3"),
        OverNbd("fuse-nbd-one-cpu", title + "NBD over a UNIX socket, all on one CPU", "r3", True),
        Memory("fuse-memory", title + "memory", "r3 memory"),
        Memory("fuse-memory-one-cpu", title + "memory, all on one CPU", "r3 memory", True),
    ]
