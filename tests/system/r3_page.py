# SPDX-License-Identifier: Apache-2.0
# Holds a server to r3-protocol(7), sentence by sentence:  r3_page.py SOCKET. The export is 4 MiB of memory,
# max_transfer 1 MiB; another export "ro" is read-only.
import os
import sys

from r3_peer import *

PATH, SIZE = sys.argv[1], 4 << 20
EPERM, ENOENT, EINVAL, ENOSPC, EOVERFLOW, EPROTONOSUPPORT, EOPNOTSUPP, ESTALE = 1, 2, 22, 28, 75, 93, 95, 116


def refused(number, call, *fields, **named):
    try:
        call(*fields, **named)
    except Refused as error:
        assert error.args[0] == number, f"error {error}, not {number}"
        return
    raise AssertionError(f"no error {number}")


def closed(peer):
    try:
        peer.exactly(1)
    except (EOFError, ConnectionResetError):
        return
    raise AssertionError("not closed")


def welcome(peer):
    assert (peer.version, peer.size, peer.flags) == (1, SIZE, 0)
    assert peer.features == 4 | 2 | 8 | 16, "those of the client's that the server has"
    assert peer.instance != 0, "memory is lost with the server"
    assert peer.block_size & (peer.block_size - 1) == 0 and peer.block_size <= 1 << 26
    assert peer.max_transfer == 1 << 20
    other = Peer(PATH, b"ro")
    assert other.flags == 1 and other.verifier == peer.verifier
    refused(EPERM, other.write, 0, b"x")
    assert Peer(PATH, flags=1).flags == 1, "who says that it will only read"
    refused(ENOENT, Peer, PATH, b"none")
    refused(EPROTONOSUPPORT, Peer, PATH, version=2)


def data(peer):
    noise = os.urandom(1 << 20)
    peer.write(12345, noise)
    assert peer.read(12345, len(noise)) == noise, "17 pieces"
    assert peer.read(12345, len(noise), BACKGROUND) == noise
    assert peer.read(0, 12345) == bytes(12345)
    peer.change(WRITE, ZEROES, 12345, 1000)
    peer.change(WRITE, REPEAT, 20000, 64, payload=b"12345678")
    assert peer.read(12345, 1000) == bytes(1000) and peer.read(20000, 64) == b"12345678" * 8
    peer.write(0, b"abcdefgh" * 1000)
    assert peer.read(0, 8000) == b"abcdefgh" * 1000
    peer.zero(0, SIZE)
    assert peer.read(SIZE - 8, 8) == bytes(8) and peer.read(12345, 100) == bytes(100)
    peer.change(DISCARD, 0, 0, 4096)
    peer.flush()


def questions(peer):
    noise = os.urandom(10000)
    peer.write(0, noise)
    assert peer.hash(0, 10000, 4096) == [xxh3_128(noise[at:at + 4096]) for at in (0, 4096, 8192)]
    extents = peer.extents(0, SIZE)
    assert sum(size for size, _, _ in extents) <= SIZE and extents[0][1:] == (False, False)
    assert peer.ask(PING)[1] == b""
    _, counters = peer.ask(STATUS)
    assert len(counters) >= 40 and struct.unpack_from("<Q", counters, 8)[0] >= 1


def limits(peer):
    refused(EINVAL, peer.read, SIZE, 1)
    refused(EINVAL, peer.read, (1 << 64) - 1, 2)
    refused(EOVERFLOW, peer.read, 0, (1 << 20) + 1)
    refused(EOVERFLOW, peer.read, 0, 0xffffffff)
    refused(ENOSPC, peer.write, SIZE - 1, b"xy")
    refused(ENOSPC, peer.zero, SIZE - 1, 1 << 40)
    refused(EINVAL, peer.hash, 0, SIZE, 511)
    refused(EINVAL, peer.ask, PING, BACKGROUND)
    refused(EOPNOTSUPP, peer.ask, 32)
    refused(EOPNOTSUPP, peer.ask, 77)
    assert peer.read(0, 1), "and goes on after all of these"


def seats(_):
    session = os.urandom(16)
    old = Peer(PATH, session=session)
    new = Peer(PATH, session=session, generation=2)
    closed(old)
    refused(ESTALE, Peer, PATH, session=session, generation=1)
    assert new.read(0, 1)


def nonsense(_):
    for kind, fields in (HELLO, {}), (READ | REPLY, {}), (WRITE, {"length": 8}), (WRITE, {"flags": ZEROES | REPEAT}):
        peer = Peer(PATH)
        peer.send(kind, **fields)
        closed(peer)
    for sabotage in "sum", "payload", "promise":
        peer = Peer(PATH)
        header = HEADER.pack(WRITE, 0, 0, 0xffffffff if sabotage == "promise" else 4, 9, 0, 4, 0)
        header += struct.pack("<Q", xxh3_64(b"data"))
        header += struct.pack("<Q", xxh3_64(header, peer.sent) ^ (sabotage == "sum"))
        peer.socket.sendall(header + (b"dataX" if sabotage == "promise" else
                                      b"dat\0" if sabotage == "payload" else b"data"))
        closed(peer)
    peer = Peer(PATH)
    peer.sent += 1  # a frame was left out
    peer.send(PING)
    closed(peer)


def many_in_flight(peer):
    noise = os.urandom(1 << 20)
    peer.write(0, noise)
    wanted = {peer.send(READ, 0, at * 4096, 4096): at * 4096 for at in range(200)}
    while wanted:
        (_, flags, error, number, offset, length, _), payload = peer.receive()
        assert not error and wanted.pop(number) == offset
        assert peer.data_of(flags, length, payload) == noise[offset:offset + 4096]


for check in welcome, data, questions, limits, seats, nonsense, many_in_flight:
    check(Peer(PATH))
    print(f"{check.__name__}: as the page says")
