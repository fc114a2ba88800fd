# SPDX-License-Identifier: Apache-2.0
# What the tests of r3-seed and r3-leech have in common (load migration, after helper).

setup() {
  need_mounts
  cd "$BATS_TEST_TMPDIR" || return
}

teardown() {
  local status=0
  stop_servers || status=$?
  [[ -n $BATS_TEST_COMPLETED ]] || tail -n 20 leech.err leech.events seed.events >&2 || true
  unmount_all || true # what was killed left them
  return "$status"
}

region() { echo "r3+unix:///?socket=$BATS_TEST_TMPDIR/$1"; }
event() { grep -q "\"event\":\"$2\"" "$1"; }
status_of() { "$BIN/$1" --ask status "unix:$2"; }
phase_is() { [[ $(status_of "$1" "$2") == *"\"phase\":\"$3\""* ]]; }
all_is_here() { [[ $(status_of r3-leech leech.ctl) == *'"percent":100'* ]]; }

# seed ARGS...: a seeder of a.img at the path a, socket s.
seed() {
  start_server r3-seed --control unix:seed.ctl --events-fd 8 -l unix:s "$@" 8>>seed.events
  seeder=$server_pid
}

# leech ARGS...: in the background; it is ready only when the region is here.
leech() {
  "$BIN/r3-leech" --control unix:leech.ctl --events-fd 8 "$@" 8>>leech.events >leech.out 2>leech.err 3>&- &
  leecher=$!
  servers+=("$leecher")
}

# complete: the leecher has all, and the seeder is gone.
complete() {
  PATIENCE=60 eventually event leech.events complete
  eventually gone "$seeder"
  forget_server "$seeder"
}

# link NAME TARGET OPTIONS...: a bad network in front of a socket. seed.err stays the seeder's.
link() {
  local held=$server_err
  start_server tests/fault/faultproxy -l "unix:$1" -c "unix:$2" "${@:3}"
  server_err=$held
}
