#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""migration_kills.py POINTS SEED: a region moves while an application writes to it; seeder, leecher or both
are killed (or stopped for a while) at a random moment and started again. Each time the region ends on the
other side, exactly one record says that it is the owner, and every write that was acknowledged is there."""
import os, random, shutil, signal, subprocess, sys, tempfile, threading, time

BIN = os.environ["BIN"]
BLOCK, BLOCKS = 4096, 512


class Side:
    """A tool that is started again with the same words after it was killed."""

    def __init__(self, directory, name, words):
        self.directory, self.name, self.words = directory, name, words
        self.start()

    def start(self):
        log = open(f"{self.directory}/{self.name}.log", "ab")
        self.process = subprocess.Popen([f"{BIN}/{self.name}", *self.words], cwd=self.directory, stdout=log,
                                        stderr=log, start_new_session=True)

    def alive(self):
        return self.process.poll() is None

    def hit(self, how):
        if not self.alive():
            return
        self.process.send_signal(how)
        if how == signal.SIGSTOP:
            time.sleep(random.choice([0.05, 1.3]))  # shorter and longer than the lease
            self.process.send_signal(signal.SIGCONT)
        else:
            self.process.wait()
            self.start()


class Application(threading.Thread):
    """Writes numbers to the device of the side that it runs on, and remembers which were acknowledged."""

    def __init__(self, directory):
        super().__init__(daemon=True)
        self.directory, self.ended = directory, threading.Event()
        self.done, self.trying, self.number = {}, {}, 0

    def exists(self, name):
        return os.path.exists(f"{self.directory}/{name}")

    def run(self):
        while not self.ended.is_set():
            here = "b" if self.exists("moved") else "a"
            if here == "a" and self.exists("stop"):
                open(f"{self.directory}/stopped", "w").close()
                time.sleep(0.002)
                continue
            try:
                fd = os.open(f"{self.directory}/{here}", os.O_RDWR)
                try:
                    if os.fstat(fd).st_size != BLOCK * BLOCKS:  # not mounted
                        raise OSError
                    while not self.ended.is_set() and not (here == "a" and (self.exists("stop") or self.exists("moved"))):
                        self.write(fd)
                finally:
                    os.close(fd)
            except OSError:
                time.sleep(0.005)

    def write(self, fd):
        self.number += 1
        block = random.randrange(BLOCKS)
        self.trying.setdefault(block, set()).add(self.number)
        os.pwrite(fd, self.number.to_bytes(8, "little") * (BLOCK // 8), block * BLOCK)
        self.done[block] = self.number
        self.trying[block] = set()


def wait_until(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def state(path):
    with open(path, "rb") as file:
        return int.from_bytes(file.read()[8:12], "little")


def one_move(directory, point):
    for name in ("a.img", "b.img"):
        with open(f"{directory}/{name}", "wb") as file:
            file.truncate(BLOCK * BLOCKS)
    seeder = Side(directory, "r3-seed", [
        "-l", "unix:s", "--lease", "1s", "--grace", "1s",
        "--on-suspend", "touch stop; n=0; until [ -e stopped ] || [ $((n += 1)) -gt 200 ]; do sleep 0.01; done",
        "--on-resume", "rm -f stop stopped", "a.img", "a"])
    application = Application(directory)
    application.start()
    leecher = None
    try:
        wait_until("the application writes", lambda: application.number > 20)
        leecher = Side(directory, "r3-leech", [
            "--max-downtime", "1s", "--max-time", "1s", "--lease", "1s", "--grace", "1s", "--control", "unix:ctl",
            "--on-resume", "touch moved", "r3+unix:///?socket=s", "b.img", "b"])
        time.sleep(random.uniform(0, 0.6))
        hit = random.choice([[seeder], [leecher], [seeder, leecher], [leecher, seeder]])
        how = random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP])
        for side in hit:
            side.hit(how)

        def moved():
            for side in (seeder, leecher):
                # One that was killed twice, or found the other one gone, is started again by its user.
                if not side.alive() and not (side is seeder and state(f"{directory}/a.img.r3-owner") == 4):
                    time.sleep(0.1)
                    side.start()
            return os.path.exists(f"{directory}/a.img.r3-owner") and state(f"{directory}/a.img.r3-owner") == 4

        wait_until("the region has moved", moved)
        count = application.number
        wait_until("the application writes there", lambda: application.number > count + 20)
        application.ended.set()
        application.join(10)
        assert not application.is_alive(), "the application hangs"
        wait_until("the record", lambda: state(f"{directory}/b.img.r3-owner") == 1, 10)
        leecher.process.terminate()
        assert leecher.process.wait(20) == 0, f"the leecher ended with {leecher.process.returncode}"
        with open(f"{directory}/b.img", "rb") as file:
            for block, number in application.done.items():
                file.seek(block * BLOCK)
                found = int.from_bytes(file.read(8), "little")
                allowed = {number} | application.trying[block]
                assert found in allowed, f"block {block} has {found}, not {sorted(allowed)}"
    except BaseException:
        print(f"point {point}:", file=sys.stderr)
        for name in ("r3-seed.log", "r3-leech.log"):
            if os.path.exists(f"{directory}/{name}"):
                print(f"== {name}\n{open(f'{directory}/{name}').read()[-3000:]}", file=sys.stderr)
        raise
    finally:
        application.ended.set()
        for side in (leecher, seeder):
            if side and side.alive():
                side.process.kill()
                side.process.wait()
        for name in ("a", "b"):
            subprocess.run(["umount", "-l", f"{directory}/{name}"], stderr=subprocess.DEVNULL)


def main():
    points, seed = int(sys.argv[1]), int(sys.argv[2])
    for point in range(points):
        random.seed(seed * 100000 + point)
        directory = tempfile.mkdtemp(prefix="r3-kills-")
        try:
            one_move(directory, point)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    print(f"{points} points, seed {seed}: moved each time, nothing lost")


main()
