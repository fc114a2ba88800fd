# SPDX-License-Identifier: Apache-2.0
# r3-mount with the real kernel: what applications see, permissions, and every way to end.
# alone: it lets a loop device go, and takes it again
load ../helper

setup() {
  need_mounts
  cd "$BATS_TEST_TMPDIR"
}

# Whatever a failed test leaves behind is taken away; a mount that is left by a test that passed fails it.
teardown() {
  local status=0
  abort_connection
  stop_servers || status=1
  stop_nbd
  unmount_all || status=1
  return $status
}

no_threads() { ! cat "/proc/$1"/task/*/status 2>/dev/null | grep "^State" | grep -qv Z; }

# kill -9 must end the server. If it hangs in the kernel, waiting for its own answer, the test has failed, and
# what it hangs in is ended, so that it does not outlive the test.
killed() {
  kill -KILL "$server_pid"
  if ! eventually no_threads "$server_pid"; then
    cat /proc/"$server_pid"/task/*/stack >&2
    abort_connection
    forget_server
    return 1
  fi
  abort_connection # another mount may get its number
  forget_server
}

# The kernel's own view of a mount, and its switch to end it.
connection=
watch_connection() { # PATH [PID]: a mount that PID sees
  local number
  number=$(awk -v path="$1" '$5 == path { sub(/.*:/, "", $3); print $3 }' "/proc/${2:-self}/mountinfo")
  mkdir control.fs && mount -t fusectl none control.fs
  connection=$PWD/control.fs/$number
}
is_asking() { (($(cat "$connection/waiting") > 0)); }
abort_connection() {
  [ -n "$connection" ] || return 0
  [ ! -e "$connection" ] || echo 1 >"$connection/abort"
  umount control.fs
  connection=
}

mount_region() { start_server r3-mount --direct "$@"; }
device() { head -1 "$server_out"; }
mounted() { grep -q " $1 .* fuse.r3 " /proc/self/mountinfo; }
inode_size() { stat -c %s "$1"; }
status_of() { "$BIN/r3-mount" --ask status "unix:$1"; }

need_loop() { need "/dev/loop-control" test -c /dev/loop-control; }

@test "a region is a file of its size, and the mount point is as before afterwards" {
  mount_region memory:12345 disk
  [ "$(device)" = "$PWD/disk" ]
  [ "$(stat -c '%s %a %U %F' disk)" = "12345 600 root regular file" ]
  stop_server
  [ "$server_status" = 0 ]
  [ ! -e disk ]
}

@test "bytes written are read back, by offset, to the last one" {
  mount_region memory:10000001 disk
  head -c 10000001 /dev/urandom >data
  dd if=data of=disk bs=1234567 conv=notrunc status=none
  cmp data disk
  echo 1 >/proc/sys/vm/drop_caches
  cmp data disk
}

@test "a file region holds what was written after the end" {
  truncate -s 3000000 below
  mount_region "file:$PWD/below" disk
  head -c 3000000 /dev/urandom >data
  dd if=data of=disk bs=64K conv=notrunc status=none
  stop_server
  cmp data below
}

@test "dirty pages of a mapping reach the region when the mount ends" {
  truncate -s 1M below
  mount_region "file:$PWD/below" disk
  python3 - disk <<'END'
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 0)
m[0:5] = b"first"; m[-4:] = b"last"
os.close(fd); os._exit(0)  # no msync, no munmap
END
  stop_server
  [ "$(head -c 5 below)" = first ]
  [ "$(tail -c 4 below)" = last ]
}

@test "two processes share one mapping" {
  mount_region memory:64K disk
  python3 - disk <<'END'
import mmap, os, sys
def open_map():
    fd = os.open(sys.argv[1], os.O_RDWR)
    return mmap.mmap(fd, 0)
asked, answered = os.pipe(), os.pipe()
if os.fork() == 0:
    m = open_map()
    os.read(asked[0], 1)
    m[4096:4100] = bytes(reversed(m[0:4]))
    os.write(answered[1], b"x")
    os._exit(0)
m = open_map()
m[0:4] = b"ping"
os.write(asked[1], b"x"); os.read(answered[0], 1)
assert m[4096:4100] == b"gnip", m[4096:4100]
os.wait()
END
}

