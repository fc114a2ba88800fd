// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/backend_suite.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <random>
#include <system_error>

#include "libcommon/base/error.hpp"

namespace r3::test {

TemporaryDirectory::TemporaryDirectory()
    : path_((std::filesystem::temp_directory_path() / "r3-unit-XXXXXX").string()) {
  if (!::mkdtemp(path_.data())) fail(errno, path_);
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

int error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::system_error& error) {
    return error.code().value();
  }
  return 0;
}

std::vector<std::byte> read_bytes(Backend& backend, std::uint64_t offset, std::uint64_t length) {
  std::vector<std::byte> bytes(length, std::byte{0xee});
  backend.read_at(bytes, offset);
  return bytes;
}

void fill_random(Bytes bytes, std::mt19937_64& random) {
  std::uint64_t state = random();
  for (auto& byte : bytes) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    byte = static_cast<std::byte>(state >> 56);
  }
}

namespace {

constexpr std::uint64_t kFar = std::numeric_limits<std::uint64_t>::max();
// No multiple of a page, of a sector or of any chunk.
constexpr std::uint64_t kOdd = 300 * KiB + 777;
constexpr ZeroHow kHows[] = {{false, false}, {true, false}, {false, true}, {true, true}};

using Model = std::vector<std::byte>;

std::uint64_t odd_size(const BackendCase& which) { return round_down(kOdd, which.granularity); }

Model first_content(const BackendCase& which, std::uint64_t size) {
  Model model(size, std::byte{0});
  if (which.content)
    for (std::uint64_t i = 0; i < size; ++i) model[i] = which.content(i);
  return model;
}

struct Range {
  std::uint64_t offset;
  std::uint64_t length;
};

// Any range within `size`, with a liking for page boundaries and for both ends.
Range random_range(std::mt19937_64& random, std::uint64_t size, std::uint64_t granularity) {
  auto point = [&] {
    std::uint64_t at = random() % (size + 1);
    if (random() % 3 == 0) at = round_down(at, 4096);
    if (random() % 16 == 0) at = 0;
    if (random() % 16 == 0) at = size;
    return round_down(at, granularity);
  };
  const auto a = point();
  const auto b = random() % 2 ? point() : std::min(size, a + round_up(random() % 9000, granularity));
  return {std::min(a, b), std::max(a, b) - std::min(a, b)};
}

// Extents adjoin, cover the range, are few enough, and none that claims zeroes lies.
void check_extents(Backend& backend, const Model& model, Range range, std::size_t most) {
  const auto found = backend.extents(range.offset, range.length, most);
  if (range.length == 0) return;
  ASSERT_FALSE(found.empty());
  ASSERT_LE(found.size(), most);
  std::uint64_t at = range.offset;
  for (const Extent& extent : found) {
    ASSERT_EQ(extent.offset, at);
    ASSERT_GT(extent.length, 0u);
    at += extent.length;
    ASSERT_LE(at, range.offset + range.length);
    const auto bytes = ConstBytes(model).subspan(extent.offset, extent.length);
    ASSERT_TRUE(!extent.zero || all_zero(bytes))
        << "not zero: " << extent.offset << "+" << extent.length;
  }
  ASSERT_TRUE(found.size() == most || at == range.offset + range.length);
}

// What read_at, try_read_at and borrow say about a range is what the model says.
void check_reads(Backend& backend, const Model& model, Range range) {
  const auto expected = ConstBytes(model).subspan(range.offset, range.length);
  const auto same = [&](ConstBytes got) { return std::ranges::equal(got, expected); };
  ASSERT_TRUE(same(read_bytes(backend, range.offset, range.length)))
      << "read_at " << range.offset << "+" << range.length;
  Model tried(range.length);
  ASSERT_TRUE(!backend.try_read_at(tried, range.offset) || same(tried)) << "try_read_at";
  const auto lent = backend.borrow(range.offset, range.length);
  ASSERT_TRUE(lent.empty() || same(lent)) << "borrow";
}

struct Step {
  Backend& backend;
  Model& model;
  std::mt19937_64& random;
  Range range;

  Bytes expected() const { return Bytes(model).subspan(range.offset, range.length); }

  void write(bool may_try) const {
    std::vector<std::byte> bytes(range.length);
    fill_random(bytes, random);
    if (!may_try || !backend.try_write_at(bytes, range.offset))
      backend.write_at(bytes, range.offset);
    std::ranges::copy(bytes, expected().begin());
  }

  void zero() const {
    const ZeroHow how = kHows[random() % 4];
    const int error = error_of([&] { backend.zero_at(range.offset, range.length, how); });
    if (error == 0) {
      std::ranges::fill(expected(), std::byte{0});
    } else {
      ASSERT_TRUE(how.only_if_fast);
      ASSERT_EQ(error, EOPNOTSUPP);
      backend.read_at(expected(), range.offset);  // any of it may have become zero
    }
  }

