// SPDX-License-Identifier: Apache-2.0
// A program that has its writes to a mapping tracked: writes to the page of each number that it reads.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdio>

#include "libcommon/base/error.hpp"
#include "libcommon/base/mapping.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/device/track_writes.hpp"

int main(int argc, char** argv) try {
  if (argc != 2) return 2;
  const r3::Fd file = r3::open_file(argv[1], O_RDWR);
  struct stat found;
  r3::check(::fstat(file.get(), &found), argv[1]);
  const auto live = r3::Mapping::of_file(file.get(), 0, static_cast<std::size_t>(found.st_size), true);
  const r3::Fd tracking(r3::track_writes(live.bytes().data(), live.bytes().size()));
  r3::check(tracking.get(), "track_writes");
  std::puts("ready");
  std::fflush(stdout);
  for (unsigned long page; std::scanf("%lu", &page) == 1;)
    if (page < live.bytes().size() / 4096) live.bytes()[page * 4096] ^= std::byte{1};
  return 0;
} catch (const std::exception& error) {
  std::printf("%s\n", error.what());
  return 1;
}
