#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Another client of Cassandra than ours: cql_client.py PORT USER PASSWORD, with a program on its input that finds the
# session as `s`. Debian's python3-cassandra.
import logging, sys
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster

logging.disable(logging.CRITICAL)
port, user, password = sys.argv[1:4]
cluster = Cluster(["127.0.0.1"], port=int(port), protocol_version=4,
                  auth_provider=PlainTextAuthProvider(user, password))
try:
    exec(sys.stdin.read(), {"s": cluster.connect()})
finally:
    cluster.shutdown()