  void discard() const {
    backend.discard_at(range.offset, range.length);
    backend.read_at(expected(), range.offset);
  }
};

void random_step(const Step& step) {
  switch (step.random() % 10) {
    case 0:
    case 1:
    case 2: return step.write(false);
    case 3: return step.write(true);
    case 4: return step.zero();
    case 5: return step.discard();
    case 6: return check_extents(step.backend, step.model, step.range, 1 + step.random() % 20);
    case 7: return step.random() % 50 ? step.backend.prefetch(step.range.offset, step.range.length)
                                      : step.backend.flush();
    default: return check_reads(step.backend, step.model, step.range);
  }
}

}  // namespace

TEST_P(BackendSuite, HasTheSizeAskedFor) {
  const auto unit = GetParam().granularity;
  for (const std::uint64_t size : {unit, 4096 * unit, odd_size(GetParam())}) {
    auto made = GetParam().make(size);
    EXPECT_EQ(made.backend->size(), size);
    EXPECT_EQ(made.backend->read_only(), GetParam().content != nullptr);
    const auto block = made.backend->block_size();
    EXPECT_TRUE(block >= 1 && block <= 64 * MiB && (block & (block - 1)) == 0) << block;
    EXPECT_EQ(read_bytes(*made.backend, 0, size), first_content(GetParam(), size));
  }
}

TEST_P(BackendSuite, MayBeEmpty) {
  auto made = GetParam().make(0);
  Backend& backend = *made.backend;
  std::vector<std::byte> one(GetParam().granularity);
  EXPECT_EQ(backend.size(), 0u);
  backend.read_at({}, 0);
  EXPECT_EQ(error_of([&] { backend.read_at(one, 0); }), EINVAL);
  EXPECT_TRUE(backend.extents(0, 0, 1).empty());
  backend.flush();
  if (backend.read_only()) return;
  backend.write_at({}, 0);
  EXPECT_EQ(error_of([&] { backend.write_at(one, 0); }), ENOSPC);
}

TEST_P(BackendSuite, NothingIsDoneForNoBytes) {
  const auto size = odd_size(GetParam());
  auto made = GetParam().make(size);
  Backend& backend = *made.backend;
  const auto before = read_bytes(backend, 0, size);
  for (const auto at : {std::uint64_t{0}, GetParam().granularity, size}) {
    backend.read_at({}, at);
    backend.prefetch(at, 0);
    EXPECT_TRUE(backend.extents(at, 0, 1).empty());
    EXPECT_TRUE(backend.borrow(at, 0).empty());
    if (backend.read_only()) continue;
    backend.write_at({}, at);
    backend.discard_at(at, 0);
    for (const ZeroHow how : kHows) {
      const int error = error_of([&] { backend.zero_at(at, 0, how); });
      EXPECT_TRUE(error == 0 || (how.only_if_fast && error == EOPNOTSUPP)) << error;
    }
  }
  EXPECT_EQ(read_bytes(backend, 0, size), before);
}

TEST_P(BackendSuite, RefusesWhatIsPastTheEnd) {
  const auto unit = GetParam().granularity;
  const auto size = odd_size(GetParam());
  auto made = GetParam().make(size);
  Backend& backend = *made.backend;
  const auto before = read_bytes(backend, 0, size);
  std::vector<std::byte> bytes(2 * unit, std::byte{7});
  const auto last = round_down(kFar, unit);
  for (const auto at : {size, size - unit, size + unit, last - unit, last - 2 * unit, last,
                        round_down(kFar / 2, unit), round_down(kFar / 2, unit) + unit}) {
    SCOPED_TRACE(at);
    EXPECT_EQ(error_of([&] { backend.read_at(bytes, at); }), EINVAL);
    EXPECT_EQ(error_of([&] { backend.try_read_at(bytes, at); }) | EINVAL, EINVAL);
    EXPECT_EQ(error_of([&] { backend.prefetch(at, 2 * unit); }), EINVAL);
    EXPECT_EQ(error_of([&] { backend.extents(at, 2 * unit, 9); }), EINVAL);
    if (backend.read_only()) continue;
    EXPECT_EQ(error_of([&] { backend.write_at(bytes, at); }), ENOSPC);
    for (const ZeroHow how : kHows)
      EXPECT_EQ(error_of([&] { backend.zero_at(at, 2 * unit, how); }), ENOSPC);
    EXPECT_EQ(error_of([&] { backend.discard_at(at, 2 * unit); }), EINVAL);
  }
  EXPECT_EQ(error_of([&] { backend.prefetch(unit, last); }), EINVAL);
  EXPECT_EQ(error_of([&] { backend.extents(unit, last, 9); }), EINVAL);
  EXPECT_EQ(error_of([&] { backend.extents(size + unit, 0, 9); }), EINVAL);
  if (!backend.read_only()) {
    EXPECT_EQ(error_of([&] { backend.zero_at(unit, last); }), ENOSPC);
    EXPECT_EQ(error_of([&] { backend.discard_at(unit, last); }), EINVAL);
  }
  EXPECT_EQ(read_bytes(backend, 0, size), before);
}

