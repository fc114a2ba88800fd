# SPDX-License-Identifier: Apache-2.0
"""A program that needs twice its memory, in the machine of tests/vm: ratios only, for it is emulated."""
import os
import subprocess

from session import BIN, ROOT, Group, Missing, need


class Swap(Group):
    name, title, ours = "vm-swap", "swap, a program that needs twice its memory (emulated: ratios only)", "ram-dl ublk"

    def start(self):
        need("qemu-system-x86_64"), need("nbdkit"), need("nbd-client")
        built = subprocess.run([f"{ROOT}/tests/vm/build-ublk", f"{BIN}/vm"], stdout=subprocess.PIPE, text=True)
        if built.returncode != 0:
            raise Missing("needs ublk_drv: scripts/install-deps vm")
        self.module = built.stdout.strip()

    def round(self, seconds):
        guest = subprocess.run([f"{ROOT}/tests/vm/run", "env", f"UBLK={self.module}", "bash", f"{ROOT}/tests/bench/swap_guest.sh"],
                               env={**os.environ, "BIN": BIN, "VM_TIME": "300"}, stdout=subprocess.PIPE, text=True)
        if guest.returncode != 0:
            raise RuntimeError(f"the guest: {guest.stdout[-500:]}")
        for line in guest.stdout.splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith(("ram-dl", "nbd-client")):
                yield "fill and read", name, "s", float(value)


class Wait(Group):
    name, title, ours = "vm-wait", "nbd-attach: until the device is usable (emulated: ratios only)", "sysfs"

    def start(self):
        need("qemu-system-x86_64")

    def round(self, seconds):
        guest = subprocess.run([f"{ROOT}/tests/vm/run", "bash", f"{ROOT}/tests/bench/attach_guest.sh"],
                               env={**os.environ, "BIN": BIN}, stdout=subprocess.PIPE, text=True, check=True)
        values = {"sysfs": [], "udev": []}
        for line in guest.stdout.splitlines():
            way, _, value = line.partition(" ")
            if way in values:
                values[way].append(float(value))
        for way, times in values.items():
            times.sort()
            for row, share in ("least", 0), ("median", 0.5), ("p90", 0.9), ("most", 1):
                yield row, way, "ms", times[round(share * (len(times) - 1))]


def groups():
    return [Swap(), Wait()]
