// SPDX-License-Identifier: Apache-2.0
// A program with remote memory that forks in the middle:
//
//   forking_client ADDRESS FILE anonymous|shared
//
// Half of it has been read before; then the child reads all of it, writes to it and ends, then the parent
// reads all of it. With anonymous memory each has its own. Fails unless both have the bytes of the file.
#include <sys/stat.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "libcommon/base/error.hpp"
#include "libcommon/device/remote_memory.hpp"

int main(int argc, char** argv) try {
  if (argc != 4) return 2;
  const bool shared = std::strcmp(argv[3], "shared") == 0;
  const r3::Fd file = r3::open_file(argv[2], O_RDONLY);
  struct stat about;
  r3::check(::fstat(file.get(), &about), argv[2]);
  const auto wanted = r3::Mapping::of_file(file.get(), 0, static_cast<std::size_t>(about.st_size), false);
  r3::RemoteMemory::Options options;
  if (shared) options.kind = r3::RemoteMemory::Kind::shared;
  r3::RemoteMemory memory(argv[1], options);
  const auto is_right = [&](std::size_t from, std::size_t to) {
    return std::memcmp(&memory.bytes()[from], &wanted.bytes()[from], to - from) == 0;
  };
  const auto size = memory.bytes().size();
  if (!is_right(size / 4, size / 2)) return std::puts("the parent's first part is wrong"), 1;
  const pid_t child = r3::check(::fork(), "fork");
  if (child == 0) {
    if (!is_right(0, size)) ::_exit(1);
    if (!shared)
      for (auto& byte : memory.bytes()) byte = std::byte{7};
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (status != 0) return std::puts("the child is wrong"), 1;
  if (!is_right(0, size)) return std::puts("the parent is wrong"), 1;
  std::puts("child and parent are right");
  return 0;
} catch (const std::exception& error) {
  std::printf("%s\n", error.what());
  return 1;
}
