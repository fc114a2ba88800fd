# SPDX-License-Identifier: Apache-2.0
"""A to-do list as a service, and a client of it that never stops.
todo.py serve mapped|sqlite PATH ADDRESS   the whole state is in the file PATH: mapped memory, or SQLite in WAL mode
todo.py use STOP-FILE ADDRESS ADDRESS      adds things at whichever of both answers, checks at the end that all that
                                           was acknowledged is there, and prints the longest time without an answer"""
import json, mmap, os, signal, socket, sqlite3, sys, time

PORT = 7000


class Mapped:
    """8 bytes: how many; then 64 bytes for each."""

    def __init__(self, path):
        fd = os.open(path, os.O_RDWR)
        self.memory = mmap.mmap(fd, os.fstat(fd).st_size)
        self.count()  # waits until the region is here

    def count(self):
        return int.from_bytes(self.memory[:8], "little")

    def add(self, text):
        at = 64 + 64 * self.count()
        self.memory[at:at + 64] = text.encode().ljust(64)
        self.memory[:8] = (self.count() + 1).to_bytes(8, "little")

    def all(self):
        return [self.memory[64 + 64 * i:128 + 64 * i].decode().rstrip() for i in range(self.count())]


class Sqlite:
    def __init__(self, path):
        self.base = sqlite3.connect(path, isolation_level=None)
        assert self.base.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        self.base.execute("PRAGMA synchronous=FULL")
        assert self.base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        self.base.execute("CREATE TABLE IF NOT EXISTS todo(id INTEGER PRIMARY KEY, what TEXT)")

    def count(self):
        return self.base.execute("SELECT count(*) FROM todo").fetchone()[0]

    def add(self, text):
        self.base.execute("INSERT INTO todo(what) VALUES(?)", [text])

    def all(self):
        return [what for what, in self.base.execute("SELECT what FROM todo ORDER BY id")]


def serve(kind, path, address):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    listener = socket.create_server((address, PORT))
    store = {"mapped": Mapped, "sqlite": Sqlite}[kind](path)
    while True:
        peer, _ = listener.accept()
        for line in peer.makefile("r"):
            word, _, text = line.strip().partition(" ")
            if word == "add":
                store.add(text)
            answer = "\n".join(store.all() + [""]) if word == "all" else ""
            peer.sendall(f"{store.count()}\n{answer}".encode())


class Client:
    def __init__(self, addresses):
        self.addresses, self.stream, self.acknowledged = addresses, None, 0

    def ask(self, line):
        self.stream.write(line + "\n")
        self.stream.flush()
        return int(self.stream.readline())  # nothing at the end of the connection: ValueError

    def connect(self):
        self.addresses.reverse()
        link = socket.create_connection((self.addresses[0], PORT), 0.5)
        self.stream = link.makefile("rw")
        count = self.ask("count")
        assert count >= self.acknowledged, f"{self.acknowledged} were acknowledged, {count} are there"
        self.acknowledged = count

    def use(self, stop):
        last, longest = None, 0
        while last is None or not os.path.exists(stop):
            try:
                if self.stream is None:
                    self.connect()
                self.acknowledged = self.ask(f"add thing {self.acknowledged}")
                now = time.monotonic()
                longest, last = max(longest, now - (last or now)), now
                with open("used", "w") as used:
                    print(self.acknowledged, self.addresses[0], file=used)
                time.sleep(0.001)
            except (OSError, ValueError):
                self.stream = None
                time.sleep(0.001)
        count = self.ask("all")
        found = [self.stream.readline().strip() for _ in range(count)]
        assert found == [f"thing {i}" for i in range(self.acknowledged)], "not what was acknowledged"
        print(json.dumps({"things": count, "longest_gap_ms": round(longest * 1000, 1)}))


if sys.argv[1] == "serve":
    serve(*sys.argv[2:5])
else:
    Client(sys.argv[3:5]).use(sys.argv[2])