@test "O_DIRECT reads and writes" {
  mount_region memory:8M disk
  head -c 8M /dev/urandom >data
  dd if=data of=disk bs=1M conv=notrunc oflag=direct status=none
  dd if=disk of=back bs=256K iflag=direct status=none
  cmp data back
}

@test "the size never changes: truncation is refused, a write past the end finds no space" {
  mount_region memory:1M disk
  run ! truncate -s 0 disk
  run ! truncate -s 2M disk
  run ! bash -c ': >disk'
  truncate -s 1M disk
  run ! dd if=/dev/zero of=disk bs=1 seek=1M count=1 conv=notrunc
  [[ $output == *"No space left"* ]]
  run ! dd if=/dev/zero of=disk bs=1000 seek=1048 count=1 conv=notrunc # the last 576 bytes fit
  run ! fallocate -o 1M -l 4096 disk
  [ "$(inode_size disk)" = 1048576 ]
}

@test "a write past the end in the last page does not part a mapping from the file" {
  truncate -s 3000320 below
  mount_region "file:$PWD/below" disk
  python3 - disk <<'END'
import ctypes, mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
size = os.fstat(fd).st_size
m = mmap.mmap(fd, size)
last_page = (ctypes.addressof(ctypes.c_char.from_buffer(m)) + size - 1) // 4096
def is_mapped():
    with open("/proc/self/pagemap", "rb") as pages:
        pages.seek(8 * last_page)
        return pages.read(8)[7] & 0x80
for number in range(1, 20):
    m[-4:] = b"\0\0\0%c" % number
    m.flush()
    try:
        os.pwrite(fd, b"x" * number, size)
        sys.exit("a write past the end")
    except OSError:
        pass
    end = time.monotonic() + 10
    while is_mapped():  # what the server does about it comes a moment after the answer
        assert time.monotonic() < end, "the page is still mapped"
    m[-4:] = b"last"
    assert os.pread(fd, 4, size - 4) == b"last", number
END
  stop_server
  [ "$(tail -c 4 below)" = last ]
}

@test "--read-only refuses every write" {
  printf 'hello' >below
  mount_region --read-only "file:$PWD/below" disk
  [ "$(cat disk)" = hello ]
  run ! dd if=/dev/zero of=disk bs=1 count=1 conv=notrunc
  [[ $output == *"Read-only file system"* ]]
}

@test "--mode and --owner decide who may use it" {
  chmod 755 . .. ../..
  mount_region --mode 0640 --owner nobody:nogroup memory:4K disk
  [ "$(stat -c '%a %U %G' disk)" = "640 nobody nogroup" ]
  setpriv --reuid nobody --regid nogroup --clear-groups dd if=/dev/zero of=disk bs=4K count=1 conv=notrunc
  setpriv --reuid daemon --regid nogroup --clear-groups cat disk >/dev/null
  run ! setpriv --reuid daemon --regid nogroup --clear-groups dd if=/dev/zero of=disk bs=1 count=1 conv=notrunc
  run ! setpriv --reuid daemon --regid daemon --clear-groups cat disk
  chmod 0600 disk
  run ! setpriv --reuid daemon --regid nogroup --clear-groups cat disk
}

@test "holes are punched, zeroed and found" {
  mount_region memory:1M disk
  head -c 1M /dev/urandom | dd of=disk bs=1M conv=notrunc iflag=fullblock status=none
  fallocate --punch-hole -o 64K -l 64K disk
  python3 - disk <<'END'
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
assert os.lseek(fd, 0, os.SEEK_HOLE) == 65536
assert os.lseek(fd, 65536, os.SEEK_DATA) == 131072
END
  fallocate --zero-range -o 256K -l 10 disk
  cmp -n 65536 -i 65536:0 disk /dev/zero
  cmp -n 10 -i 262144:0 disk /dev/zero
  run ! cmp -n 11 -i 262144:0 disk /dev/zero
}

