# SPDX-License-Identifier: Apache-2.0
"""migration_kills.py BIN POINTS SEED DIRECTORY: a region moves while an application writes to it. At a point that
the seed chooses (an event of either side and a moment more, or any time), seeder, leecher or both are killed,
or stopped for less or more than the lease, or the link is cut or silent; what died is started again with the
same words. At no time do both records say that the region is theirs; in the end it is on the other side, the
application goes on there, and every write that was acknowledged is in it."""
import json, multiprocessing, os, random, shutil, signal, subprocess, sys, threading, time

BLOCK, BLOCKS = 4096, 512
OWNER, SUSPENDED, GIVEN, GONE = 1, 2, 3, 4
EVENTS = [("seeder", e) for e in ("tracking", "finalizing", "migrated", "closed")] + \
         [("leecher", e) for e in ("pulling", "dirty", "finalizing", "migrated", "complete")]


class Side:
    """A tool that is started again with the same words after it was killed."""

    def __init__(self, move, name, words):
        self.move, self.name, self.words = move, name, words
        self.start()

    def start(self):
        reader, writer = os.pipe()
        log = open(f"{self.name}.log", "ab")
        self.process = subprocess.Popen([f"{self.move.bin}/{self.name}", "--events-fd", str(writer), *self.words],
                                        stdout=log, stderr=log, pass_fds=[writer])
        os.close(writer)
        threading.Thread(target=self.listen, args=[reader], daemon=True).start()

    def listen(self, reader):
        with open(reader) as lines:
            for line in lines:
                self.move.happened("seeder" if self.name == "r3-seed" else "leecher",
                                   json.loads(line)["event"])

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        if self.alive():
            self.process.kill()
        self.process.wait()
        self.start()

    def pause(self, seconds):
        if self.alive():
            self.process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            self.process.send_signal(signal.SIGCONT)


