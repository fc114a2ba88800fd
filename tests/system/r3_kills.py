# SPDX-License-Identifier: Apache-2.0
# Kills r3 servers with -9 and starts them again, at seeded random moments, under clients that know what they
# have to see:  r3_kills.py BIN KILLS SEED DIRECTORY. Several servers at once, each in another way (LANES).
# Says how many kills there were; fails when a client saw a wrong byte, an error, or does not end.
import os
import random
import socket
import subprocess
import sys
import threading

BIN, KILLS, SEED, DIRECTORY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
SIZE = 2 << 20
PSK = f"{DIRECTORY}/psk"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


# Name: the server's address, its options, the region's address and parameters; and for "cut" ones what faultproxy
# does to the connection between them, so that it breaks while the server lives, too.
def lanes():
    port = free_port()
    return {
        "unix": (f"unix:{DIRECTORY}/u", [], f"r3+unix:///?socket={DIRECTORY}/u"),
        "encrypted": (f"unix:{DIRECTORY}/e", ["--psk-file", PSK],
                      f"r3+unix:///?socket={DIRECTORY}/e&psk-file={PSK}"),
        "tcp": (f"tcp://127.0.0.1:{port}", [], f"r3://127.0.0.1:{port}/"),
        "small": (f"unix:{DIRECTORY}/s", ["--max-request", "4K"], f"r3+unix:///?socket={DIRECTORY}/s"),
        "cut": (f"unix:{DIRECTORY}/c", [], f"r3+unix:///?socket={DIRECTORY}/c.proxy",
                ["--reset-after", "300K", "--segment", "4000"]),
        "cut-encrypted": (f"unix:{DIRECTORY}/d", ["--psk-file", PSK],
                          f"r3+unix:///?socket={DIRECTORY}/d.proxy&psk-file={PSK}", ["--reset-after", "200K"]),
    }


class Lane(threading.Thread):
    def __init__(self, kills, name, address, options, region, faults=None):
        super().__init__()
        self.name, self.kills, self.killed, self.failure, self.steps = name, kills, 0, None, 0
        self.image = f"{DIRECTORY}/{name}.image"
        self.command = [f"{BIN}/ram-ul", "-l", address, *options, self.image]
        self.region = region
        self.proxy = faults and [f"{BIN}/tests/fault/faultproxy", "-q", "-l", f"{address}.proxy", "-c", address,
                                 "--seed", str(SEED), *faults]
        self.random = random.Random(f"{SEED} {name}")

    def launch(self, command):
        ours, theirs = os.pipe()
        server = subprocess.Popen([*command, "--ready-fd", str(theirs)], pass_fds=[theirs])
        os.close(theirs)
        with os.fdopen(ours, "rb") as ready:
            if ready.read(1) != b"\n":
                raise RuntimeError("the server did not start")
        return server

    def run(self):
        try:
            self.load()
        except Exception as error:
            self.failure = error

    def load(self):
        with open(self.image, "wb") as image:
            image.truncate(SIZE)
        server = self.launch(self.command)
        proxy = self.proxy and self.launch(self.proxy)
        client = subprocess.Popen([f"{BIN}/tests/fault/region_oracle", self.region, "0", str(SEED)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            client.stdout.readline()
            ended = threading.Event()
            while self.killed < self.kills and client.poll() is None:
                # Where it strikes is what varies: in a HELLO, in what is sent again, in the load.
                ended.wait(self.random.uniform(0, 0.05))
                server.kill()
                server.wait()
                self.killed += 1
                server = self.launch(self.command)
            client.stdin.close()
            if client.wait(60) != 0:
                raise RuntimeError(f"the client ended with {client.returncode}")
            self.steps = int(client.stdout.readline().split()[0])
        finally:
            client.kill()
            for one in filter(None, (server, proxy)):
                one.terminate()
                one.wait()


def main():
    ways = lanes()
    ends = [KILLS * n // len(ways) for n in range(len(ways) + 1)]
    threads = [Lane(ends[n + 1] - ends[n], name, *way) for n, (name, way) in enumerate(ways.items())]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for one in threads:
        print(f"{one.name}: killed {one.killed} times in {one.steps} steps: {one.failure or 'well'}")
    if any(one.failure for one in threads):
        sys.exit(1)
    print(f"killed {sum(one.killed for one in threads)} times")


main()
