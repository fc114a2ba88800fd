# SPDX-License-Identifier: Apache-2.0
# A client of r3/1 in plain mode, written from r3-protocol(7) alone and sharing nothing with the tools: what is
# wrong in the page, or in the tools, shows here. Also the least that a region helper in another language needs.
import ctypes
import ctypes.util
import os
import socket
import struct

HELLO, READ, WRITE, ZERO, DISCARD, FLUSH, EXTENTS, HASH, PING, STATUS = range(1, 11)
REPLY = 0x80
BACKGROUND, MORE, ZEROES, REPEAT, ZSTD, KEEP, FAST = 1, 2, 4, 8, 16, 32, 64
HEADER = struct.Struct("<BBHIQQII")  # type flags error payload id offset length aux
WELCOME = struct.Struct("<HHIQQQIIII")

_xxhash = ctypes.CDLL("libxxhash.so.0")
_xxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64
_xxhash.XXH3_64bits_withSeed.argtypes = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64


class _Hash128(ctypes.Structure):
    _fields_ = ("low", ctypes.c_uint64), ("high", ctypes.c_uint64)


_xxhash.XXH3_128bits.restype = _Hash128
_xxhash.XXH3_128bits.argtypes = ctypes.c_char_p, ctypes.c_size_t


def xxh3_64(data, seed=0):
    return _xxhash.XXH3_64bits_withSeed(data, len(data), seed)


def xxh3_128(data):
    value = _xxhash.XXH3_128bits(data, len(data))
    return struct.pack(">QQ", value.high, value.low)


class Refused(Exception):
    """A reply with an error number."""


class Peer:
    def __init__(self, path, export=b"", features=4 | 2 | 8 | 16, session=None, generation=1, flags=0,
                 version=1):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.socket.sendall(b"R3P\x01\0\0\0\0")
        self.sent = self.received = self.last_id = 0
        hello = struct.pack("<HHI16sIIII", version, 0, features, session or os.urandom(16), 0, generation,
                            flags, 0) + export
        _, payload = self.ask(HELLO, payload=hello)
        (self.version, self.flags, self.features, self.verifier, self.size, self.instance, self.block_size,
         self.max_transfer, self.max_requests, self.max_bytes) = WELCOME.unpack_from(payload)

    def send(self, kind, flags=0, offset=0, length=0, aux=0, payload=b""):
        self.last_id += 1
        header = HEADER.pack(kind, flags, 0, len(payload), self.last_id, offset, length, aux)
        header += struct.pack("<Q", xxh3_64(payload) if payload else 0)
        header += struct.pack("<Q", xxh3_64(header, self.sent))
        self.sent += 1
        self.socket.sendall(header + payload)
        return self.last_id

    def exactly(self, size):
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise EOFError("the server closed the connection")
            data += part
        return data

    def receive(self):
        """A reply: its header's fields and its payload."""
        raw = self.exactly(48)
        kind, flags, error, size, number, offset, length, aux = HEADER.unpack_from(raw)
        payload_sum, header_sum = struct.unpack_from("<QQ", raw, 32)
        assert header_sum == xxh3_64(raw[:40], self.received)
        self.received += 1
        payload = self.exactly(size)
        assert payload_sum == (xxh3_64(payload) if payload else 0)
        assert kind & REPLY
        return (kind & ~REPLY, flags, error, number, offset, length, aux), payload

    def ask(self, kind, flags=0, offset=0, length=0, aux=0, payload=b""):
        """A request with one reply."""
        number = self.send(kind, flags, offset, length, aux, payload)
        reply, data = self.receive()
        assert reply[0] == kind and reply[3] == number, reply
        if reply[2]:
            raise Refused(reply[2])
        return reply, data

    @staticmethod
    def data_of(flags, length, payload):
        form = flags & (ZEROES | REPEAT | ZSTD)
        if form == ZEROES:
            assert not payload
            return bytes(length)
        if form == REPEAT:
            assert len(payload) == 8 and length % 8 == 0
            return payload * (length // 8)
        assert form == 0 and len(payload) == length
        return payload

    def read(self, offset, length, flags=0):
        number = self.send(READ, flags, offset, length)
        data = b""
        while True:
            (kind, reply_flags, error, reply_number, at, size, _), payload = self.receive()
            assert kind == READ and reply_number == number
            if error:
                raise Refused(error)
            assert at == offset + len(data) and len(payload) <= min(size, 65536)
            data += self.data_of(reply_flags, size, payload)
            if not reply_flags & MORE:
                assert len(data) == length
                return data

    def change(self, kind, *fields, **named):
        reply, payload = self.ask(kind, *fields, **named)
        assert reply[4] == self.verifier and not payload

    def write(self, offset, data):
        self.change(WRITE, 0, offset, len(data), payload=data)

    def zero(self, offset, length, flags=0):
        self.change(ZERO, flags, offset, length & 0xffffffff, length >> 32)

    def flush(self):
        self.change(FLUSH)

    def extents(self, offset, length):
        """(length, is a hole, is zero) of each."""
        _, payload = self.ask(EXTENTS, 0, offset, length & 0xffffffff, length >> 32)
        return [(size, bool(kind & 1), bool(kind & 2))
                for size, kind, nothing in struct.iter_unpack("<QII", payload)]

    def hash(self, offset, length, chunk):
        _, payload = self.ask(HASH, 0, offset, length, chunk)
        return [payload[at:at + 16] for at in range(0, len(payload), 16)]
