# SPDX-License-Identifier: Apache-2.0
# What stands before a page's commands: a small world in which they make sense. The tools that stay in the
# foreground are started in the background, and waited for until they are ready.
# shellcheck shell=bash
set -eo pipefail
export PATH=/run/wrap:/run/bin:$PATH HOME=/root
ip link set lo up
echo '127.0.0.1 host localhost
127.0.0.2 server
127.0.0.3 old-host' >/etc/hosts
mkdir -p /run/wrap /run/work /srv /copies/1 /copies/2 /copies/3 /var/copies /var/cache /etc/r3tools
cd /run/work

cat >/run/wrap/tool <<'END'
#!/bin/bash
real=/run/bin/${0##*/}
# The key that a page shows stands for the one that is here.
[[ ! -e /run/server.pub ]] || set -- "${@/#r3pk1_*/$(cat /run/server.pub)}"
for word; do
  case $word in
    --ask) # what is asked may have been started just now
      for _ in {1..500}; do
        "$real" "$@" >/run/answer 2>&1 && break
        sleep 0.02
      done
      cat /run/answer
      exec grep -qv '"error"' /run/answer ;;
    ask) # r3-leech --finalize ask: not ready before it is told to
      "$real" "$@" & echo $! >>/run/started; exit 0 ;;
    --ready-fd) echo $$ >>/run/started; exec "$real" "$@" ;;
    --run | --once | - | -c) exec "$real" "$@" ;;
  esac
done
mkfifo "/run/ready.$$"
"$real" "$@" --ready-fd 9 --events-fd 8 9>"/run/ready.$$" 8>/run/events &
echo $! >>/run/started
IFS= read -r -t 30 _ <"/run/ready.$$" || { echo "not ready: ${0##*/} $*" >&2; exit 1; }
[[ $real != */r3-leech ]] || for _ in {1..500}; do ! grep -q '"complete"' /run/events || break; sleep 0.02; done
END
cat >/run/wrap/ssh <<'END'
#!/bin/sh
[ "$1" = host ] || exit 255
shift
exec sh -c "$*"
END
cat >/run/wrap/app <<'END'
#!/bin/sh
cat "$1" >/run/app.state
END
cat >/run/wrap/docker <<'END'
#!/bin/sh
echo "$0 $*" >>/run/called
END
cp /run/wrap/docker /run/wrap/systemctl
chmod +x /run/wrap/*
for tool in nbd-serve r3-mount ram-ul uffd-serve mmap-hashsync r3-seed r3-leech; do ln -s tool /run/wrap/$tool; done

# next N: before the Nth example, the tools of the one before end.
next() {
  local pid
  [[ ! -e /run/started ]] || while read -r pid; do
    umount /mnt 2>/dev/null || true
    kill "$pid" 2>/dev/null || continue
    for _ in {1..500}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.02; done
  done < <(tac /run/started)
  rm -f /run/started
  if [[ $PAGE == r3-leech.1 && $1 == 2 ]]; then # the other region's seeder
    for _ in {1..500}; do [[ ! -e /run/second ]] || break; sleep 0.02; done
    up old-host 10833
  fi
}
tidy() {
  local status=$?
  set +e
  next
  # shellcheck disable=SC2046  # a list
  kill $(jobs -p) 2>/dev/null
  exit "$status"
}
trap tidy EXIT

truncate -s 16M disk.img
mkfs.ext4 -q disk.img
head -c 4M /dev/urandom >state.img
cp state.img /srv/state.img
cp state.img /srv/image
cp state.img db.img
cp disk.img /srv/disk.img
cp state.img /dev/vdb
serve() { "$@" >/dev/null & } # what is at the other host
up() { for _ in {1..500}; do ! (: <"/dev/tcp/$1/$2") 2>/dev/null || return 0; sleep 0.02; done; return 1; }

case $PAGE in
  r3-mount.1 | uffd-serve.1)
    sqlite3 music.db 'CREATE TABLE album (id); INSERT INTO album VALUES (1), (2);'
    serve /run/bin/nbd-serve --plain -l tcp://server:10809 music=music.db vm.mem=state.img disk=disk.img
    /run/bin/r3-key psk -o lab.psk
    serve /run/bin/ram-ul -l tcp://server:10833 --psk-file lab.psk 64M data=state.img
    up server 10809 && up server 10833 ;;
  r3-seed.1 | r3-leech.1)
    /run/bin/r3-key psk -o psk
    [[ $PAGE == r3-seed.1 ]] || (
      cp /srv/state.img old.state
      cp disk.img old.disk
      truncate -s 0 state.img disk.img
      truncate -s 4M state.img
      truncate -s 16M disk.img
      exec >/dev/null
      /run/bin/r3-seed --driver none -l tcp://old-host:10833 --psk-file psk old.state
      touch /run/second
      /run/bin/r3-seed --driver none -l tcp://old-host:10833 --psk-file psk old.disk
    ) &
    [[ $PAGE == r3-seed.1 ]] || up old-host 10833 ;;
  ram-ul.1)
    printf '%s\n' 'r3pk1_ONAv13ZN2alLlVMzKqKFSVcag8IScccJxkNz8InPzztR4-Cs alice rw *' >peers ;;
  mmap-hashsync.1)
    /run/bin/r3-key gen -o recv.key
    /run/bin/r3-key gen -o send.key
    echo "$(/run/bin/r3-key pub send.key) sender rw *" >peers
    /run/bin/r3-key pub recv.key >/run/server.pub
    mkdir copies
    serve /run/bin/mmap-hashsync recv copies -l unix:/run/copies.sock
    for _ in {1..500}; do [[ ! -S /run/copies.sock ]] || break; sleep 0.02; done ;;
esac
set -x
