// SPDX-License-Identifier: Apache-2.0
// What the memory itself can do, and a way to warm it: on a machine whose memory is lent to it page
// by page the first touch costs many times the second, and a benchmark would measure that. Maps,
// touches and frees SIZE twice, then times a copy. Prints one line of JSON, in megabytes a second.
//
//   memory SIZE
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "libcommon/base/mapping.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/cli/events.hpp"

namespace r3 {

namespace {

template <class Work>
double megabytes_a_second(std::size_t size, Work work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  return static_cast<double>(size) / took.count() * 1e-6;
}

void touch(Bytes bytes) {
  for (std::size_t i = 0; i < bytes.size(); i += 4096) bytes[i] = std::byte{1};
}

}  // namespace

}  // namespace r3

int main(int argc, char** argv) {
  using namespace r3;
  if (argc != 2) return std::fprintf(stderr, "usage: memory SIZE\n"), 2;
  const std::size_t size = parse_size(argv[1]);
  for (int turn = 0; turn < 2; ++turn) touch(Mapping::anonymous(size).bytes());
  const Mapping from = Mapping::anonymous(size / 2), to = Mapping::anonymous(size / 2);
  const double first = megabytes_a_second(size, [&] { touch(from.bytes()), touch(to.bytes()); });
  const double copy = megabytes_a_second(size / 2, [&] {
    std::copy_n(from.bytes().data(), size / 2, to.bytes().data());
  });
  const auto line = Json().add("first_touch_mb", first).add("copy_mb", copy);
  std::printf("%s\n", line.text().c_str());
}
