# SPDX-License-Identifier: Apache-2.0
"""Regions that helpers serve, beside the library that the helper uses, straight, on the same server: hiredis on
redis-server, libcurl on nginx (ranges of a file; objects as S3 has them, signed by ours, which nginx does not check)."""
import os

from session import BIN, Group, free_port, need, run_json

OURS = "r3 helper"
LOAD = f"{BIN}/tests/bench/region-load"
SIZE = 64 << 20

NGINX = """daemon off; pid {dir}/pid; error_log {dir}/log; worker_processes 1; user root;
events {{ worker_connections 1024; }}
http {{ access_log off; client_body_temp_path {dir}/body; sendfile on; tcp_nodelay on; keepalive_requests 1000000;
  client_max_body_size 0; client_body_buffer_size 2m;
  server {{ listen 127.0.0.1:{port}; root {dir}/www; error_page 404 /missing.xml;
    location /bucket/ {{ dav_methods PUT DELETE; create_full_put_path on; }} }} }}
"""


def ours(region, way, block, depth, seconds):
    return run_json(["env", f"R3_LIBEXEC={BIN}", need(LOAD), region, way, block, depth, str(seconds)])


class Regions(Group):
    """A row: ours with `depth` threads, and the library with as many blocks in its pipeline."""
    ours = OURS
    jobs = []

    def round(self, seconds):
        for row, way, block, depth, more in self.jobs:
            for name, result in (OURS, ours(self.region(), way, block, depth, seconds)), \
                                (self.peer, self.straight(way, block, depth, more, seconds)):
                yield row, name, "MB/s", result["mb"]
                yield row, name, "client CPU us/MB", result["cpu_us"] * result["ops"] / result["mb"]


class Redis(Regions):
    name, title, peer = "region-redis", "redis-server, UNIX socket, chunks of 64 KiB", "hiredis"
    # Of ours 1 MiB is 16 values.
    jobs = [("64 KiB read x16", "read", "64K", "16", "16"), ("64 KiB write x16", "write", "64K", "16", "16"),
            ("1 MiB read x4", "read", "1M", "4", "64"), ("1 MiB write x4", "write", "1M", "4", "64")]

    def start(self):
        self.socket = f"{self.directory}/redis"
        self.serve(["redis-server", "--port", "0", "--unixsocket", self.socket, "--save", "", "--appendonly", "no"],
                   f"unix:{self.socket}")
        ours(self.region(), "write", "1M", "1", 1)

    def region(self):
        return f"redis+unix:///0/bench?socket={self.socket}&size={SIZE}"

    def straight(self, way, block, depth, values, seconds):
        return run_json([need(f"{BIN}/tests/bench/limits/redis_straight"), self.socket, "bench", way, "64K", values,
                         str(seconds), str(SIZE >> 16)])


class Web(Regions):
    peer = "libcurl"

    def start(self):
        self.port = free_port()
        www = f"{self.directory}/www"
        os.makedirs(f"{www}/bucket")
        with open(f"{www}/missing.xml", "w") as missing:
            missing.write("<Error><Code>NoSuchKey</Code></Error>")
        with open(f"{www}/file", "wb") as file:
            for _ in range(SIZE >> 20):
                file.write(os.urandom(1 << 20))
        with open(f"{self.directory}/nginx.conf", "w") as conf:
            conf.write(NGINX.format(dir=self.directory, port=self.port))
        self.serve([need("/usr/sbin/nginx"), "-c", f"{self.directory}/nginx.conf"], f"tcp://127.0.0.1:{self.port}")


class Http(Web):
    name, title = "region-http", "nginx, TCP loopback, ranges of a file"
    jobs = [("64 KiB read x16", "read", "64K", "16", None), ("1 MiB read x4", "read", "1M", "4", None)]

    def region(self):
        return f"http://127.0.0.1:{self.port}/file"

    def straight(self, _, block, depth, __, seconds):
        blocks = SIZE // (1 << 20 if block == "1M" else 1 << 16)
        return run_json([need(f"{BIN}/tests/bench/limits/web_straight"), self.region(), "range", block, depth,
                         str(seconds), str(blocks)])


class S3(Web):
    name, title = "region-s3", "nginx, TCP loopback, objects of 256 KiB"
    jobs = [("256 KiB read x16", "read", "256K", "16", "get"), ("256 KiB write x16", "write", "256K", "16", "put")]

    def start(self):
        super().start()
        self.credentials = f"{self.directory}/credentials"
        with open(os.open(self.credentials, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write("[default]\naws_access_key_id = key\naws_secret_access_key = secret\n")
        ours(self.region(), "write", "1M", "1", 1)
        self.straight("write", "256K", "1", "put", 1)

    def region(self):
        return f"s3://bucket/ours?endpoint=http://127.0.0.1:{self.port}&size={SIZE}&credentials-file={self.credentials}"

    def straight(self, _, block, depth, way, seconds):
        return run_json([need(f"{BIN}/tests/bench/limits/web_straight"), f"http://127.0.0.1:{self.port}/bucket/straight",
                         way, block, depth, str(seconds), str(SIZE >> 18)])


def groups():
    return [Redis(), Http(), S3()]