class Application(threading.Thread):
    """Writes numbers to the device of the side that it runs on, and remembers which were acknowledged."""

    def __init__(self, chance):
        super().__init__(daemon=True)
        self.chance, self.ended = chance, threading.Event()
        self.done, self.trying, self.number, self.here = {}, {}, 0, None

    def run(self):
        while not self.ended.is_set():
            here = "b" if os.path.exists("moved") else "a"
            if here == "a" and os.path.exists("stop"):
                open("stopped", "w").close()
                time.sleep(0.002)
                continue
            try:
                fd = os.open(here, os.O_RDWR)
                try:
                    if os.fstat(fd).st_size == BLOCK * BLOCKS:  # else it is not mounted
                        self.here = here
                        while not self.ended.is_set() and (here == "b" or not os.path.exists("stop")):
                            self.write(fd)
                finally:
                    os.close(fd)
            except OSError:
                pass
            time.sleep(0.005)

    def write(self, fd):
        self.number += 1
        block = self.chance.randrange(BLOCKS)
        self.trying.setdefault(block, set()).add(self.number)
        os.pwrite(fd, self.number.to_bytes(8, "little") * (BLOCK // 8), block * BLOCK)
        self.done[block] = self.number
        self.trying[block] = set()


def state(name):
    try:
        with open(f"{name}.img.r3-owner", "rb") as file:
            return int.from_bytes(file.read()[8:12], "little")
    except FileNotFoundError:
        return 0


def one_owner():
    here = state("b")  # first: what a has given it never takes back
    assert not (here == OWNER and state("a") not in (GIVEN, GONE)), "both sides own the region"
    return here


class Move:
    def __init__(self, binaries, chance):
        self.bin, self.chance = binaries, chance
        self.seen, self.news = [], threading.Condition()
        for name in ("a.img", "b.img"):
            with open(name, "wb") as file:
                file.truncate(BLOCK * BLOCKS)

    def happened(self, side, event):
        with self.news:
            self.seen.append((side, event))
            self.news.notify_all()

    def wait(self, what, condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            one_owner()
            assert time.monotonic() < end, f"not within {seconds} s: {what}"
            time.sleep(0.005)

    def wait_event(self, event):
        with self.news:
            self.news.wait_for(lambda: event in self.seen, 2)  # not every move has each

    def ask_link(self, word):
        subprocess.run([f"{self.bin}/tests/fault/faultproxy", "--ask", word, "unix:link.ctl"],
                       stdout=subprocess.DEVNULL, check=False)

    def strike(self):
        chance = self.chance
        when = chance.choice(EVENTS + [None] * 3)
        self.plan = [when]
        if when:
            self.wait_event(when)
            time.sleep(chance.choice([0, chance.uniform(0, 0.003), chance.uniform(0, 0.03)]))
        else:
            time.sleep(chance.uniform(0, 0.4))
        for _ in range(chance.choice([1, 1, 1, 2])):
            how = chance.choice(["kill", "kill", "kill", "stop", "stop long", "cut", "hole"])
            sides = chance.choice([[self.seeder], [self.leecher], [self.seeder, self.leecher],
                                   [self.leecher, self.seeder]])
            self.plan.append((how, [side.name for side in sides]))
            if how == "cut":
                self.ask_link("cut")
            elif how == "hole":
                self.ask_link("hole on")
                time.sleep(chance.choice([0.05, 1.2]))
                self.ask_link("hole off")
                self.ask_link("cut")  # what fell into it does not come any more
            for side in sides if how in ("kill", "stop", "stop long") else []:
                if how == "kill":
                    side.kill()
                else:
                    side.pause(1.2 if how == "stop long" else 0.05)
            time.sleep(chance.uniform(0, 0.1))

    def moved(self):
        for side in (self.seeder, self.leecher):  # as their users would
            if not side.alive() and not (side is self.seeder and state("a") == GONE):
                time.sleep(0.05)
                side.start()
        return state("a") == GONE

    def run(self):
        chance = self.chance
        self.link = subprocess.Popen([f"{self.bin}/tests/fault/faultproxy", "-l", "unix:link", "-c", "unix:s",
                                      "--control", "unix:link.ctl", "--delay", chance.choice(["0ms", "1ms", "5ms"])],
                                     stdout=subprocess.DEVNULL)
        self.seeder = Side(self, "r3-seed", [
            "-l", "unix:s", "--lease", "1s", "--grace", "1s",
            "--on-suspend", "touch stop; n=0; until [ -e stopped ] || [ $((n += 1)) -gt 200 ]; do sleep 0.005; done; "
                            "[ -e stopped ]",
            "--on-resume", "rm -f stop stopped", "a.img", "a"])
        self.application = Application(random.Random(chance.random()))
        self.application.start()
        self.leecher = None
        self.wait("the application writes", lambda: self.application.number > 20)
        policy = chance.choice([["--max-downtime", "1s"], ["--max-downtime", "0s", "--max-time", "200ms"],
                                ["--max-downtime", "0s", "--max-time", "1ms", "--on-timeout", "force"]])
        self.leecher = Side(self, "r3-leech", [
            *policy, "--lease", "1s", "--grace", "1s", "--on-resume", "touch moved", "r3+unix:///?socket=link",
            "b.img", "b"])
        self.strike()
        self.wait("the region has moved", self.moved)
        count = self.application.number
        self.wait("the application writes there",
                  lambda: self.moved() and self.application.here == "b" and self.application.number > count + 20)
        self.application.ended.set()
        self.application.join(10)
        assert not self.application.is_alive(), "the application hangs"
        self.wait("the record", lambda: one_owner() == OWNER)
        self.leecher.process.terminate()
        assert self.leecher.process.wait(20) == 0, f"the leecher ended with {self.leecher.process.returncode}"
        self.compare()

    def compare(self):
        with open("b.img", "rb") as file:
            for block, number in self.application.done.items():
                file.seek(block * BLOCK)
                found = int.from_bytes(file.read(8), "little")
                allowed = {number} | self.application.trying[block]
                assert found in allowed, f"block {block} has {found}, not {sorted(allowed)}"

    def clean(self):
        self.application.ended.set()
        for process in [side.process for side in (self.leecher, self.seeder) if side] + [self.link]:
            if process.poll() is None:
                process.kill()
            process.wait()
        for name in ("a", "b"):
            subprocess.run(["umount", "-l", name], stderr=subprocess.DEVNULL)


def one_point(task):
    binaries, seed, point, directory = task
    place = f"{directory}/{point}"
    os.mkdir(place)
    os.chdir(place)
    move = Move(binaries, random.Random(seed * 1000003 + point))
    try:
        move.run()
        return None
    except BaseException as error:
        text = f"seed {seed}, point {point}: {error!r}\nplan {move.plan}, seen {move.seen}\n" \
               f"records a {state('a')}, b {state('b')}; the application is at {move.application.here}\n"
        for name in ("r3-seed.log", "r3-leech.log"):
            if os.path.exists(name):
                text += f"== {name}\n{open(name).read()[-3000:]}"
        return text
    finally:
        move.clean()
        os.chdir("/")
        shutil.rmtree(place, ignore_errors=True)


def main():
    binaries, directory = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[4])
    points, seed = int(sys.argv[2]), int(sys.argv[3])
    first = int(os.environ.get("FIRST", 0))
    tasks = [(binaries, seed, point, directory) for point in range(first, first + points)]
    failed = 0
    with multiprocessing.Pool(4) as pool:
        for text in pool.imap_unordered(one_point, tasks):
            if text:
                failed += 1
                print(text, flush=True)
    print(f"{points} points, seed {seed}: {failed} failed")
    sys.exit(failed > 0)


main()
