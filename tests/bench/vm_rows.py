# SPDX-License-Identifier: Apache-2.0
"""Kernel devices, in the guest of tests/vm/run: r3-mount's drivers ublk and nbd beside nbd-client on nbdkit. The
guest runs under emulation: only the ratios mean anything."""
import json
import os
import subprocess

from session import BIN, ROOT, Group, need


class Devices(Group):
    name, title, ours = "vm-devices", "Block devices (emulated: ratios only)", "ublk"

    def start(self):
        need("qemu-system-x86_64")
        for program in "nbdkit", "nbd-client", "fio", "jq":
            need(program)
        self.module = subprocess.check_output([f"{ROOT}/tests/vm/build-ublk", f"{BIN}/vm"], text=True).strip()

    def round(self, seconds):
        command = [f"{ROOT}/tests/vm/run", "env", f"UBLK={self.module}", "ROUNDS=1",
                   f"MS={round(seconds * 1000)}", f"{ROOT}/tests/bench/vm_devices.sh"]
        output = subprocess.check_output(command, text=True, cwd=ROOT, env={**os.environ, "BIN": BIN, "VM_TIME": "300"})
        for line in output.splitlines():
            if line.startswith("{"):
                value = json.loads(line)
                yield value["row"], value["contender"], value["unit"], value["value"]


def groups():
    return [Devices()]
