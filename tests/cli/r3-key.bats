#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# r3-key from outside: what it prints where, modes of files, and what it refuses.
load ../helper
# shellcheck disable=SC2154 # run sets stderr
setup() {
  mkdir "$BATS_TEST_TMPDIR/work"
  cd "$BATS_TEST_TMPDIR/work" || exit
  key=$BIN/r3-key
}

body='[A-Za-z0-9_-]{48}'

mode() { stat -c %a "$1"; }

# What CMD prints on a terminal, and its exit status.
on_terminal() { run script -qec "$*" /dev/null </dev/null; }

@test "gen writes a key file of mode 0600 and shows the public key on stderr" {
  umask 0
  "$key" gen -o node.key >out 2>err
  [[ ! -s out ]]
  [[ $(mode node.key) == 600 ]]
  grep -Eqx "public key: r3pk1_$body" err
  [[ $(sed -n 1p node.key) =~ ^"# created "20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z$ ]]
  [[ $(sed -n 2p node.key) == "# $(cat err)" ]]
  [[ $(sed -n 3p node.key) =~ ^r3sk1_$body$ ]]
  [[ $(wc -l <node.key) == 3 ]]
  [[ $(ls) == $'err\nnode.key\nout' ]] # nothing temporary is left
}

@test "gen writes to a pipe" {
  "$key" gen 2>err | tee out | "$key" pub >public
  [[ $(cat err) == "public key: $(cat public)" ]]
  run ! grep -q "$(tail -1 out)" err
}

@test "pub shows the public key of a file, of stdin and of -" {
  "$key" gen -o node.key 2>err
  for arguments in node.key - ""; do
    # shellcheck disable=SC2086 # no word is an argument, too
    run --separate-stderr "$key" pub $arguments <node.key
    [[ $status == 0 && $stderr == "" ]]
    [[ "public key: $output" == "$(cat err)" ]]
  done
}

@test "the public key is what X25519 makes of the private key" {
  need openssl openssl version
  "$key" gen -o node.key 2>/dev/null
  raw() { sed -n "/^$1/s/^$1//p" | tr -- -_ +/ | base64 -d | head -c 32; }
  { printf '302e020100300506032b656e04220420' | xxd -r -p; raw r3sk1_ <node.key; } |
    openssl pkey -inform DER -pubout -outform DER | tail -c 32 | xxd -p >expected
  "$key" pub node.key | raw r3pk1_ | xxd -p >got
  diff expected got
}

@test "psk makes another key each time" {
  "$key" psk -o lab.psk 2>err
  [[ ! -s err && $(mode lab.psk) == 600 ]]
  [[ $(tail -1 lab.psk) =~ ^r3psk1_$body$ ]]
  for _ in 1 2 3 4 5; do "$key" psk; done | grep -c ^r3psk1_ | grep -qx 5
  [[ $(for _ in 1 2 3 4 5; do "$key" psk; done | grep ^r3psk1_ | sort -u | wc -l) == 5 ]]
}

@test "nothing is overwritten without --force" {
  echo precious >file
  ln -s nowhere dangling
  for name in file dangling; do
    run --separate-stderr "$key" gen -o $name
    [[ $status == 1 && $output == "" ]]
    [[ $stderr == "r3-key: $name: not replaced without --force: File exists" ]]
  done
  [[ $(cat file) == precious && -L dangling && $(ls) == $'dangling\nfile' ]]
}

@test "--force replaces a file and tightens its mode" {
  echo old >node.key
  chmod 644 node.key
  "$key" gen --force -o node.key 2>/dev/null
  [[ $(mode node.key) == 600 ]]
  "$key" pub node.key
}

@test "a secret does not appear on a terminal by accident" {
  need "script(1)" script --version
  for command in gen psk; do
    on_terminal "$key" $command
    [[ $status == 2 ]]
    [[ $output == *"stdout is a terminal"* ]]
    [[ $output != *r3sk1_* && $output != *r3psk1_* ]]
    on_terminal "$key" $command -o -
    [[ $status == 0 ]]
    [[ $output == *r3sk1_* || $output == *r3psk1_* ]]
  done
}

