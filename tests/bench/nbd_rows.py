# SPDX-License-Identifier: Apache-2.0
"""nbd-serve against nbdkit, and against the least that an NBD server and a socket can be."""
import os
import struct
import time

from session import BIN, OUT, Group, connect, fill, free_port, load, need, run_json

OURS, PEER, LEAST, LIMIT = "r3", "nbdkit", "batching server", "socket"
SIZE = "256M"


def ours(address, *regions):
    return [f"{BIN}/nbd-serve", "-l", address, *regions]


def nbdkit(address, *plugin):
    where = ["-U", address[5:]] if address.startswith("unix:") else \
        ["-i", "127.0.0.1", "-p", address.rsplit(":", 1)[1]]
    return ["nbdkit", "-f", *where, *plugin]


def limit(transport, options, seconds, pinned):
    way = "write" if "--write" in options else "read"
    block, depth = options[options.index("--block") + 1], options[options.index("--depth") + 1]
    return run_json((["taskset", "-c", "0"] if pinned else []) + [
        need(f"{BIN}/tests/bench/limits/socket_exchange"), transport, way, block, depth, str(seconds)])


class Memory(Group):
    """Operations a second on a region in memory, over one connection."""
    ours = OURS
    jobs = [
        ("4 KiB read x1", "4K", "1", []), ("4 KiB write x1", "4K", "1", ["--write"]),
        ("4 KiB read x64", "4K", "64", []), ("4 KiB write x64", "4K", "64", ["--write"]),
        ("1 MiB read x16", "1M", "16", []), ("1 MiB write x16", "1M", "16", ["--write"]),
    ]

    def __init__(self, name, title, transport="unix", pinned=False):
        self.name, self.title, self.transport, self.pinned = name, title, transport, pinned

    def address(self, name):
        if self.transport == "unix":
            return f"unix:{self.directory}/{name}"
        return f"tcp://127.0.0.1:{free_port()}"

    def start(self):
        commands = {OURS: lambda a: ours(a, f"memory:{SIZE}"),
                    PEER: lambda a: nbdkit(a, "memory", SIZE),
                    LEAST: lambda a: [f"{BIN}/tests/bench/limits/batch_server", a, SIZE]}
        self.servers = {}
        for name, command in commands.items():
            address = self.address(name.split()[0])
            self.servers[name] = self.serve(command(address), address, self.pinned)
            fill(self.servers[name])

    def round(self, seconds):
        for row, block, depth, more in self.jobs:
            options = ["--block", block, "--depth", depth, *more]
            for name, server in self.servers.items():
                result = load(server, seconds, *options, pinned=self.pinned)
                yield row, name, "ops/s", result["ops"]
                yield row, name, "server CPU us/op", result["server_cpu_us"]
            yield row, LIMIT, "ops/s", limit(self.transport, options, seconds, self.pinned)["ops"]


class Files(Group):
    """What a file costs that is in the page cache, against memory."""
    name, title, ours = "files", "nbd-serve: page-cached files, UNIX socket", "r3 memory"
    jobs = [("4 KiB read x64", ["--block", "4K", "--depth", "64"]),
            ("1 MiB read x16", ["--block", "1M", "--depth", "16"]),
            ("1 MiB write x16", ["--block", "1M", "--depth", "16", "--write"])]

    def start(self):
        self.files = [f"/dev/shm/r3bench.{os.getpid()}", f"{OUT}/file.{os.getpid()}"]
        for path in self.files:
            with open(path, "wb") as file:
                file.truncate(256 << 20)
        shm, disk = self.files
        at = lambda name: f"unix:{self.directory}/{name}"
        self.servers = {
            "r3 memory": self.serve(ours(at("m"), f"memory:{SIZE}"), at("m")),
            "r3 /dev/shm": self.serve(ours(at("s"), shm), at("s")),
            "r3 disk": self.serve(ours(at("d"), disk), at("d")),
            "nbdkit disk": self.serve(nbdkit(at("k"), "file", disk), at("k")),
        }
        for server in self.servers.values():
            fill(server)

    def __exit__(self, *_):
        super().__exit__()
        for path in self.files:
            if os.path.exists(path):
                os.remove(path)

    def round(self, seconds):
        for row, options in self.jobs:
            for name, server in self.servers.items():
                yield row, name, "ops/s", load(server, seconds, *options)["ops"]


def promise(server, promised):
    """Shakes hands, announces a write of `promised` bytes, sends one of them."""
    peer = connect(server.address)
    peer.recv(18, 0x100)  # MSG_WAITALL
    peer.sendall(struct.pack(">IQIIIH", 3, 0x49484156454F5054, 7, 6, 0, 0))
    while True:
        _, _, kind, length = struct.unpack(">QIII", peer.recv(20, 0x100))
        peer.recv(length, 0x100) if length else None
        if kind == 1:
            break
    peer.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 1, 0, promised) + b"x")
    return peer


class Footprint(Group):
    """Memory: idle, after a load (of a file, so that the data is not counted), and for each client
    that promises 32 MiB and sends 29 bytes."""
    name, title, ours = "footprint", "nbd-serve: memory", OURS
    clients = 8

    def start(self):
        self.path = f"/dev/shm/r3bench.{os.getpid()}"
        with open(self.path, "wb") as file:
            file.truncate(64 << 20)

    def __exit__(self, *_):
        super().__exit__()
        if os.path.exists(self.path):
            os.remove(self.path)

    def round(self, seconds):
        for name, make in (OURS, ours), (PEER, nbdkit):
            address = f"unix:{self.directory}/{name}"
            region = [self.path] if make is ours else ["file", self.path]
            server = self.serve(make(address, *region), address)
            yield "idle", name, "MB resident", server.memory("VmRSS") / 1e6
            for options in ["--block", "4K", "--depth", "64"], ["--block", "1M", "--depth", "16"]:
                load(server, seconds / 2, *options)
            yield "after a load", name, "MB anonymous", server.memory("RssAnon") / 1e6
            before = server.memory("VmRSS")
            peers = [promise(server, 32 << 20) for _ in range(self.clients)]
            growth = self.settled(server) - before
            yield "a client that sends 29 bytes", name, "MB grown", growth / 1e6 / self.clients
            for peer in peers:
                peer.close()
            server.stop()
            self.running.remove(server)
            if os.path.exists(address[5:]):
                os.remove(address[5:])

    @staticmethod
    def settled(server):
        """The size once it has stopped to grow: the bytes are taken in by other threads."""
        size, since = server.memory("VmRSS"), time.monotonic()
        while time.monotonic() - since < 0.3:
            time.sleep(0.02)
            now = server.memory("VmRSS")
            if now != size:
                size, since = now, time.monotonic()
        return size


def groups():
    return [
        Memory("memory", "nbd-serve: memory, UNIX socket"),
        Memory("memory-one-cpu", "nbd-serve: memory, UNIX socket, all on one CPU", pinned=True),
        Memory("memory-tcp", "nbd-serve: memory, TCP loopback", transport="tcp"),
        Files(),
        Footprint(),
    ]