@test "sqlite3 keeps a database in it" {
  need sqlite3 command -v sqlite3
  sqlite3 below 'create table t(n integer primary key, s text)'
  truncate -s 4M below # room to grow: sqlite counts its pages itself
  mount_region "file:$PWD/below" disk
  sqlite3 disk "with recursive c(n) as (select 1 union all select n + 1 from c where n < 5000)
    insert into t select n, hex(randomblob(100)) from c; delete from t where n % 3 = 0"
  sqlite3 disk 'pragma integrity_check' | grep -qx ok
  stop_server
  sqlite3 below 'pragma integrity_check; select count(*) from t' | tr '\n' ' ' | grep -qx 'ok 3334 '
}

@test "a made path is printed, passed on, and removed" {
  run -0 "$BIN/r3-mount" --direct memory:4K --run sh -c 'stat -c "%n %s" "$R3_PATH"; exit 7' || [ "$status" = 7 ]
  [ "$status" = 7 ]
  [ "${lines[1]}" = "${lines[0]} 4096" ]
  [ ! -e "${lines[0]}" ]
}

@test "somebody else unmounts it: the tool ends with 0" {
  mount_region memory:4K disk
  umount disk
  eventually gone "$server_pid"
  stop_server
  [ "$server_status" = 0 ]
  [ ! -e disk ]
}

@test "who has it open is named and waited for" {
  mount_region memory:4K disk
  exec 5<disk
  kill -TERM "$server_pid"
  eventually grep -q "is in use by .*bash ($$\|$BASHPID)" "$server_err"
  mounted "$PWD/disk"
  exec 5<&-
  stop_server
  [ "$server_status" = 0 ]
}

@test "who does not let go loses it" {
  mount_region --grace 200ms memory:4K disk
  exec 5<>disk
  stop_server
  [ "$server_status" = 1 ]
  grep -q "taken away" "$server_err"
  run ! mounted "$PWD/disk"
  run ! dd if=/proc/self/fd/5 of=/dev/null bs=1 count=1
  exec 5<&-
}

# holds FILE: a process that has it open, and one that only has it mapped, with changed pages.
hold() {
  python3 - "$1" 3>&- <<'END' &
import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 0)
m[0:4] = b"late"
if os.fork() == 0:
    os.close(fd)
open("held", "a").write("x")
time.sleep(60)
END
  holder=$!
  both() { [ "$(cat held 2>/dev/null)" = xx ]; }
  eventually both
}
let_go() {
  pkill -KILL -P "$holder" || true
  kill -KILL "$holder"
  wait "$holder" || true
}

@test "somebody else unmounts it lazily: who has it open is named, waited for, and loses nothing" {
  truncate -s 64K below
  mount_region --grace 30s "file:$PWD/below" disk
  hold disk
  umount -l disk
  kill -TERM "$server_pid"
  eventually grep -q "is in use by python3.*python3.*: waiting" "$server_err"
  let_go
  stop_server
  [ "$server_status" = 0 ]
  [ "$(head -c 4 below)" = late ]
}

@test "somebody else unmounts it, and the kernel gives its number to the next mount, which stays" {
  mount_region memory:4K one
  local first=$server_pid
  kill -STOP "$first"
  umount one
  mount_region memory:8K two
  kill -CONT "$first"
  eventually gone "$first"
  forget_server "$first"
  [ "$(inode_size two)" = 8192 ]
  stop_server
  [ "$server_status" = 0 ]
}

@test "somebody else unmounts it lazily: who does not let go loses it, but not what was written" {
  truncate -s 64K below
  mount_region --grace 200ms "file:$PWD/below" disk
  hold disk
  umount -l disk
  mount_pid=$server_pid mount_err=$server_err
  mount_region memory:4K disk # another mount at the same path is not ours to take away
  stop_server "$mount_pid"
  let_go
  [ "$server_status" = 1 ]
  grep -q "taken away" "$mount_err"
  [ "$(head -c 4 below)" = late ]
  [ "$(inode_size disk)" = 4096 ]
}

@test "a directory above it gets another name: it ends as before" {
  mkdir old
  mount_region memory:4K old/disk
  mv old new
  stop_server
  [ "$server_status" = 0 ]
  [ ! -e new/disk ]
}

@test "after kill -9 the next start cleans the dead mount point" {
  mount_region memory:4K disk
  kill -KILL "$server_pid"
  forget_server
  run ! stat disk
  [[ $output == *"not connected"* ]]
  mount_region memory:8K disk
  [ "$(inode_size disk)" = 8192 ]
}

