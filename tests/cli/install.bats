# SPDX-License-Identifier: Apache-2.0
load ../helper

@test "install: puts every part in its place, and the installed tools run" {
  local dest=$BATS_TEST_TMPDIR/dest
  run make -C "$ROOT" --no-print-directory install DESTDIR="$dest" PREFIX=/usr BUILD="$BIN"
  [[ $status == 0 ]] || { echo "$output" >&2; return 1; }
  for main in "$ROOT"/tools/*/main.cpp; do
    local tool
    tool=$(basename "$(dirname "$main")")
    "$dest/usr/bin/$tool" --version
    [[ -s $dest/usr/share/man/man1/$tool.1 ]]
    [[ -s $dest/usr/share/bash-completion/completions/$tool ]]
    [[ -s $dest/usr/share/zsh/site-functions/_$tool ]]
    [[ -s $dest/usr/share/fish/vendor_completions.d/$tool.fish ]]
  done
  [[ -s $dest/usr/share/man/man7/r3tools.7 ]]
  [[ -d $dest/usr/libexec/r3tools ]]
  grep -qx "ExecStart=@/usr/bin/nbd-attach @nbd-attach .*" "$dest/usr/lib/systemd/system/nbd-attach@.service"
  for tool in nbd-serve ram-ul r3-mount ram-dl; do
    grep -qx "ExecStart=/usr/bin/$tool .*" "$dest/usr/lib/systemd/system/$tool@.service"
  done
}

@test "uninstall: takes every file away again, and no other" {
  local dest=$BATS_TEST_TMPDIR/dest
  make -C "$ROOT" --no-print-directory install DESTDIR="$dest" PREFIX=/usr BUILD="$BIN" >/dev/null
  (($(find "$dest" -type f | wc -l) > 50))
  touch "$dest/usr/bin/other"
  make -C "$ROOT" --no-print-directory uninstall DESTDIR="$dest" PREFIX=/usr BUILD="$BIN"
  [[ $(find "$dest" ! -type d) == "$dest/usr/bin/other" ]]
}

@test "install: a program is built against the installed headers and library" {
  local dest=$BATS_TEST_TMPDIR/dest
  make -C "$ROOT" --no-print-directory install DESTDIR="$dest" PREFIX=/usr BUILD="$BIN" >/dev/null
  cat >"$BATS_TEST_TMPDIR/user.cpp" <<'END'
#include <cstdio>
#include "libcommon/net/region.hpp"
int main() {
  const auto region = r3::open_region(r3::parse_region("memory:64K"), {});
  std::printf("%llu\n", static_cast<unsigned long long>(region->size()));
}
END
  local sanitizers=()
  # A library that was built with sanitizers needs a program with them.
  [[ $BIN != */build-* ]] || sanitizers=("-fsanitize=$(basename "$BIN" | sed 's/^build-//; s/-/,/g')")
  "${CXX:-g++}" -std=c++20 -pthread "${sanitizers[@]}" -I"$dest/usr/include/r3tools" "$BATS_TEST_TMPDIR/user.cpp" \
    -L"$dest/usr/lib" -lr3common -lsodium -lzstd -lxxhash -o "$BATS_TEST_TMPDIR/user"
  run "$BATS_TEST_TMPDIR/user"
  [[ $status == 0 && $output == 65536 ]]
}
