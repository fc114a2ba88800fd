#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# r3-noise/1 against another implementation of Noise, in both roles: Debian's
# golang-github-flynn-noise-dev, which has its sources below GOPATH=/usr/share/gocode.
load ../helper

setup_file() {
  local library=/usr/share/gocode/src/github.com/flynn/noise/state.go
  need "go (golang-go)" command -v go
  need golang-github-flynn-noise-dev test -f $library
  # Any go from 1.13 builds without modules, Debian's own as well as a newer one that comes first.
  GO111MODULE=off GOFLAGS='' GOTOOLCHAIN=local GOPATH=/usr/share/gocode \
    GOCACHE=$BIN/go-cache go build -o "$BATS_FILE_TMPDIR/peer" \
    "$BATS_TEST_DIRNAME/noise-peer/peer.go"
}

talk() { # ROLE-OF-THE-PEER PATTERN
  run timeout 60 "$BATS_FILE_TMPDIR/peer" "$1" "$2" "$BATS_TEST_TMPDIR" "$BIN/tests/fault/noise_end"
  echo "$output"
  [[ $status == 0 && $output == "12728468 bytes each way" ]]
}

@test "flynn/noise is the client in NNpsk0" { talk client NNpsk0; }
@test "flynn/noise is the client in XK" { talk client XK; }
@test "flynn/noise is the client in XKpsk0" { talk client XKpsk0; }
@test "flynn/noise is the client in NK" { talk client NK; }
@test "flynn/noise is the server in NNpsk0" { talk server NNpsk0; }
@test "flynn/noise is the server in XK" { talk server XK; }
@test "flynn/noise is the server in XKpsk0" { talk server XKpsk0; }
@test "flynn/noise is the server in NK" { talk server NK; }
