# SPDX-License-Identifier: Apache-2.0
"""r3-mount --direct against nbdfuse: see fuse.sh, which takes one round a call."""
import os
import subprocess

from session import BIN, ROOT, Group, Missing

SCRIPT = f"{ROOT}/tests/bench/fuse.sh"


class Fuse(Group):
    name, title, ours = "fuse", "r3-mount --direct, FUSE", "r3"

    def start(self):
        if not os.access(SCRIPT, os.X_OK):
            raise Missing("needs tests/bench/fuse.sh")

    def round(self, seconds):
        """The script prints lines of tab-separated row, contender, unit, value."""
        done = subprocess.run([SCRIPT], stdout=subprocess.PIPE, text=True, check=True,
                              env={**os.environ, "BIN": BIN, "SECONDS_EACH": str(seconds)})
        for line in done.stdout.splitlines():
            row, contender, unit, value = line.split("\t")
            yield row, contender, unit, float(value)


def groups():
    return [Fuse()]
