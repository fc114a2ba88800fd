# SPDX-License-Identifier: Apache-2.0
"""An NBD client made of bytes, for tests that attack a server: says what it is told to, checks nothing."""
import os
import select
import signal
import socket
import struct
import sys

READ, WRITE, DISC, FLUSH = 0, 1, 2, 3


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)  # waits while the server's backlog is full
    s.settimeout(20)
    return s


def exactly(s, size):
    data = b""
    while len(data) < size:
        more = s.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def greet(s):
    exactly(s, 18)
    s.sendall(struct.pack(">I", 3))


def go(path, name=b""):
    """A connection in the transmission phase."""
    s = connect(path)
    greet(s)
    data = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
    s.sendall(b"IHAVEOPT" + struct.pack(">II", 7, len(data)) + data)
    while True:
        _, _, kind, length = struct.unpack(">QIII", exactly(s, 20))
        exactly(s, length)
        if kind == 1:
            return s


def request(kind, offset, length, cookie=0, flags=0):
    return struct.pack(">IHHQQI", 0x25609513, flags, kind, cookie, offset, length)


def good(path):
    """A client like any other is served: writes, reads back, leaves."""
    s = go(path)
    s.sendall(request(WRITE, 0, 8) + b"goodness" + request(READ, 0, 8))
    assert struct.unpack(">IIQ", exactly(s, 16))[1] == 0
    assert exactly(s, 24)[16:] == b"goodness"
    s.sendall(request(DISC, 0, 0))
    assert s.recv(1) == b""


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def rss(pid):
    """Resident memory in bytes."""
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
    raise ValueError


def vanish(path, times):
    for _ in range(times):
        s = go(path)
        s.sendall(b"".join(request(READ, i * 4096, 4096, i) for i in range(64)))
        s.recv(4096)
        reset(s)


def promise(path, pid, count):
    """Headers for 32 MiB and one byte, on many connections; prints the growth per connection."""
    before = rss(pid)
    held = []
    for _ in range(count):
        s = go(path)
        s.sendall(request(WRITE, 0, 32 << 20) + b"x")
        held.append(s)
    good(path)
    print((rss(pid) - before) // count)


def half_open(path, pid, count):
    """Connections that say nothing at all."""
    before = rss(pid)
    held = [connect(path) for _ in range(count)]
    for s in held:
        exactly(s, 18)
    good(path)
    print((rss(pid) - before) // count)


def deaf(path, pid):
    """Asks for 2000 MiB and reads nothing."""
    before = rss(pid)
    s = go(path)
    s.settimeout(1)
    try:
        s.sendall(b"".join(request(READ, 0, 1 << 20, i) for i in range(2000)))
    except socket.timeout:
        pass
    good(path)
    print(rss(pid) - before)


def staged(path, pid, count):
    """Nearly complete writes: nothing of them may be seen, little of them be in memory."""
    before = rss(pid)
    held = []
    for _ in range(count):
        s = go(path)
        s.sendall(request(WRITE, 0, 8 << 20) + b"x" * ((8 << 20) - 1))
        held.append(s)
    good(path)
    print((rss(pid) - before) // count)


def spooled(pid):
    """Bytes in the server's files without names."""
    size = 0
    for fd in os.scandir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(fd.path).endswith(" (deleted)"):
                size += os.stat(fd.path).st_size
        except FileNotFoundError:
            pass
    return size


def liars(path, pid, count):
    """Writes of 16 MiB that lack their end, more than there is room for: what they take is bounded, and one that
    is meant is made. (The room is 64 MiB.)"""
    held = []
    for i in range(count):
        s = go(path)
        s.setblocking(False)
        data = request(WRITE, 0, 16 << 20, i) + b"x" * ((16 << 20) - 1)
        try:
            while data:
                select.select([], [s], [], 0.2)
                data = data[s.send(data):]
        except BlockingIOError:
            pass
        held.append(s)
    most = spooled(pid)
    s = go(path)
    s.sendall(request(WRITE, 0, 16 << 20, 7) + b"y" * (16 << 20))
    while not select.select([s], [], [], 0.1)[0]:
        most = max(most, spooled(pid))
    assert struct.unpack(">IIQ", exactly(s, 16)) == (0x67446698, 0, 7)
    s.sendall(request(READ, 0, 16 << 20, 8))
    exactly(s, 16)
    assert exactly(s, 16 << 20) == b"y" * (16 << 20)
    assert 48 << 20 <= most <= 64 << 20, most


def storm(path, pid, count):
    """Signals under load: the load's replies are all right."""
    s = go(path)
    for i in range(count):
        os.kill(pid, signal.SIGUSR1)
        os.kill(pid, signal.SIGCHLD)
        s.sendall(request(READ, 0, 512, i))
        assert struct.unpack(">IIQ", exactly(s, 16)) == (0x67446698, 0, i)
        exactly(s, 512)


if __name__ == "__main__":
    arguments = [int(a) if a.isdigit() else a for a in sys.argv[2:]]
    globals()[sys.argv[1]](*arguments)