@test "a live mount, a full file, a directory are refused" {
  mount_region memory:4K disk
  run -1 "$BIN/r3-mount" --direct memory:4K disk
  [[ $output == *"is mounted there"* ]]
  run -1 "$BIN/r3-mount" --direct --force memory:4K disk
  echo precious >file
  run -1 "$BIN/r3-mount" --direct memory:4K file
  [[ $output == *"not empty"* ]]
  run -1 "$BIN/r3-mount" --direct memory:4K .
  [ "$(cat file)" = precious ]
  run -0 "$BIN/r3-mount" --direct --force memory:4K file --run sh -c 'stat -c %s file'
  [ "${lines[1]}" = 4096 ]
  [ "$(cat file)" = precious ]
}

# In a mount namespace where /dev/fuse is everybody's, as udev makes it.
as_nobody() { (exec_as_nobody "$@"); }
exec_as_nobody() {
  exec unshare -m --propagation private sh -c 'mknod -m 666 fuse-node c 10 229 && mount --bind fuse-node /dev/fuse &&
    exec setpriv --reuid nobody --regid nogroup --clear-groups "$@"' sh "$@"
}

@test "an ordinary user mounts, uses and unmounts; root and others stay out" {
  need fusermount3 command -v fusermount3
  chmod 755 .. ../..
  chmod 777 .
  run -0 as_nobody "$BIN/r3-mount" --direct --mode 0644 memory:1M disk --run sh -c '
    dd if=/dev/urandom of=disk bs=1M count=1 conv=notrunc status=none && stat -c "%U %s" disk'
  [[ $output == *"hint:"*user_allow_other* ]]
  [ "${lines[-1]}" = "nobody 1048576" ]
  [ ! -e disk ]
}

@test "an ordinary user's mount ends too while somebody has it open" {
  need fusermount3 command -v fusermount3
  chmod 755 .. ../..
  chmod 777 .
  run -1 as_nobody "$BIN/r3-mount" --direct --grace 200ms memory:1M disk --run sh -c 'exec 5<disk; sleep 60 >/dev/null 2>&1 3>&- & echo $! >pid'
  kill "$(cat pid)"
  [[ $output == *"in use by sleep"*"taken away"* ]]
  [ ! -e disk ]
}

@test "an ordinary user's mount ends though a directory got another name, and fusermount3 is not in PATH" {
  need fusermount3 command -v fusermount3
  chmod 755 .. ../..
  chmod 777 .
  run -0 as_nobody sh -c 'mkdir old && PATH=/nowhere "$1" --direct memory:1M old/disk --run /bin/mv old new' sh "$BIN/r3-mount"
  [ ! -e new/disk ]
}

@test "root cleans the dead mount of a user, and leaves a live one alone" {
  need fusermount3 command -v fusermount3
  chmod 755 .. ../..
  chmod 777 .
  mknod -m 666 fuse-node c 10 229
  cat >test.sh <<'END'
mount --bind fuse-node /dev/fuse
setpriv --reuid nobody --regid nogroup --clear-groups "$BIN/r3-mount" --direct memory:1M disk 9>&- >out &
until [ -s out ]; do sleep 0.02; done
"$BIN/r3-mount" --direct memory:4K disk 2>live && exit 1
grep -q "is mounted there" live || exit 1
# Its helper, which would clean up, is killed first.
for helper in $(pgrep -x fusermount3); do [ "$(readlink /proc/$helper/ns/mnt)" != "$(readlink /proc/self/ns/mnt)" ] || kill -KILL "$helper"; done
kill -KILL $!
wait
"$BIN/r3-mount" --direct memory:4K disk --run stat -c %s disk
END
  run -0 unshare -m --propagation private bash test.sh
  [ "${lines[-1]}" = 4096 ]
}

@test "status and flush on the control socket" {
  mount_region --control "unix:$PWD/control" memory:1M disk
  dd if=/dev/zero of=disk bs=64K count=1 conv=notrunc status=none
  status_of control | jq -e '.size == 1048576 and .written_bytes == 65536 and .lost_bytes == 0'
  "$BIN/r3-mount" --ask flush "unix:control" | jq -e .flushed
  "$BIN/r3-mount" --ask stop "unix:control"
  eventually gone "$server_pid"
}

