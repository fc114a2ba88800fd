# SPDX-License-Identifier: Apache-2.0
"""A process that hands memory over to uffd-serve as other programs do, or as none should:

  uffd_peer.py original|firecracker SOCKET FILE     checks that its memory then is the file
  uffd_peer.py firecracker-huge SOCKET FILE         the same in pages of 2 MiB
  uffd_peer.py minor SOCKET FILE                    memory of a file that has some of the pages already
  uffd_peer.py wait SOCKET SIZE [PAGE]              hands over, and touches a page when a line comes
  uffd_peer.py hostile SOCKET                       tries nonsense of every kind; prints what was refused
  uffd_peer.py die-early|die-late SOCKET            is killed while it hands over, or while it waits
"""
import ctypes
import fcntl
import mmap
import os
import signal
import socket
import struct
import sys
import threading

PAGE = 4096
UFFDIO_API, UFFDIO_REGISTER, NEW = 0xC018AA3F, 0xC020AA00, 0xAA00
libc = ctypes.CDLL(None, use_errno=True)


def open_uffd(ready=True, features=0):
    with open("/dev/userfaultfd", "rb") as device:
        uffd = fcntl.ioctl(device, NEW, os.O_CLOEXEC | os.O_NONBLOCK)
    if ready:
        fcntl.ioctl(uffd, UFFDIO_API, struct.pack("<QQQ", 0xAA, features, 0))
    return uffd


def memory(length, uffd, mode=1, huge=False, file=None):
    length = (length + PAGE - 1) // PAGE * PAGE
    if file is None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (0x40000 if huge else 0)
        memory = mmap.mmap(-1, length, flags=flags)
    else:
        memory = mmap.mmap(file, length)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(uffd, UFFDIO_REGISTER, struct.pack("<QQQQ", address, length, mode, 0))
    return memory, address


def connect(path):
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    return peer


def send_fds(peer, data, fds):
    peer.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))])


def check(memory, path):
    with open(path, "rb") as file:
        wanted = file.read()
    if memory[:len(wanted)] != wanted or any(memory[len(wanted):]):
        sys.exit("the memory is not the file")


def original(path, image):
    """As userfaultfd-go does: the address, then a byte with standard input and the descriptor."""
    uffd = open_uffd()
    mapped, address = memory(os.path.getsize(image), uffd)
    peer = connect(path)
    peer.sendall(struct.pack(">q", address))
    send_fds(peer, b"\0", [0, uffd])
    check(mapped, image)


def mappings_text(mappings, version):
    """What Firecracker writes, byte for byte (serde_json: no white space, members in their order): 1.5 and older
    have no page size, 1.6 to 1.10 one in bytes with a wrong name, the later ones both."""
    members = {"1.5": "", "1.6": ',"page_size_kib":{2}', "1.11": ',"page_size":{2},"page_size_kib":{2}'}[version]
    return "[" + ",".join(
        ('{{"base_host_virt_addr":{0},"size":{1},"offset":{3}' + members + "}}").format(address, length, page, offset)
        for address, length, offset, page in mappings) + "]"


def firecracker(path, image, huge=False):
    """Two regions of guest memory, as around the hole below 4 GiB; the balloon gives pages back."""
    unit = 2 << 20 if huge else PAGE
    for version in ["1.11"] if huge else ["1.5", "1.6", "1.11"]:
        uffd = open_uffd(features=1 << 3 | (1 << 4 if huge else 0))
        size = (os.path.getsize(image) + unit - 1) // unit * unit
        low = size // 2 // unit * unit
        first, first_address = memory(low, uffd, huge=huge)
        second, second_address = memory(size - low, uffd, huge=huge)
        text = mappings_text([(first_address, low, 0, unit), (second_address, size - low, low, unit)], version)
        peer = connect(path)
        send_fds(peer, text.encode(), [uffd])
        given_back = 0 if huge else 3 * PAGE
        if libc.madvise(ctypes.c_void_p(first_address + given_back), ctypes.c_size_t(unit), 4) != 0:
            sys.exit("madvise")
        with open(image, "rb") as file:
            wanted = bytearray(file.read())
        wanted += bytes(size - len(wanted))
        wanted[given_back:given_back + unit] = bytes(unit)
        if first[:] + second[:] != bytes(wanted):
            sys.exit("the memory is not the snapshot")


def minor(path, image):
    """Every other page is in the file already, as something else: it is mapped, and not brought again."""
    uffd = open_uffd(features=1 << 5 | 1 << 10)
    peer, size = greet(path)
    length = (size + PAGE - 1) // PAGE * PAGE
    file = os.memfd_create("pages")
    os.truncate(file, length)
    for page in range(0, length, 2 * PAGE):
        os.pwrite(file, b"%16d" % page * 256, page)
    mapped, address = memory(length, uffd, mode=5, file=file)
    send_fds(peer, message(3, ranges((address, length, 0, PAGE)), 1), [uffd])
    with open(image, "rb") as wanted:
        for page in range(0, length, PAGE):
            bytes_there = wanted.read(PAGE)
            if page % (2 * PAGE) == 0:
                bytes_there = b"%16d" % page * 256
            if mapped[page:page + PAGE] != bytes_there + bytes(PAGE - len(bytes_there)):
                sys.exit(f"the page at {page} is wrong")


