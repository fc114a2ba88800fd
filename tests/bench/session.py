# SPDX-License-Identifier: Apache-2.0
"""What the rows share: where things are, and servers that are started, watched and surely stopped."""
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.join(ROOT, os.environ.get("BIN", "build"))
OUT = f"{BIN}/bench"
LOAD = f"{BIN}/tests/bench/nbd-load"
ONE_CPU = ["taskset", "-c", "0"]


class Missing(Exception):
    """A program that this machine does not have."""


def need(program):
    path = program if os.path.isabs(program) else shutil.which(program)
    if not path or not os.access(path, os.X_OK):
        raise Missing(f"needs {program}")
    return path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(address):
    if address.startswith("unix:"):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(address[5:])
        return peer
    host, port = address.removeprefix("tcp://").rsplit(":", 1)
    return socket.create_connection((host, int(port)))


class Server:
    """A process that listens on an address; it answers once this has been made."""

    def __init__(self, command, address, cpus=None):
        need(command[0])
        self.address = address
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen((ONE_CPU if cpus else []) + command, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self.errors)
        self.pid = self.process.pid
        end = time.monotonic() + 20
        while True:
            try:
                connect(address).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    self.errors.seek(0)
                    raise RuntimeError(f"{command} does not answer: {self.errors.read()!r}") from None
                time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def memory(self, field):
        """A field of /proc/PID/status, in bytes: VmRSS, RssAnon, VmHWM."""
        with open(f"/proc/{self.pid}/status") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
        raise KeyError(field)


def run_json(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def load(server, seconds, *options, pinned=False):
    command = [need(LOAD), server.address, "--time", f"{round(seconds * 1000)}ms",
               "--pid", str(server.pid), *options]
    return run_json((ONE_CPU if pinned else []) + command)


def fill(server):
    """Every byte of the export is written once, so that no row pays for the first touch."""
    subprocess.run([need(LOAD), server.address, "--time", "0ms", "--fill", "--block", "1M", "--depth", "4"],
                   check=True)


class Group:
    """Rows that share their servers. In a `with` its servers run; round() yields the row, the
    contender, the unit and the value of each measurement once."""
    name = title = ours = ""
    x = y = ""  # of a plot over the numbers in the rows' names, instead of bars

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="r3bench.")
        self.running = []
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for server in reversed(self.running):
            server.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def serve(self, command, address, pinned=False):
        server = Server(command, address, pinned)
        self.running.append(server)
        return server