@test "loop: a block device with an ext4 file system, git and gcc on it" {
  need_loop
  need mkfs.ext4 command -v mkfs.ext4
  truncate -s 64M below
  mount_region --driver loop "file:$PWD/below" link
  [ -b "$(readlink link)" ]
  [ "$(cat "/sys/block/$(basename "$(readlink link)")/loop/dio")" = 1 ]
  [ "$(blockdev --getss link)" = 512 ]
  mkfs.ext4 -q link
  mkdir fs
  mount link fs
  (
    cd fs
    git init -q repository && cd repository
    printf 'int main(void) { return 42; }\n' >answer.c
    git add answer.c && git -c user.name=a -c user.email=a@b commit -qm one
    cc answer.c -o answer
    ./answer || [ $? = 42 ]
    git fsck --strict
    sqlite3 db 'create table t(n); insert into t values(1),(2); pragma integrity_check' | grep -qx ok
  )
  umount fs
  e2fsck -fn link
  stop_server
  [ "$server_status" = 0 ]
  [ ! -L link ]
  e2fsck -fn below
}

@test "loop: partitions and file systems of an image are where its maker put them" {
  need_loop
  need sfdisk command -v sfdisk
  truncate -s 16M below
  printf 'label: gpt\n,4M\n,4M\n' | sfdisk -q below
  mkfs.ext4 -q -b 1024 -E offset=1048576 below 4M
  mount_region --driver loop "file:$PWD/below" link
  [ "$(partx -g -o START link | xargs)" = "2048 10240" ]
  mkdir fs
  mount -o ro,loop,offset=1048576 link fs
  umount fs
}

@test "loop: sectors of 512 bytes; odd sizes are refused" {
  need_loop
  mount_region --driver loop memory:1536 link
  [ "$(blockdev --getss link)" = 512 ]
  [ "$(blockdev --getsize64 link)" = 1536 ]
  run -2 "$BIN/r3-mount" --direct --driver loop memory:1000
  [[ $output == *"--driver: the region has 1000 bytes; a block device has a multiple of 512, and not 0" ]]
}

@test "loop: mode and owner of the node, and as they were afterwards; read-only" {
  need_loop
  mount_region --driver loop --read-only --mode 0440 --owner nobody memory:1M
  node=$(device)
  [ "$(stat -c '%a %U' "$node")" = "440 nobody" ]
  [ "$(blockdev --getro "$node")" = 1 ]
  stop_server
  [ "$(stat -c '%a %U' "$node")" = "600 root" ]
}

@test "loop: while it is mounted it is not taken away" {
  need_loop
  mount_region --driver loop memory:16M link
  mkfs.ext4 -q link
  mkdir fs
  mount link fs
  kill -TERM "$server_pid"
  eventually grep -q "in use.* by the mount $PWD/fs" "$server_err"
  echo data >fs/file
  umount fs
  stop_server
  [ "$server_status" = 0 ]
}

@test "loop: who has it open is named and waited for once, then loses it" {
  need_loop
  mount_region --driver loop --grace 700ms memory:16M link
  exec 5<./link
  STOP_PATIENCE=10 stop_server
  [ "$server_status" = 1 ]
  [ "$(grep -c "in use by bash.*: waiting" "$server_err")" = 1 ]
  grep -q "taken away from those who used it" "$server_err"
  exec 5<&-
}

@test "loop: swap is named" {
  need_loop
  mount_region --driver loop memory:16M link
  mkswap -q link
  swapon link || skip "needs swap"
  kill -TERM "$server_pid"
  eventually grep -q "in use.*swap.*: waiting" "$server_err" || { swapoff "$(readlink link)"; return 1; }
  swapoff "$(readlink link)"
  stop_server
  [ "$server_status" = 0 ]
}

