# SPDX-License-Identifier: Apache-2.0
# The Debian packages: as lintian wants them, put into a root and taken out again, their units run by a
# real systemd. They are packed from the binaries that are there; tests/system/deb_long builds them from
# the sources.
load ../helper

setup_file() {
  export DEBS=$BATS_FILE_TMPDIR/deb
  if command -v lintian dh dpkg-buildpackage >/dev/null; then
    PREBUILT=$BIN LINTIAN=true "$BATS_TEST_DIRNAME/../../scripts/make-deb" "$DEBS" >"$BATS_FILE_TMPDIR/log" 2>&1 || return 0
    # It takes its time, and the other tests need not wait.
    { lintian --fail-on error,warning --allow-root "$DEBS"/*.changes && echo accepted || echo refused; } >"$BATS_FILE_TMPDIR/lintian" 2>&1 3>&- &
  fi
}

setup() {
  need "lintian, debhelper and dpkg-dev" command -v lintian dh dpkg-buildpackage
}

in_root() { # SCRIPT [--systemd]
  need_root
  "$ROOT/tests/system/deb_root" "$@"
}

@test "deb: the packages are made" {
  [[ -s $DEBS/r3tools_$(dpkg-parsechangelog -l "$ROOT/scripts/debian/changelog" -S Version)_$(dpkg --print-architecture).deb ]] ||
    { cat "$BATS_FILE_TMPDIR/log" >&2; return 1; }
}

@test "deb: the package's version is the tools', and it needs for building what install-deps says" {
  [[ "r3-key $(dpkg-parsechangelog -l "$ROOT/scripts/debian/changelog" -S Version)" == "$("$BIN/r3-key" --version)" ]]
  diff <(sed -n '/^Build-Depends:/,/^[S]/p' "$ROOT/scripts/debian/control" | tr -d ' ,' | grep -E '^lib|pkg-config' | sort) \
    <(sed -n '/\[build\]=/,/"$/p' "$ROOT/scripts/install-deps" | tr -d '"' | tr ' ' '\n' | grep -E '^lib|pkg-config' | sort)
}

@test "deb: installed, then removed without a trace" {
  cat >"$BATS_TEST_TMPDIR/script" <<'END'
dpkg --no-triggers -i /run/deb/*.deb
for tool in /usr/bin/r3-* /usr/bin/ram-* /usr/bin/nbd-serve; do "$tool" --version; done
test -x /usr/libexec/r3tools/region-redis -a -s /lib/systemd/system/ram-dl@.service -a -d /etc/r3tools
dpkg --no-triggers --purge r3tools-dev r3tools-regions r3tools
END
  mkdir "$BATS_TEST_TMPDIR/upper"
  UPPER=$BATS_TEST_TMPDIR/upper in_root "$BATS_TEST_TMPDIR/script"
  # What dpkg itself keeps, and where something was mounted, is all that is left.
  cd "$BATS_TEST_TMPDIR/upper" || return
  [[ -s var/lib/dpkg/status ]]
  run find . ! -type d ! -path './var/lib/dpkg/*' ! -path './var/log/*' ! -path './dev/*'
  [[ -z $output ]] || { echo "left: $output" >&2; return 1; }
  run find . -name 'r3*' ! -path './var/lib/dpkg/*'
  [[ -z $output ]] || { echo "left: $output" >&2; return 1; }
}

@test "deb: the units are in order, and closed as far as their work allows" {
  need systemd-analyze command -v systemd-analyze
  cd "$BATS_TEST_TMPDIR" || return
  local unit limit
  # Mounts and devices for all to see are made with powers: there less can be closed.
  for unit in nbd-serve=25 ram-ul=25 ram-dl=40 r3-mount=50; do
    limit=${unit#*=} unit=${unit%=*}
    sed "s|@BINDIR@|$BIN|" "$ROOT/tools/$unit/$unit@.service" >"$unit@test.service"
    systemd-analyze verify --man=no "./$unit@test.service"
    systemd-analyze security --offline=true --threshold="$limit" "./$unit@test.service"
  done
}

@test "deb: under systemd, the units serve, mount, read keys again and stop" {
  need systemd test -x /lib/systemd/systemd
  need cgroup2 grep -q cgroup2 /proc/filesystems
  need /dev/fuse test -c /dev/fuse
  cat >"$BATS_TEST_TMPDIR/script" <<'END'
dpkg --no-triggers -i /run/deb/r3tools_*.deb
systemctl daemon-reload
truncate -s 8M /srv/disk.img
cd /etc/r3tools
echo 'ARGS=-l unix:/run/r3tools/disk.sock d=/srv/disk.img' >nbd-serve@disk.conf
r3-key psk -o psk
echo 'ARGS=-l unix:/run/r3tools/ram.sock --psk-file /etc/r3tools/psk 64M' >ram-ul@ram.conf
echo 'ARGS=r3+unix:///?socket=/run/r3tools/ram.sock&psk-file=/etc/r3tools/psk /srv/ram' >r3-mount@ram.conf
echo 'ARGS=nbd+unix:///d?socket=/run/r3tools/disk.sock /srv/disk' >r3-mount@disk.conf
systemctl start nbd-serve@disk ram-ul@ram
systemctl start r3-mount@ram r3-mount@disk
for file in ram disk; do
  dd if=/etc/services of=/srv/$file bs=4K count=2 conv=notrunc,fsync
  cmp -n 8192 /etc/services /srv/$file
done
cmp -n 8192 /etc/services /srv/disk.img
systemctl reload ram-ul@ram
systemctl stop r3-mount@disk r3-mount@ram
systemctl stop ram-ul@ram nbd-serve@disk
test ! -e /srv/ram -a ! -e /srv/disk
for unit in r3-mount@ram r3-mount@disk ram-ul@ram nbd-serve@disk; do
  test "$(systemctl is-failed $unit)" = inactive
done
END
  rm -f "$DEBS/result"
  need_root
  setsid "$ROOT/tests/system/deb_root" "$BATS_TEST_TMPDIR/script" --systemd 3>&- &
  local inside=$!
  PATIENCE=60 eventually test -s "$DEBS/result" || true
  # With its first process, all of the root's processes and mounts end.
  kill -KILL "$inside"
  wait "$inside" || true
  [[ $(cat "$DEBS/result") == 0 ]] || { cat "$DEBS/output" >&2; return 1; }
}

@test "deb: lintian accepts the packages" {
  PATIENCE=100 eventually grep -qxE 'accepted|refused' "$BATS_FILE_TMPDIR/lintian"
  [[ $(cat "$BATS_FILE_TMPDIR/lintian") == accepted ]] || { cat "$BATS_FILE_TMPDIR/lintian" >&2; return 1; }
}
