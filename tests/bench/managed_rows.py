# SPDX-License-Identifier: Apache-2.0
"""Managed mounts of a region behind a slow link, every byte checked: r3-mount as it is, r3-mount --direct,
and nbdfuse on nbdkit's client with its readahead and cache filters. The link is faultproxy's: 1 Gbit/s and
half of the round trip each way."""
import json
import os
import subprocess
import time

from session import BIN, Group, Missing, free_port, need

LOAD = f"{BIN}/tests/bench/managed-load"
PROXY = f"{BIN}/tests/fault/faultproxy"
OURS, DIRECT, PEER = "r3-mount", "r3-mount --direct", "nbdfuse, readahead+cache"
RATE = 1  # Gbit/s
# ms; ROUND_TRIPS=10 measures that one only.
ROUND_TRIPS = [int(rtt) for rtt in os.environ.get("ROUND_TRIPS", "0 2 5 10 25 40").split()]


def ask(path):
    done = subprocess.run([f"{BIN}/r3-mount", "--ask", "status", f"unix:{path}"],
                          stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


class Started:
    """A process that says that it is ready with a newline on descriptor 3 (--ready-fd), or by its file."""

    def __init__(self, command, path=None):
        need(command[0])
        read, write = os.pipe()
        os.set_inheritable(write, True)
        more = [] if path else ["--ready-fd", str(write)]
        self.process = subprocess.Popen(command[:1] + more + command[1:], pass_fds=[write],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.pid = self.process.pid
        os.close(write)
        ready = self.mounted(path) if path else os.read(read, 1) == b"\n"
        os.close(read)
        if not ready:
            raise RuntimeError(f"{command} did not become ready")

    def mounted(self, path):
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            with open("/proc/self/mounts") as mounts:
                if any(line.split()[1] == path for line in mounts):
                    return True
            time.sleep(0.005)
        return False

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def resident(self):
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:")) * 1024


def load(what, path, seconds):
    done = subprocess.run([need(LOAD), what, path, str(seconds)], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


class Managed(Group):
    """Servers without a delay; each measurement gets a link and a mount of its own, cold."""
    ours = OURS
    size = "256M"
    region = "pattern:256M"

    def start(self):
        need(LOAD), need(PROXY)
        self.r3 = f"unix:{self.directory}/r3"
        self.nbd = f"unix:{self.directory}/nbd"
        self.serve([f"{BIN}/ram-ul", "-l", self.r3, self.region], self.r3)
        self.serve([f"{BIN}/nbd-serve", "-l", self.nbd, self.region], self.nbd)

    def link(self, target, rtt, rate=RATE):
        path = f"{self.directory}/link"
        command = [PROXY, "-l", f"unix:{path}", "-c", target, "--rate", f"{rate}G"]
        return path, Started(command + (["--delay", f"{rtt / 2:g}ms"] if rtt else []))

    def mount(self, contender, link):
        """A mount point for it (a file), its process, and its control socket if it is ours."""
        if contender == PEER:
            return self.mount_peer(link)
        path, control = f"{self.directory}/shown", f"{self.directory}/control"
        open(path, "a").close()
        command = [f"{BIN}/r3-mount", *(["--direct"] if contender == DIRECT else []), "--control",
                   f"unix:{control}", f"r3+unix:///?socket={link}", path]
        return path, [Started(command)], control

    def mount_peer(self, link):
        need("nbdkit"), need("nbdfuse")
        path = f"{self.directory}/peer"
        open(path, "a").close()
        command = ["nbdfuse", path, "--command", "nbdkit", "-s", "--exit-with-parent", "--filter=cache",
                   "--filter=readahead", "nbd", f"uri=nbd+unix:///?socket={link}"]
        return path, [Started(command, path)], None

    def with_mount(self, contender, rtt, use, rate=RATE):
        """use(path, process, control) while it is mounted."""
        link, proxy = self.link(self.nbd if contender == PEER else self.r3, rtt, rate)
        try:
            path, processes, control = self.mount(contender, link)
            try:
                return use(path, processes[0], control)
            finally:
                if contender == PEER:
                    subprocess.run(["fusermount3", "-u", path], check=False)
                for process in processes:
                    process.stop()
        finally:
            proxy.stop()


class Reads(Managed):
    """Sequential and random reads of 4 KiB, one at a time, right after mounting."""

    def __init__(self, what, title):
        self.what = what
        self.name, self.title = f"managed-{what}", title
        if what == "sequential":
            self.x, self.y = "round trip, ms", "MiB/s"

    def round(self, seconds):
        for rtt in ROUND_TRIPS:
            for contender in (OURS, DIRECT, PEER):
                try:
                    # Ours reads to the end: the time before anything comes counts.
                    limit = 60 if contender == OURS and self.what == "sequential" else 2 * seconds
                    result = self.with_mount(contender, rtt,
                                             lambda path, *_: load(self.what, path, limit))
                except Missing:
                    continue
                yield f"RTT {rtt} ms", contender, "MiB/s", result["mib_s"]
                if self.what == "random":
                    yield f"RTT {rtt} ms", contender, "p99 us", result["p99_us"]


class Link(Managed):
    """What a full link does to a demand read, and how long the whole region takes."""
    name, title = "managed-link", "r3-mount: one region of 256 MiB through 1 Gbit/s"

    def round(self, seconds):
        def wait_pulled(path, process, control):
            begun = time.monotonic()
            while not ask(control)["pull_complete"]:
                time.sleep(0.01)
            return time.monotonic() - begun

        for rtt in ROUND_TRIPS:
            took = self.with_mount(OURS, rtt, wait_pulled)
            yield f"RTT {rtt} ms", OURS, "pull time / (size / rate)", took / (256 * 2**20 * 8 / (RATE * 1e9))
            for contender in (OURS, DIRECT, PEER):
                try:
                    result = self.with_mount(contender, rtt, lambda path, *_: load("random", path, 1.5))
                except Missing:
                    continue
                yield f"RTT {rtt} ms", contender, "p99 of a demand read while pulling, ms", result["p99_us"] / 1000


class Writes(Managed):
    """Sequential writes of 4 KiB, one at a time, up to the end of the fsync that pushes them."""
    name, title = "managed-write", "r3-mount: 4 KiB writes and an fsync, 10 Gbit/s"
    region = "memory:256M"
    x, y = "round trip, ms", "MiB/s"

    def round(self, seconds):
        for rtt in ROUND_TRIPS:
            for contender in (OURS, DIRECT):
                limit = 60 if contender == OURS else seconds
                result = self.with_mount(contender, rtt, lambda path, *_: load("write", path, limit),
                                         10 * RATE)
                yield f"RTT {rtt} ms", contender, "MiB/s", result["mib_s"]


class Footprint(Managed):
    """Memory that the map of chunks takes: two mounts that pull nothing, of very different sizes."""
    name, title = "managed-memory", "r3-mount --no-pull: memory"

    def start(self):
        self.r3 = f"unix:{self.directory}/r3"
        self.serve([f"{BIN}/ram-ul", "-l", self.r3, "small=zero:64M", "large=zero:256G"], self.r3)

    def round(self, seconds):
        used = {}
        for export in "small", "large":
            path = f"{self.directory}/shown"
            open(path, "a").close()
            mount = Started([f"{BIN}/r3-mount", "--no-pull", "--chunk-size", "4K",
                             f"r3+unix:///{export}?socket={self.directory}/r3", path])
            used[export] = mount.resident()
            mount.stop()
        yield "64 MiB", OURS, "MiB", used["small"] / 2**20
        more = used["large"] - used["small"]
        yield "256 GiB, beyond that", OURS, "bytes a chunk of 4 KiB", more / (256 * 2**30 / 4096)


def groups():
    return [Reads("sequential", "r3-mount: sequential 4 KiB reads from the start, 1 Gbit/s"),
            Reads("random", "r3-mount: random 4 KiB reads from the start, 1 Gbit/s"),
            Link(), Writes(), Footprint()]
