// SPDX-License-Identifier: Apache-2.0
// Uses a file that shows pattern:SIZE (each 8-byte word is its own offset) as an application would, and
// checks every byte:
//
//   managed-load sequential|random FILE SECONDS    4 KiB reads, from the start to the end, or anywhere
//   managed-load write FILE SECONDS                4 KiB writes from the start, then one fsync
//
// Ends after SECONDS or at the end of the file; prints one JSON object. Status 1: a byte was wrong.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/storage/pattern.hpp"

namespace {

using namespace r3;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kBlock = 4 * KiB;

double since(Clock::time_point begun) {
  return std::chrono::duration<double>(Clock::now() - begun).count();
}

struct Run {
  std::vector<double> each;  // seconds
  double seconds = 0;

  void print() {
    std::sort(each.begin(), each.end());
    const auto at = [&](double part) {
      return each.empty() ? 0 : each[static_cast<std::size_t>(part * double(each.size() - 1))] * 1e6;
    };
    const double bytes = double(each.size()) * double(kBlock);
    std::printf("{\"reads\":%zu,\"seconds\":%.6f,\"mib_s\":%.3f,\"p50_us\":%.1f,\"p99_us\":%.1f,"
                "\"max_us\":%.1f}\n",
                each.size(), seconds, bytes / double(MiB) / seconds, at(0.5), at(0.99), at(1));
  }
};

void read_block(int fd, std::uint64_t offset, Run& run) {
  static PatternBackend pattern(~0ULL);
  std::array<std::byte, kBlock> bytes, wanted;
  const auto begun = Clock::now();
  const auto count = pread_full(fd, bytes, offset);
  run.each.push_back(since(begun));
  pattern.read_at(wanted, offset);
  if (count == kBlock && bytes == wanted) return;
  std::fprintf(stderr, "wrong bytes at %llu\n", static_cast<unsigned long long>(offset));
  std::exit(1);
}

Run transfer(const std::string& what, const char* path, double limit) {
  const bool writes = what == "write";
  const Fd file = open_file(path, writes ? O_RDWR : O_RDONLY);
  struct stat about;
  check(::fstat(file.get(), &about), path);
  const std::uint64_t blocks = static_cast<std::uint64_t>(about.st_size) / kBlock;
  if (what == "random") ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_RANDOM);
  std::mt19937_64 random(7);
  std::array<std::byte, kBlock> bytes;
  bytes.fill(std::byte{0x5a});
  Run run;
  const auto begun = Clock::now();
  for (std::uint64_t i = 0; i < blocks && since(begun) < limit; ++i) {
    const std::uint64_t offset = (what == "random" ? random() % blocks : i) * kBlock;
    if (writes) {
      pwrite_full(file.get(), bytes, offset);
      run.each.push_back(0);
    } else {
      read_block(file.get(), offset, run);
    }
  }
  if (writes) check(::fsync(file.get()), path);
  run.seconds = since(begun);
  return run;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  transfer(argv[1], argv[2], std::atof(argv[3])).print();
}
