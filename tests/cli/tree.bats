# SPDX-License-Identifier: Apache-2.0
# What can be proved by looking at the files of the repository.
load ../helper

setup() { cd "$ROOT" || return; }

# The files of the repository; all that are there when it is no checkout.
files() { git ls-files -co --exclude-standard -- "$@" 2>/dev/null || find "$@" -type f; }

@test "tree: includes point down the layers only" {
  scripts/check-layers
}

@test "tree: the man pages pass mandoc's lint" {
  need mandoc command -v mandoc
  # stderr is only about the index of what is installed. Which other manuals are installed is not the
  # page's fault, and ENCRYPTION is meant so.
  run bash -c "mandoc -T lint man/*.[1-9] 2>/dev/null | grep -vE 'referenced manual not found|possible typo in section name'"
  [[ -z $output ]] || { echo "$output" >&2; return 1; }
}

@test "tree: the scripts pass shellcheck" {
  need shellcheck command -v shellcheck
  local scripts=()
  while read -r file; do
    if head -1 "$file" | grep -qE '^#!.*(ba)?sh$'; then scripts+=("$file"); fi
  done < <(files scripts tests .ci)
  ((${#scripts[@]} > 3))
  shellcheck -x "${scripts[@]}"
  shellcheck -s bash tests/helper.bash completions/bash/*
}

@test "tree: the bats files pass shellcheck" {
  need shellcheck command -v shellcheck
  # SC1091: the helper is looked at by itself; SC2013: words are what is wanted; SC2016: text for an inner
  # shell; SC2030, SC2031, SC2314: each test is a function of its own, which shellcheck does not see;
  # SC2034, SC2154: variables of the helper and of run; SC2164: bats stops at a failure.
  shellcheck -s bats -e SC1091,SC2013,SC2016,SC2030,SC2031,SC2034,SC2154,SC2164,SC2314 tests/*/*.bats
}

@test "tree: every source file names its licence" {
  local bare=()
  while read -r file; do
    head -3 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || bare+=("$file")
  done < <(files libcommon tools tests scripts .ci | grep -E '\.([ch]pp|bats|bash|py|go|sh)$|^scripts/[^/]*$|^scripts/examples/|^\.ci/')
  [[ ${#bare[@]} == 0 ]] || { printf 'no licence line: %s\n' "${bare[@]}" >&2; return 1; }
}

@test "tree: the README has 150 lines at most" {
  (($(wc -l <README.md) <= 150))
}

@test "tree: install-deps does nothing when nothing is missing" {
  need "all packages of the group build" dpkg-query -W g++ libcli11-dev libfuse3-dev libsodium-dev liburing-dev
  # An apt-get that is called would be this one.
  printf '#!/bin/sh\necho called >&2; exit 9\n' >"$BATS_TEST_TMPDIR/apt-get"
  chmod +x "$BATS_TEST_TMPDIR/apt-get"
  PATH=$BATS_TEST_TMPDIR:$PATH run scripts/install-deps build
  [[ $status == 0 && -z $output ]]
  run scripts/install-deps nonsense
  [[ $status == 2 && $output == *"nonsense is no group"* ]]
}