@test "loop: somebody else detaches it: the tool ends with 0, and leaves the next user of the number alone" {
  need_loop
  truncate -s 1M other
  mount_region --driver loop memory:16M link
  node=$(readlink link)
  kill -STOP "$server_pid" # it must not be fast enough
  losetup -d "$node" &
  detaching=$!
  for i in {1..100}; do kill -CONT "$server_pid"; [ -e "/sys/block/$(basename "$node")/loop" ] || break; sleep 0.02; done
  wait "$detaching"
  losetup "$node" other
  eventually gone "$server_pid"
  stop_server
  [ "$server_status" = 0 ]
  [ "$(losetup -nO BACK-FILE "$node")" = "$PWD/other" ]
  losetup -d "$node"
  [ ! -L link ]
}

@test "loop: a relative path is passed on as an absolute one" {
  need_loop
  run -0 "$BIN/r3-mount" --direct --driver loop memory:1M link --run sh -c 'cd / && blockdev --getsize64 "$R3_PATH"'
  [ "${lines[*]}" = "$PWD/link 1048576" ]
}

# Another project's NBD server, on $PWD/nbd.
start_nbd() {
  need nbdkit command -v nbdkit
  rm -f nbd
  nbdkit --foreground --exit-with-parent -U "$PWD/nbd" --pidfile "$PWD/nbd.pid" "$@" 3>&- &
  nbd_pid=$!
  eventually test -s nbd.pid
}
stop_nbd() {
  [ -n "${nbd_pid:-}" ] || return 0
  kill -KILL "$nbd_pid"
  wait "$nbd_pid" || true
  nbd_pid='' && rm -f nbd.pid
}
waiting() { status_of control | jq -e ".waiting >= $1"; }

@test "nbd: the bytes of another project's server, both ways" {
  head -c 5M /dev/urandom >below
  cp below copy
  start_nbd file below
  mount_region "nbd+unix:///?socket=$PWD/nbd" disk
  cmp disk copy
  head -c 5M /dev/urandom >data
  dd if=data of=disk bs=300K conv=notrunc,fsync status=none
  cmp data below
}

@test "nbd: what waits while the server is dead goes on when it is back, with the right bytes" {
  head -c 4M /dev/urandom >below
  cp below copy
  start_nbd file below
  mount_region --control "unix:$PWD/control" "nbd+unix:///?socket=$PWD/nbd" disk
  cmp -n 4096 disk copy
  stop_nbd
  dd if=disk of=back bs=64K iflag=direct status=none &
  reader=$!
  dd if=/dev/zero of=disk bs=4K count=1 conv=notrunc oflag=direct status=none &
  writer=$!
  eventually waiting 2
  [ "$(stat -c %s disk)" = 4194304 ] # who does not need the server does not wait
  start_nbd file below
  wait "$writer"
  wait "$reader"
  cmp -i 4096 back copy
  cmp -n 4096 below /dev/zero
}

@test "nbd: --io-timeout makes an outage an error" {
  start_nbd memory 1M
  mount_region --io-timeout 300ms "nbd+unix:///?socket=$PWD/nbd" disk
  stop_nbd
  run ! dd if=disk of=/dev/null bs=4K count=1 iflag=direct
  [[ $output == *"Input/output error"* ]]
  start_nbd memory 1M
  eventually dd if=disk of=/dev/null bs=4K count=1 iflag=direct
}

@test "nbd: a dead server and nothing unwritten: TERM ends at once" {
  start_nbd memory 1M
  mount_region "nbd+unix:///?socket=$PWD/nbd" disk
  dd if=disk of=/dev/null bs=64K status=none
  stop_nbd
  stop_server
  [ "$server_status" = 0 ]
}

@test "nbd: a flush that a dead server holds up does not hold up TERM" {
  start_nbd memory 1M
  mount_region --grace 300ms --control "unix:$PWD/control" "nbd+unix:///?socket=$PWD/nbd" disk
  echo x | dd of=disk bs=4K conv=notrunc,sync status=none
  stop_nbd
  "$BIN/r3-mount" --ask flush "unix:$PWD/control" >answer 2>&1 3>&- &
  asker=$!
  eventually waiting 1
  STOP_PATIENCE=15 stop_server
  run ! wait "$asker"
  run ! mounted "$PWD/disk"
}

