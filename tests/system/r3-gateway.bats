#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# r3 regions where tools take regions: mounted by r3-mount, and served on to NBD clients by nbd-serve.
load ../helper

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  head -c 3000001 /dev/urandom >image
  cp image copy
}

# mounted REGION: reads the region, writes to it, and sees both in the image.
mounted() {
  need_mounts
  : >file
  start_server r3-mount --direct "$1" file
  cmp file copy
  echo changed | dd of=file bs=1 seek=1000000 conv=notrunc,fsync status=none
  echo changed | dd of=copy bs=1 seek=1000000 conv=notrunc status=none
  cmp file copy
  stop_server
  cmp image copy
}

@test "r3-mount: r3+unix" {
  start_server ram-ul -l "unix:$PWD/s" disk=image
  mounted "r3+unix:///disk?socket=$PWD/s"
}

@test "r3-mount: r3 over TCP, encrypted" {
  "$BIN/r3-key" gen -o server.key 2>/dev/null
  "$BIN/r3-key" gen -o client.key 2>/dev/null
  (umask 077; echo "$("$BIN/r3-key" pub client.key) c rw *" >peers)
  start_server ram-ul --json -l tcp://127.0.0.1:0 --key-file server.key --peer-keys peers image
  address=$(sed -n 's/.*"address":"tcp:\([^"]*\)".*/\1/p' "$server_out")
  mounted "r3:$address/?server-key=$("$BIN/r3-key" pub server.key)&key-file=client.key"
}

@test "r3-mount: r3+exec" { mounted "r3+exec:$BIN/ram-ul -l - $PWD/image"; }

@test "r3-mount: r3+fd" {
  need "python3" command -v python3
  need_mounts
  : >file
  cat >pass.py <<'EOF'
import os, socket, subprocess, sys
ours, theirs = socket.socketpair()
with theirs:
    server = subprocess.Popen([sys.argv[1] + "/ram-ul", "-l", "-", "image"], stdin=theirs, stdout=theirs)
code = subprocess.call([sys.argv[1] + "/r3-mount", "--direct", f"r3+fd:{ours.fileno()}", "file",
                        "--run", "cmp", "file", "copy"], pass_fds=[ours.fileno()])
ours.close()
sys.exit(code or server.wait())
EOF
  timeout 30 python3 pass.py "$BIN"
}

@test "nbd-serve takes r3 regions on to NBD clients" {
  need "nbdcopy" command -v nbdcopy
  start_server ram-ul -l "unix:$PWD/s" image
  start_server nbd-serve -l "unix:$PWD/n" "r3+unix:///?socket=$PWD/s"
  nbdcopy "nbd+unix:///?socket=$PWD/n" out
  cmp -n 3000001 out copy
  head -c 3000001 /dev/urandom >copy
  nbdcopy --flush copy "nbd+unix:///?socket=$PWD/n"
  cmp image copy
}

@test "a listener for everybody needs keys, or --plain" {
  run -2 "$BIN/ram-ul" -l tcp://0.0.0.0:0 1M
  [[ $output == *"--plain"* ]]
  start_server ram-ul -l tcp://0.0.0.0:0 --plain 1M
  stop_server
  "$BIN/r3-key" psk -o psk
  start_server ram-ul -l tcp://0.0.0.0:0 --psk-file psk 1M
}

# The tool's own threads are counted by the events; one outage, however many requests there were.
@test "a server that hangs: one outage, said with its address, and the end that the user chose" {
  need_mounts
  start_server ram-ul -l "unix:$PWD/s" 4M
  server=$server_pid
  start_server r3-mount --direct --io-timeout 1s --events-fd 7 "r3+unix:///?socket=$PWD/s" disk 7>events
  mount_err=$server_err
  dd if=disk of=/dev/null bs=4K count=1 iflag=direct status=none
  kill -STOP "$server"
  # Thirty requests; each by itself would take its second, the test's own time ends that.
  for _ in $(seq 30); do run ! dd if=disk of=/dev/null bs=1M count=1 iflag=direct; done
  [[ $output == *"Input/output error"* ]]
  eventually grep '"event":"disconnected"' events
  grep "r3-mount: warning: unix:$PWD/s: connection lost: the server does not answer; .*requests fail after 1000ms" "$mount_err"
  kill -CONT "$server"
  eventually grep '"event":"reconnected"' events
  eventually dd if=disk of=/dev/null bs=4K count=1 iflag=direct
  grep "unix:$PWD/s: connected again" "$mount_err"
  [ "$(grep -c disconnected events)" = 1 ]
}
