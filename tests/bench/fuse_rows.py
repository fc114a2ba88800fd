# SPDX-License-Identifier: Apache-2.0
"""r3-mount --direct against nbdfuse, both on an NBD server in memory, and against bare FUSE."""
import json
import os
import subprocess
import time

from nbd_rows import nbdkit, ours
from session import BIN, Group, Missing, Server, fill, need

SIZE = "256M"
OURS, LOCAL, PEER, LIMIT = "r3 on nbd-serve", "r3 on memory", "nbdfuse on nbdkit", "bare FUSE"


class Mount:
    """A process that shows a file, there once the file has a size."""

    def __init__(self, command, path):
        need(command[0])
        self.path = path
        open(path, "w").close()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while os.stat(path).st_size == 0:
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"{command} does not mount")
            time.sleep(0.02)

    def stop(self):
        subprocess.run(["umount", self.path], stderr=subprocess.DEVNULL, check=False)
        Server.stop(self)


def fio(path, seconds, *options):
    command = [need("fio"), "--name=row", f"--filename={path}", "--ioengine=psync",
               "--output-format=json", "--allow_file_create=0", *options]
    if seconds:
        command += [f"--runtime={seconds}", "--time_based"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=os.path.dirname(path))
    job = json.loads(done.stdout)["jobs"][0]
    return job["write"] if "--rw=write" in options else job["read"]


class Fuse(Group):
    name, title, ours = "fuse", "r3-mount --direct, FUSE", OURS

    def start(self):
        if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
            raise Missing("needs root and /dev/fuse")
        at = lambda name: f"{self.directory}/{name}"
        served, peer = f"unix:{at('served')}", f"unix:{at('peer')}"
        fill(self.serve(ours(served, f"memory:{SIZE}"), served))
        fill(self.serve(nbdkit(peer, "memory", SIZE), peer))
        r3_mount = [f"{BIN}/r3-mount", "--direct", "--driver", "fuse"]
        self.paths = {OURS: at("a"), LOCAL: at("b"), PEER: at("c"), LIMIT: at("d")}
        commands = {
            OURS: [*r3_mount, f"nbd+unix:///?socket={at('served')}", at("a")],
            LOCAL: [*r3_mount, f"memory:{SIZE}", at("b")],
            PEER: ["nbdfuse", at("c"), f"nbd+unix:///?socket={at('peer')}"],
            LIMIT: [f"{BIN}/tests/bench/limits/raw_fuse", SIZE, at("d")],
        }
        for name, path in self.paths.items():
            self.running.append(Mount(commands[name], path))
            fio(path, 0, "--rw=write", "--bs=1M", f"--size={SIZE}", "--end_fsync=1")

    def round(self, seconds):
        for name, path in self.paths.items():
            small = fio(path, seconds, "--rw=randread", "--bs=4k", "--direct=1")
            yield "4 KiB reads, O_DIRECT x1", name, "ops/s", small["iops"]
            for way in "read", "write":
                large = fio(path, seconds, f"--rw={way}", "--bs=1M", "--direct=1")
                yield f"1 MiB {way}s, O_DIRECT x1", name, "MB/s", large["bw_bytes"] / 1e6
            cold = fio(path, 0, "--rw=read", "--bs=1M", "--invalidate=1", f"--size={SIZE}")
            yield "sequential read, cold", name, "MB/s", cold["bw_bytes"] / 1e6


def groups():
    return [Fuse()]