def wait(path, size, page):
    uffd = open_uffd()
    mapped, address = memory(size, uffd)
    peer = connect(path)
    peer.sendall(struct.pack(">q", address))
    send_fds(peer, b"\0", [uffd])
    print("handed over", flush=True)
    sys.stdin.readline()
    print(mapped[page * PAGE], flush=True)


def message(kind, payload, count=0, magic=b"r3uf", length=None):
    return magic + struct.pack("<HHII", kind, count, len(payload) if length is None else length, 0) + payload


def greet(path):
    peer = connect(path)
    peer.sendall(message(1, struct.pack("<I12x", 1)))
    answer = peer.recv(4096)
    if answer[:6] != b"r3uf\2\0":
        sys.exit("no greeting")
    return peer, struct.unpack("<Q", answer[16:24])[0]


def ranges(*list_of):
    return struct.pack("<I12x", 1) + b"".join(struct.pack("<QQQQ", *r) for r in list_of)


def refused(name, peer):
    peer.settimeout(5)
    try:
        answer = b""
        while part := peer.recv(4096):
            answer += part
    except ConnectionResetError:
        answer += b"(reset)"
    if answer[:6] == b"r3uf\4\0":
        sys.exit(f"{name}: was taken")
    print(name, "refused:", answer[16:].decode(errors="replace"))


def hostile(path):
    uffd = open_uffd()
    mapped, address = memory(64 * PAGE, uffd)
    fresh = open_uffd(ready=False)
    with open("/dev/null") as null:
        good = ranges((address, PAGE, 0, PAGE))
        many = [os.dup(uffd) for _ in range(15)]
        cases = {
            "no descriptor": lambda p, size: p.sendall(message(3, good, 1)),
            "another descriptor": lambda p, size: send_fds(p, message(3, good, 1), [null.fileno()]),
            "too many descriptors": lambda p, size: send_fds(p, message(3, good, 1), many),
            "two userfaultfds": lambda p, size: send_fds(p, message(3, good, 1), many[:2]),
            "a userfaultfd that is not ready": lambda p, size: send_fds(p, message(3, good, 1), [fresh]),
            "no range": lambda p, size: send_fds(p, message(3, ranges(), 0), [uffd]),
            "a wrong count": lambda p, size: send_fds(p, message(3, good, 2), [uffd]),
            "overlapping ranges": lambda p, size: send_fds(
                p, message(3, ranges((address, 2 * PAGE, 0, PAGE), (address + PAGE, PAGE, 0, PAGE)), 2), [uffd]),
            "a misaligned range": lambda p, size: send_fds(p, message(3, ranges((address + 8, PAGE, 0, PAGE)), 1), [uffd]),
            "a range beyond the region": lambda p, size: send_fds(
                p, message(3, ranges((address, size + 2 * PAGE, 0, PAGE)), 1), [uffd]),
            "an offset beyond the region": lambda p, size: send_fds(
                p, message(3, ranges((address, PAGE, 1 << 60, PAGE)), 1), [uffd]),
            "an odd page size": lambda p, size: send_fds(p, message(3, ranges((address, PAGE, 0, 512)), 1), [uffd]),
            "an unknown message": lambda p, size: p.sendall(message(77, b"")),
            "a message out of order": lambda p, size: p.sendall(message(6, b"")),
            "a message that is too long": lambda p, size: p.sendall(message(3, b"", length=1 << 30)),
            "another magic": lambda p, size: p.sendall(message(3, good, magic=b"rxxx")),
            "half a message": lambda p, size: (p.sendall(message(3, good)[:20]), p.shutdown(socket.SHUT_WR)),
        }
        for name, say in cases.items():
            peer, size = greet(path)
            try:
                say(peer, size)
            except BrokenPipeError:
                pass
            refused(name, peer)
        for name, data in {"text": b"GET / HTTP/1.0\r\n\r\n", "json": b'[{"base_host_virt_addr":"x"}]',
                           "an address that is none": b"\xff" * 9, "an old version": message(1, struct.pack("<I12x", 9))}.items():
            peer = connect(path)
            send_fds(peer, data, [uffd])
            refused(name, peer)


def die(path, late):
    uffd = open_uffd()
    mapped, address = memory(1 << 20, uffd)
    peer, size = greet(path)
    data = message(3, ranges((address, min(1 << 20, size), 0, PAGE)), 1)
    if not late:
        send_fds(peer, data[:30], [uffd])
        os.kill(os.getpid(), signal.SIGKILL)
    send_fds(peer, data, [uffd])
    print("handed over", flush=True)
    for i in range(4):
        threading.Thread(target=lambda i=i: mapped[i * 100 * PAGE], daemon=True).start()
    signal.pause()


if __name__ == "__main__":
    kind, path = sys.argv[1:3]
    if kind in ("original", "firecracker", "minor"):
        globals()[kind](path, sys.argv[3])
    elif kind == "firecracker-huge":
        firecracker(path, sys.argv[3], huge=True)
    elif kind == "wait":
        wait(path, int(sys.argv[3]), int((sys.argv[4:] or [0])[0]))
    elif kind == "hostile":
        hostile(path)
    else:
        die(path, kind == "die-late")
