#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A client written from r3-protocol(7) alone, in another language.
load ../helper

@test "a client written from the page alone" {
  need "python3" command -v python3
  cd "$BATS_TEST_TMPDIR"
  start_server ram-ul -l "unix:$PWD/s" 4M ro=pattern:4M
  PYTHONDONTWRITEBYTECODE=1 timeout 60 python3 "$ROOT/tests/system/r3_page.py" "$PWD/s"
}

@test "the tables of the page are those of the code" {
  PYTHONDONTWRITEBYTECODE=1 python3 "$ROOT/tests/system/r3_tables.py" "$ROOT"
}
