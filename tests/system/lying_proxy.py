#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stands before a real web server, and lies: lying_proxy.py PORT DIRECTORY prints the port that it listens on. What it
does with a GET of an object says the word in DIRECTORY/lie (see LIES); each request is a line in DIRECTORY/asked."""
import re
import socket
import sys
import threading

target, directory = int(sys.argv[1]), sys.argv[2]
lock = threading.Lock()


def lie():
    with open(f"{directory}/lie") as file:
        return file.read().strip()


def receive(peer, to_the_end):
    """The head of a message, with its blank line, and the body, as far as its length says or to the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = peer.recv(65536)
        if not more:
            return None, None
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
    while to_the_end or len(body) < (int(length[1]) if length else 0):
        more = peer.recv(65536)
        if not more:
            break
        body += more
    return head + b"\r\n\r\n", body


def truth(head, body):
    head = re.sub(rb"\r\nConnection:[^\r]*", b"", head, flags=re.I)
    with socket.create_connection(("127.0.0.1", target)) as server:
        server.sendall(head[:-2] + b"Connection: close\r\n\r\n" + body)
        answer, content = receive(server, True)
    return re.sub(rb"\r\nConnection:[^\r]*", b"\r\nX-Was: connection", answer, flags=re.I), content


def shifted(head, content):
    """Another range than was asked for, and says so."""
    return re.sub(rb"bytes (\d+)-(\d+)", lambda m: b"bytes %d-%d" % (int(m[1]) + 1, int(m[2]) + 1), head), content[1:] + b"!"


def busy(peer, status, pause):
    peer.sendall(b"HTTP/1.1 %s\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n" % (status, pause))


def endless(peer):
    peer.sendall(b"HTTP/1.1 206 Partial Content\r\n")
    while True:
        peer.sendall(b"X-More: %s\r\n" % (b"y" * 1000))


def answer(peer, head, body):
    """False: the connection ends."""
    word = lie() if head.startswith(b"GET") and b"/region " not in head else "true"
    with lock, open(f"{directory}/asked", "a") as asked:
        print(word, head.split(b"\r\n")[0].decode(), file=asked)
    if word == "busy":
        return busy(peer, b"503 Slow Down", b"1") or True
    if word == "throttle":
        return busy(peer, b"429 Too Many Requests", b"3600") or True
    if word == "silent":
        return bool(peer.recv(1))
    if word == "endless":
        return endless(peer)
    if word == "garbage":
        page = b"<html><Code>\x1b[31mlost</Code <Code>NoSuchKey"
        return peer.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page)) or True
    if word == "whole":
        head = re.sub(rb"\r\nRange:[^\r]*", b"", head, flags=re.I)
    reply, content = truth(head, body)
    if reply is None:
        return False
    if word == "other-range":
        reply, content = shifted(reply, content)
    if word == "other-tag":
        reply = re.sub(rb"\r\nETag:[^\r]*", b'\r\nETag: "another"', reply, flags=re.I)
    if word == "half":
        content = content[:len(content) // 2]
    if word == "stall":
        peer.sendall(reply + content[:len(content) // 2])
        return bool(peer.recv(1))
    peer.sendall(reply + content)
    return word != "half"


def serve(peer):
    try:
        with peer:
            while True:
                head, body = receive(peer, False)
                if head is None or not answer(peer, head, body):
                    return
    except OSError:
        pass


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
