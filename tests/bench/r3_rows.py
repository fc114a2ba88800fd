# SPDX-License-Identifier: Apache-2.0
"""r3/1 against the bare socket, libsodium by itself and gRPC. Both ends of a row are in one process or
counted together, so that CPU times say what an operation costs in all; they are what counts on a
machine that does other things as well."""
import os

from session import BIN, Group, need, run_json

OURS, LIMIT, CHECKED, SODIUM, PEER = "r3", "socket", "checked socket", "libsodium", "gRPC"


def r3_load(mode, transport, way, block, depth, seconds, *through):
    return run_json([need(f"{BIN}/tests/bench/r3-load"), mode, transport, way, block, depth, str(seconds),
                     *through])


class Plain(Group):
    """A connection in plain mode against a socket whose bytes nobody looks at, and one whose two ends sum
    them and take them from as much memory as the region has."""
    ours = OURS
    jobs = [("4 KiB read x64", "read", "4K", "64"), ("64 KiB read x16", "read", "64K", "16"),
            ("1 MiB read x4", "read", "1M", "4"), ("1 MiB write x4", "write", "1M", "4")]

    def __init__(self, transport):
        self.name, self.transport = f"r3-plain-{transport}", transport
        self.title = f"r3, plain mode, {'TCP loopback' if transport == 'tcp' else 'UNIX socket'}"

    def start(self):
        pass

    def round(self, seconds):
        for row, way, block, depth in self.jobs:
            limit = [need(f"{BIN}/tests/bench/limits/socket_exchange"), self.transport, way, block, depth]
            for name, result in (OURS, r3_load("plain", self.transport, way, block, depth, seconds)), \
                                (LIMIT, run_json([*limit, str(seconds)])), \
                                (CHECKED, run_json([*limit, str(seconds), "checked"])):
                yield row, name, "ops/s", result["ops"]
                yield row, name, "CPU us/op", result["cpu_us"]


class Encrypted(Group):
    """An encrypted connection, of which each end seals or opens all bytes, against a thread that does
    nothing else."""
    name, title, ours = "r3-encrypted", "r3, encrypted, UNIX socket", OURS
    jobs = [("64 KiB read x16", "64K", "16"), ("1 MiB read x4", "1M", "4")]

    def start(self):
        pass

    def round(self, seconds):
        for row, block, depth in self.jobs:
            result = r3_load("encrypted", "unix", "read", block, depth, seconds)
            yield row, OURS, "MB/s", result["mb"]
            yield row, OURS, "CPU us/op and end", result["cpu_us"] / 2
            result = run_json([need(f"{BIN}/tests/bench/limits/sodium_seal"), "65519", str(seconds)])
            blocks = 16 if block == "1M" else 1
            yield row, SODIUM, "MB/s", result["mb"]
            yield row, SODIUM, "CPU us/op and end", result["cpu_us"] * blocks * 65536 / 65519


class Calls(Group):
    """ReadAt over gRPC C++."""
    name, title, ours = "r3-grpc", "r3 and gRPC, UNIX socket", OURS
    jobs = [("4 KiB read x1", "4K", "1"), ("4 KiB read x64", "4K", "64"), ("64 KiB read x16", "64K", "16"),
            ("1 MiB read x4", "1M", "4")]

    def start(self):
        need(f"{BIN}/tests/bench/grpc/grpc-load")

    def round(self, seconds):
        for row, block, depth in self.jobs:
            grpc = [f"{BIN}/tests/bench/grpc/grpc-load", "unix", block, depth, str(seconds)]
            for name, result in (OURS, r3_load("plain", "unix", "read", block, depth, seconds)), \
                                (PEER, run_json(grpc)):
                yield row, name, "ops/s", result["ops"]
                yield row, name, "CPU us/op", result["cpu_us"]


class Demand(Group):
    """A read of 4 KiB now and then, while long background reads fill a link of 1 Gbit/s and 10 ms round
    trip, before which 128 KiB wait at most (1 ms); beside it the same link without them."""
    name, title, ours = "r3-demand", "r3: demand reads, 1 Gbit/s, 10 ms, queue 128 KiB", "full link"

    def start(self):
        self.proxy, self.server = f"unix:{self.directory}/p", f"unix:{self.directory}/s"
        self.serve([f"{BIN}/tests/fault/faultproxy", "-l", self.proxy, "-c", self.server,
                    "--rate", "1G", "--delay", "5ms", "--queue", "128K"], self.proxy)

    def round(self, seconds):
        seconds = max(2, seconds)  # some hundred reads, for a p99
        for mode in "plain", "encrypted":
            for name, depth in ("full link", "16"), ("empty link", "0"):
                result = r3_load(mode, "unix", "background", "4K", depth, seconds, self.server, self.proxy)
                os.remove(self.server[5:]) if os.path.exists(self.server[5:]) else None
                yield f"4 KiB read, {mode}", name, "p50 ms", result["p50_ms"]
                yield f"4 KiB read, {mode}", name, "p99 ms", result["p99_ms"]
                yield f"4 KiB read, {mode}", name, "MB/s in all", result["all_mb"]


def groups():
    return [Plain("unix"), Plain("tcp"), Encrypted(), Calls(), Demand()]
