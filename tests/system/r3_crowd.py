# SPDX-License-Identifier: Apache-2.0
# Fills a server's UNIX socket with silent connections and with handshakes that stop half-way, says "full" and
# keeps them:  r3_crowd.py SOCKET SILENT HALF_OPEN. For each line on its stdin it says how many of each the
# server has not let go; it leaves when its stdin ends.
import os
import resource
import select
import socket
import struct
import sys

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
path, silent, half_open = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
# The preamble of XK, and less of the first message than there has to be.
PART = b"R3N\x01\x02\0\0\0" + struct.pack(">H", 48) + os.urandom(20)


def connect():
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)
    return one


def held(crowd):
    """How many of them have neither been answered nor closed."""
    poll = select.poll()
    for one in crowd:
        poll.register(one, select.POLLIN)
    return len(crowd) - len(poll.poll(0))


idle = [connect() for _ in range(silent)]
halves = [connect() for _ in range(half_open)]
for one in halves:
    one.send(PART)
print("full", flush=True)
for _ in sys.stdin:
    print(held(idle), held(halves), flush=True)
