# SPDX-License-Identifier: Apache-2.0
# What the README and the man pages say is true of the tree.
load ../helper

setup() { cd "$ROOT" || return; }

complain() {
  echo "$@" >&2
  failed=1
}

@test "docs: the README's table has exactly the tools that exist" {
  diff <(sed -n 's/^| \([a-z0-9-]*\) | .*/\1/p' README.md | grep -vx tool | sort) \
    <(for main in tools/*/main.cpp; do basename "$(dirname "$main")"; done | sort)
  failed=0
  for tool in $(sed -n 's/^Planned: \(.*\)\.$/\1/p' README.md | tr -d ,); do
    [[ ! -e tools/$tool ]] || complain "$tool is there, not planned"
  done
  ((failed == 0))
}

@test "docs: the files and folders that the README names exist" {
  failed=0
  for path in $(grep -oE '\b(libcommon|tools|man|tests|scripts|completions)/[a-zA-Z0-9_./-]*[a-zA-Z0-9]' README.md | sort -u); do
    [[ -e $path || $path == tools/TOOL ]] || complain "$path does not exist"
  done
  ((failed == 0))
}

@test "docs: the targets that the README names exist" {
  failed=0
  for target in $(grep -oE '(`|^    )make [a-z]+' README.md | awk '{ print $2 }' | sort -u); do
    grep -q "^$target:" Makefile || complain "make $target"
  done
  ((failed == 0))
}

# The commands of the README ("    $ ...") in order, in a directory of their own.
@test "docs: the README's commands run" {
  need nbdinfo command -v nbdinfo
  need nbdcopy command -v nbdcopy
  cp README.md "$BATS_TEST_TMPDIR"
  cd "$BATS_TEST_TMPDIR" || return
  sed -n 's/^    \$ //p' README.md | grep -vx make >commands
  (($(wc -l <commands) >= 4))
  PATH=$BIN:$PATH run bash -ex commands
  [[ $status == 0 ]] || { echo "$output" >&2; return 1; }
}

# The lines of the pages' EXAMPLES, with continuation lines joined.
examples_of() {
  awk '/^\.Sh / { on = $2 == "EXAMPLES" } /^\.Bd/ { literal = 1; next } /^\.Ed/ { literal = 0 }
       on && literal { if (sub(/\\$/, "")) printf "%s", $0; else print }' "$1" | sed 's/\\e$//; s/\\(dq/"/g; s/\\&//g'
}

@test "docs: the keys in the man pages are keys" {
  cd "$BATS_TEST_TMPDIR" || return
  grep -rhoE 'r3pk1_[A-Za-z0-9_-]+[A-Za-z0-9]' "$ROOT/man" | awk 'length > 20' | sort -u | sed 's/$/ name rw */' >peers
  (($(wc -l <peers) >= 2))
  "$BIN/r3-key" gen -o server.key
  start_server ram-ul -l unix:s --key-file server.key --peer-keys peers 1M
}

# As in ram-ul(1) and --help, with other sizes and names.
@test "docs: the examples of ram-ul do what is printed" {
  cd "$BATS_TEST_TMPDIR" || return
  start_server ram-ul -l unix:ram.sock 4G
  [ "$(cat "$server_out")" = "r3+unix:///?socket=ram.sock" ]
  truncate -s 1M disk.img
  start_server ram-ul -l tcp://localhost:0 disk=disk.img scratch=memory:1G
  (($(wc -l <"$server_out") == 2))
  grep -qx 'r3://localhost:[1-9][0-9]*/disk' "$server_out"
  grep -qx 'r3://localhost:[1-9][0-9]*/scratch' "$server_out"
  start_server ram-ul -l unix:t "$(tail -1 "$server_out")" # what is printed is a region
  "$BIN/r3-key" gen -o server.key
  "$BIN/r3-key" pub server.key | sed 's/$/ alice rw */' >peers
  start_server ram-ul -l 'tcp://[::]:0' --key-file server.key --peer-keys peers 64G
  [[ $(cat "$server_out") == "r3://[::]:"*"/?server-key=$("$BIN/r3-key" pub server.key)" ]]
}

@test "docs: the examples of the man pages and of --help use options that exist" {
  failed=0
  for main in tools/*/main.cpp; do
    tool=$(basename "$(dirname "$main")")
    known=$("$BIN/$tool" --print-options | cut -f1 | tr , '\n')
    while read -r line; do
      # Only what stands before --run, or before the next command, belongs to the tool.
      line=${line#*"$tool" } line=${line%% --run*} line=${line%%[|;&>]*}
      for word in $line; do
        word=${word%%=*}
        [[ $word == -?* ]] || continue
        grep -qx -- "$word" <<<"$known" || complain "$tool has no $word: $line"
      done
    done < <({
      for page in man/*.[17]; do examples_of "$page"; done
      "$BIN/$tool" --help | sed -n '/^Examples:/,/^Usage:/p' | sed 's/   .*//'
    } | grep -E "(^|[ /'\"])$tool ")
  done
  ((failed == 0))
}

@test "docs: every tool has a page that r3tools(7) names, with the sections that all have" {
  failed=0
  for main in tools/*/main.cpp; do
    tool=$(basename "$(dirname "$main")")
    grep -q "^\.Xr $tool 1" man/r3tools.7 || complain "r3tools(7) does not name $tool"
    for section in NAME SYNOPSIS DESCRIPTION "EXIT STATUS" EXAMPLES "SEE ALSO"; do
      grep -qx "\.Sh $section" "man/$tool.1" || complain "man/$tool.1 has no $section"
    done
  done
  ((failed == 0))
}
