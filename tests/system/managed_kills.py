# SPDX-License-Identifier: Apache-2.0
# managed_kills.py BIN KILLS SEED DIRECTORY mount|server|both: an application writes and reads random blocks of
# a managed mount with a cache file, while r3-mount, its server, or both are killed with -9 and started again.
# It knows what each block may hold: what was written last, or what was being written when the mount died.
# At the end the server's image has to be exactly that.
import atexit, os, random, signal, subprocess, sys, threading, time

binaries, kills, seed, directory, mode = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
BLOCK, BLOCKS = 4096, 512
random.seed(seed)
os.chdir(directory)
with open("image", "wb") as image:
    image.truncate(BLOCK * BLOCKS)
allowed = [{0} for _ in range(BLOCKS)]
started = []
atexit.register(lambda: [process.kill() for process in started])


def start(*command):
    reader, writer = os.pipe()
    process = subprocess.Popen([*command, "--ready-fd", str(writer)], pass_fds=[writer], stdout=subprocess.DEVNULL)
    os.close(writer)
    ready = os.read(reader, 1)
    os.close(reader)
    started.append(process)
    if not ready:
        sys.exit(f"{command[0]} did not start")
    return process


def start_server():
    return start(f"{binaries}/ram-ul", "-q", "-l", f"unix:{directory}/s", "image")


def start_mount():
    return start(f"{binaries}/r3-mount", "-q", "--cache", "cache", "--push-interval", "20ms",
                 "--control", f"unix:{directory}/ctl", f"r3+unix:///?socket={directory}/s", "disk")


def leave(fd):
    try:
        os.close(fd)
    except OSError:
        pass  # of a mount that is gone


def look(fd, block):
    data = os.pread(fd, BLOCK, block * BLOCK)
    # A torn write is one that was under way: each half on its own is one of what may be.
    for part in (data[:2048], data[2048:]):
        value = int.from_bytes(part[:4], "little")
        if part != value.to_bytes(4, "little") * 512 or value not in allowed[block]:
            print(f"seed {seed}: block {block} has {part[:8].hex()}, may have {allowed[block]}", flush=True)
            [process.kill() for process in started]
            os._exit(1)
    return int.from_bytes(data[:4], "little")


def work(fd, enough, chance):
    while not enough.is_set():
        block = chance.randrange(BLOCKS)
        try:
            if chance.random() < 0.6:
                value = chance.randrange(1, 1 << 31)
                allowed[block].add(value)
                os.pwrite(fd, value.to_bytes(4, "little") * 1024, block * BLOCK)
                allowed[block] = {value}
            elif chance.random() < 0.02:
                os.fsync(fd)
            else:
                look(fd, block)
        except OSError:
            if mode == "server":
                raise
            return  # the mount is gone


server, mount = start_server(), start_mount()
for point in range(kills):
    fd = os.open("disk", os.O_RDWR)
    enough = threading.Event()
    worker = threading.Thread(target=work, args=(fd, enough, random.Random(seed * 100000 + point)))
    worker.start()
    time.sleep(random.random() * 0.03)
    if mode in ("server", "both"):
        server.send_signal(signal.SIGKILL)
        server.wait()
        time.sleep(random.random() * 0.01)
    if mode in ("mount", "both"):
        mount.send_signal(signal.SIGKILL)
        mount.wait()
    if mode in ("server", "both"):
        server = start_server()
    enough.set()
    worker.join()
    leave(fd)
    if mode in ("mount", "both"):
        mount = start_mount()
        fd = os.open("disk", os.O_RDWR)
        for block in range(BLOCKS):
            allowed[block] = {look(fd, block)}
        leave(fd)
mount.terminate()
if mount.wait(timeout=60) != 0:
    sys.exit(f"r3-mount ended with {mount.returncode}")
server.terminate()
server.wait(timeout=60)
fd = os.open("image", os.O_RDONLY)
for block in range(BLOCKS):
    look(fd, block)
print(f"killed {kills} times")