@test "a key file that others may read is refused" {
  "$key" gen -o node.key 2>/dev/null
  for bits in 640 604 644 660 601; do
    chmod $bits node.key
    run --separate-stderr "$key" pub node.key
    [[ $status == 1 && $output == "" ]]
    [[ $stderr == "r3-key: node.key: a secret that others may read (mode 0$bits; chmod 600 it): Permission denied" ]]
  done
  # What comes through a pipe has no mode to look at.
  "$key" pub < <(cat node.key)
}

@test "bad input is named, with its line, and not repeated" {
  secret=$("$key" gen 2>/dev/null | tail -1)
  try() { # EXPECTED TEXT
    run --separate-stderr bash -c "printf '%b' '$2' | '$key' pub"
    [[ $status == 2 && $output == "" ]]
    [[ $stderr == "r3-key: $1" ]] || { echo "$stderr"; return 1; }
    [[ $stderr != *"${secret:10:20}"* ]]
  }
  try "standard input: no private key in it" ""
  try "standard input: no private key in it" "# only\n\n"
  try "-:2: private key: should begin with r3sk1_" "\nhello\n"
  try "-:1: private key: cut short: 40 characters after r3sk1_ instead of 48" "${secret:0:46}"
  try "-:1: private key: too long: 49 characters after r3sk1_ instead of 48" "${secret}A"
  try "-:2: a second line with a key" "$secret\n$secret\n"
  try "-:1: private key: a character that no key has (letters, digits, - and _)" "${secret:0:53}!"
  swapped=${secret:0:20}$([[ ${secret:20:1} == A ]] && echo B || echo A)${secret:21}
  try "-:1: private key: mistyped: its checksum does not match" "$swapped"
  try "-:1: private key: this is a public key (r3pk1_...)" "$("$key" pub <<<"$secret")"
  try "-:1: private key: this is a pre-shared key (r3psk1_...)" "$("$key" psk | tail -1)"
}

@test "wrong usage ends with 2" {
  for arguments in "" bogus "gen file" "pub -o x" "pub --force" "gen -o" "pub a b" --nonsense; do
    # shellcheck disable=SC2086
    run --separate-stderr "$key" $arguments </dev/null
    [[ $status == 2 && $output == "" && $stderr == "r3-key: "* ]]
  done
}

@test "what cannot be read or written ends with 1" {
  run --separate-stderr "$key" pub missing
  [[ $status == 1 && $stderr == "r3-key: missing: No such file or directory" ]]
  run --separate-stderr "$key" gen -o missing/node.key
  [[ $status == 1 && $stderr == "r3-key: missing/node.key: No such file or directory" ]]
  run --separate-stderr bash -c "'$key' psk >/dev/full"
  [[ $status == 1 && $stderr == "r3-key: stdout: No space left on device" ]]
  head -c 100000 /dev/zero >huge
  chmod 600 huge
  run --separate-stderr "$key" pub huge
  [[ $status == 1 && $stderr == "r3-key: huge: File too large" ]]
}

@test "a FIFO or a terminal that says nothing is waited for until TERM" {
  mkfifo keys
  "$BIN/r3-key" pub keys 2>err 3>&- &
  waiting=$!
  opened() { [[ $(readlink /proc/$waiting/fd/* 2>/dev/null) == *"$PWD/keys"* ]]; }
  eventually opened
  kill -TERM "$waiting"
  PATIENCE=5 eventually gone "$waiting"
  status=0
  wait "$waiting" || status=$?
  [[ $status == 1 && $(cat err) == "r3-key: keys: Operation canceled" ]]
  "$key" gen 2>/dev/null >keys &
  run "$key" pub keys
  [[ $status == 0 && $output == r3pk1_* ]]
}
