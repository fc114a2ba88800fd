// SPDX-License-Identifier: Apache-2.0
// The part of the suite in which several threads use one backend.
#include <algorithm>
#include <random>
#include <stdexcept>

#include "libcommon/base/tasks.hpp"
#include "tests/unit/backend_suite.hpp"

namespace r3::test {

using Model = std::vector<std::byte>;

// Each thread owns every fourth unit of a few bytes, so that all of them work in the same pages and
// chunks; none may lose a byte of another.
TEST_P(BackendSuite, ThreadsThatShareChunksLoseNothing) {
  if (GetParam().content) return;
  constexpr unsigned threads = 4;
  const auto unit = std::max<std::uint64_t>(GetParam().granularity, 97);
  const auto size = round_up(128 * KiB, unit * threads);
  auto made = GetParam().make(size);
  std::vector<Model> models(threads, Model(size, std::byte{0}));
  TaskGroup group;
  for (unsigned thread = 0; thread < threads; ++thread)
    group.spawn([&, thread] {
      std::mt19937_64 random(thread);
      Model& model = models[thread];
      for (unsigned i = 0; i < GetParam().steps / 3; ++i) {
        const auto at = (random() % (size / unit / threads) * threads + thread) * unit;
        const auto mine = Bytes(model).subspan(at, unit);
        if (random() % 8 == 0) {
          made.backend->zero_at(at, unit);
          std::ranges::fill(mine, std::byte{0});
        } else {
          fill_random(mine, random);
          made.backend->write_at(mine, at);
        }
        if (random() % 64 == 0) made.backend->flush();
        if (!std::ranges::equal(read_bytes(*made.backend, at, unit), mine))
          throw std::runtime_error("a thread lost its write at " + std::to_string(at));
      }
    });
  EXPECT_NO_THROW(group.join());
  Model expected(size);
  for (std::uint64_t at = 0; at < size; ++at) expected[at] = models[at / unit % threads][at];
  EXPECT_EQ(read_bytes(*made.backend, 0, size), expected);
}

// One thread changes the first unit again and again, another all of it, in both ways; what the second
// has done may not be undone by the first.
TEST_P(BackendSuite, WritersOfPartsDoNotUndoOthers) {
  if (GetParam().content) return;
  const auto unit = GetParam().granularity;
  const auto part = round_up(64 * KiB, unit);
  auto made = GetParam().make(part);
  TaskGroup group;
  group.spawn([&] {
    const Model bytes(unit, std::byte{0xaa});
    while (!group.stop().requested()) made.backend->write_at(bytes, 0);
  });
  group.spawn([&] {
    for (unsigned i = 0; i < GetParam().steps / 5; ++i) {
      const Model bytes(part, static_cast<std::byte>(i % 2 ? i : 0));
      if (i % 2) {
        made.backend->write_at(bytes, 0);
      } else {
        made.backend->zero_at(0, part);
      }
      const auto seen = read_bytes(*made.backend, unit, part - unit);
      if (!std::ranges::equal(seen, ConstBytes(bytes).subspan(unit)))
        throw std::runtime_error("a write was undone in round " + std::to_string(i));
    }
    group.stop().request();
  });
  EXPECT_NO_THROW(group.join());
}

// Whole chunks appear and vanish while others look: every byte is old or new, and none outside changes.
TEST_P(BackendSuite, ReadersSeeOldOrNewWhileOthersWrite) {
  if (GetParam().content) return;
  const auto part = round_up(64 * KiB, GetParam().granularity);
  auto made = GetParam().make(3 * part);
  const Model guard(part, std::byte{0x77});
  made.backend->write_at(guard, 0);
  made.backend->write_at(guard, 2 * part);
  TaskGroup group;
  for (int writer = 0; writer < 2; ++writer)
    group.spawn([&] {
      const Model ones(part, std::byte{1});
      for (unsigned i = 0; i < GetParam().steps / 10; ++i) {
        made.backend->write_at(ones, part);
        made.backend->zero_at(part, part);
      }
    });
  for (int reader = 0; reader < 2; ++reader)
    group.spawn([&] {
      for (unsigned i = 0; i < GetParam().steps / 10; ++i) {
        const auto seen = read_bytes(*made.backend, 0, 3 * part);
        for (std::uint64_t at = 0; at < seen.size(); ++at) {
          const bool inner = at >= part && at < 2 * part;
          if (inner ? seen[at] > std::byte{1} : seen[at] != std::byte{0x77})
            throw std::runtime_error("a byte that nobody wrote at " + std::to_string(at));
        }
        made.backend->extents(0, 3 * part, 9);
      }
    });
  EXPECT_NO_THROW(group.join());
}

}  // namespace r3::test