@test "nbd: a dead server and dirty pages: TERM gives up after --grace, and says what is lost" {
  start_nbd memory 1M
  mount_region --grace 300ms "nbd+unix:///?socket=$PWD/nbd" disk
  python3 - disk <<'END' &
import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 0)
m[0:8192] = b"x" * 8192
open("dirty", "w")
time.sleep(60)
END
  python=$!
  eventually test -e dirty
  stop_nbd
  stop_server
  kill "$python"
  [ "$server_status" = 1 ]
  grep -q "giving up" "$server_err"
  grep -q "bytes were not written" "$server_err"
  run ! mounted "$PWD/disk"
}

@test "nbd: a dead server, readers that wait: TERM ends them with an error" {
  start_nbd memory 1M
  mount_region --grace 300ms --control "unix:$PWD/control" "nbd+unix:///?socket=$PWD/nbd" disk
  stop_nbd
  cat disk >/dev/null 2>err &
  reader=$!
  eventually waiting 1
  stop_server
  run ! wait "$reader"
  run ! mounted "$PWD/disk"
}

@test "nbd, loop: TERM while the server is dead takes the device away" {
  need_loop
  start_nbd memory 1M
  mount_region --driver loop --grace 300ms "nbd+unix:///?socket=$PWD/nbd" link
  dd if=/dev/zero of=link bs=64K count=1 status=none # in the device's page cache
  stop_nbd
  STOP_PATIENCE=20 stop_server
  [ "$server_status" = 1 ]
  [ ! -L link ]
}

# leave_dirty FILE [PREFIX...]: leaves pages in its cache that only a mapping has changed, and that nobody
# waits for.
leave_dirty() {
  "${@:2}" python3 - "$1" <<'END'
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 0)
os.close(fd)
m[0:8192] = b"x" * 8192
os._exit(0)
END
}

@test "nbd: kill -9 while it waits for a dead server at the end" {
  start_nbd memory 1M
  mount_region "nbd+unix:///?socket=$PWD/nbd" disk
  watch_connection "$PWD/disk"
  leave_dirty disk
  stop_nbd
  kill -TERM "$server_pid"
  eventually is_asking
  killed
  umount disk
}

@test "nbd: kill -9 while it waits for a dead server at the end, as an ordinary user" {
  need fusermount3 command -v fusermount3
  chmod 755 .. ../..
  chmod 777 .
  start_nbd memory 1M
  chmod 666 nbd
  printf '#!/bin/bash\n%s; exec_as_nobody "%s" "$@"\n' "$(declare -f exec_as_nobody)" "$BIN/r3-mount" >nobody-mount
  chmod +x nobody-mount
  BIN=$PWD start_server nobody-mount --direct "nbd+unix:///?socket=$PWD/nbd" "$PWD/disk"
  watch_connection "$PWD/disk" "$server_pid"
  leave_dirty "$PWD/disk" nsenter -t "$server_pid" -m \
    setpriv --reuid nobody --regid nogroup --clear-groups env PATH=/usr/bin:/bin
  stop_nbd
  kill -TERM "$server_pid"
  eventually is_asking
  killed
}

@test "loop: kill -9 while the kernel holds what was not written" {
  need_loop
  mount_region --driver loop memory:1M link
  watch_connection "$(losetup -nO BACK-FILE "$(readlink link)")"
  exec 5<>./link
  dd if=/dev/zero of=/dev/fd/5 bs=64K count=1 status=none
  exec 5<&-
  killed
  node=$(readlink link) backing=$(losetup -nO BACK-FILE "$(readlink link)")
  mount_region --driver loop memory:2M link # takes away what is left of the dead one
  run ! grep -qs "$backing" /sys/block/loop*/loop/backing_file
  run ! mounted "$backing"
  [ ! -e "${backing%/*}" ]
  [ "$(blockdev --getsize64 link)" = 2097152 ]
}

@test "nbd, loop: kill -9 while it waits for a dead server at the end" {
  need_loop
  start_nbd memory 1M
  mount_region --driver loop "nbd+unix:///?socket=$PWD/nbd" link
  watch_connection "$(losetup -nO BACK-FILE "$(readlink link)")"
  exec 5<>./link
  dd if=/dev/zero of=/dev/fd/5 bs=64K count=1 status=none
  stop_nbd
  kill -TERM "$server_pid"
  eventually is_asking
  killed
  exec 5<&-
  mount_region --driver loop memory:1M link # takes away what is left of the dead one
}
