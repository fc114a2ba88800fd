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