TEST_P(BackendSuite, ReadsAnyRange) {
  const auto size = odd_size(GetParam());
  auto made = GetParam().make(size);
  std::mt19937_64 random(1);
  Model model = first_content(GetParam(), size);
  if (!made.backend->read_only()) {
    fill_random(model, random);
    made.backend->write_at(model, 0);
  }
  const auto unit = GetParam().granularity;
  check_reads(*made.backend, model, {0, size});
  for (std::uint64_t at = 0; at < 20 * unit; at += unit)
    for (std::uint64_t length = 0; length < 20 * unit; length += unit)
      check_reads(*made.backend, model, {at, length});
  for (unsigned i = 0; i < GetParam().steps / 4; ++i) {
    const Range range = random_range(random, size, unit);
    check_reads(*made.backend, model, range);
    check_extents(*made.backend, model, range, 1 + random() % 5);
  }
}

TEST_P(BackendSuite, RefusesChangesWhenReadOnly) {
  if (!GetParam().content) return;
  const auto size = odd_size(GetParam());
  auto made = GetParam().make(size);
  Backend& backend = *made.backend;
  const std::vector<std::byte> bytes(GetParam().granularity, std::byte{7});
  EXPECT_EQ(error_of([&] { backend.write_at(bytes, 0); }), EPERM);
  EXPECT_EQ(error_of([&] {
              if (!backend.try_write_at(bytes, 0)) backend.write_at(bytes, 0);
            }),
            EPERM);
  for (const ZeroHow how : kHows)
    EXPECT_EQ(error_of([&] { backend.zero_at(0, bytes.size(), how); }), EPERM);
  EXPECT_EQ(error_of([&] { backend.discard_at(0, bytes.size()); }), EPERM);
  backend.flush();
  EXPECT_EQ(read_bytes(backend, 0, size), first_content(GetParam(), size));
}

TEST_P(BackendSuite, EveryWayOfZeroingZeroesItsRangeOnly) {
  if (GetParam().content) return;
  const auto unit = GetParam().granularity;
  const auto size = odd_size(GetParam());
  for (const ZeroHow how : kHows) {
    auto made = GetParam().make(size);
    Model model(size, std::byte{0x5a});
    made.backend->write_at(model, 0);
    for (const Range range : {Range{unit, unit}, Range{round_up(4095, unit), round_up(70001, unit)},
                              Range{round_up(100 * KiB, unit), size - round_up(100 * KiB, unit)}}) {
      const auto expected = Bytes(model).subspan(range.offset, range.length);
      const int error = error_of([&] { made.backend->zero_at(range.offset, range.length, how); });
      if (error != 0) {
        ASSERT_TRUE(how.only_if_fast && error == EOPNOTSUPP);
        made.backend->read_at(expected, range.offset);
      } else {
        std::ranges::fill(expected, std::byte{0});
      }
      ASSERT_EQ(read_bytes(*made.backend, 0, size), model);
      check_extents(*made.backend, model, {0, size}, 99);
    }
  }
}

TEST_P(BackendSuite, ExtentsNeverExceedWhatWasAskedFor) {
  const auto size = odd_size(GetParam());
  auto made = GetParam().make(size);
  Model model = first_content(GetParam(), size);
  const auto step = round_up(64 * KiB, GetParam().granularity);
  if (!made.backend->read_only())
    for (std::uint64_t at = 0; at + step <= size; at += 2 * step) {
      std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(at), step, std::byte{1});
      made.backend->write_at(ConstBytes(model).subspan(at, step), at);
    }
  for (std::size_t most = 1; most < 9; ++most) {
    check_extents(*made.backend, model, {0, size}, most);
    check_extents(*made.backend, model, {GetParam().granularity, size / 2 / step * step}, most);
  }
}

TEST_P(BackendSuite, BehavesLikeAnArrayOfBytes) {
  if (GetParam().content) return;
  const auto size = odd_size(GetParam());
  for (const unsigned seed : {1u, 2u}) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    auto made = GetParam().make(size);
    Model model(size, std::byte{0});
    std::mt19937_64 random(seed);
    for (unsigned i = 0; i < GetParam().steps && !testing::Test::HasFatalFailure(); ++i) {
      const Range range = random_range(random, size, GetParam().granularity);
      SCOPED_TRACE("step " + std::to_string(i));
      random_step({*made.backend, model, random, range});
    }
    if (testing::Test::HasFatalFailure()) return;
    ASSERT_EQ(read_bytes(*made.backend, 0, size), model);
  }
}

}  // namespace r3::test
