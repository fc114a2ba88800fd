# SPDX-License-Identifier: Apache-2.0
# Fills a server's UNIX socket with silent connections and with handshakes that stop half-way, says "full" and
# keeps them until its stdin ends:  r3_crowd.py SOCKET SILENT HALF_OPEN
import os
import resource
import socket
import struct
import sys

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
path, silent, half_open = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
crowd = []
for i in range(silent + half_open):
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)
    if i >= silent:  # the preamble of XK, and less of the first message than there has to be
        one.send(b"R3N\x01\x02\0\0\0" + struct.pack(">H", 48) + os.urandom(20))
    crowd.append(one)
print("full", flush=True)
sys.stdin.read()
