// SPDX-License-Identifier: Apache-2.0
// A region as objects in a store: the conformance suite over a store in memory, and what the label promises.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <stdexcept>

#include "tests/unit/backend_suite.hpp"
#include "tools/regions/object_region.hpp"

namespace {

using namespace r3::test;

using r3::Bytes;

// A store as a server has it, which several regions may have open one after the other.
struct Shelf {
  std::mutex mutex;
  std::map<std::uint64_t, std::vector<std::byte>> objects;
  std::optional<std::string> label;
};

class ShelfStore final : public r3::ObjectStore {
 public:
  explicit ShelfStore(Shelf& shelf) : shelf_(shelf) {}
  void get(std::span<Get> parts) override {
    std::lock_guard lock(shelf_.mutex);
    for (Get& part : parts) {
      const auto object = shelf_.objects.find(part.index);
      part.found = object != shelf_.objects.end();
      if (!part.found) continue;
      if (object->second.size() < part.offset + part.into.size())
        throw std::system_error(EIO, std::generic_category(), "short object");
      std::copy_n(object->second.begin() + static_cast<std::ptrdiff_t>(part.offset), part.into.size(),
                  part.into.begin());
    }
  }
  void put(std::span<const Put> parts) override {
    std::lock_guard lock(shelf_.mutex);
    for (const Put& part : parts) shelf_.objects[part.index].assign(part.from.begin(), part.from.end());
  }
  void remove(std::span<const std::uint64_t> indices) override {
    std::lock_guard lock(shelf_.mutex);
    for (const auto index : indices) shelf_.objects.erase(index);
  }
  void flush() override {}
  std::optional<std::string> get_label() override { return shelf_.label; }
  bool make_label(const std::string& text) override {
    if (shelf_.label) return false;
    shelf_.label = text;
    return true;
  }

 private:
  Shelf& shelf_;
};

r3::Helped open_on(Shelf& shelf, std::optional<std::uint64_t> size, std::optional<std::uint64_t> chunk = {},
                   bool read_only = false) {
  r3::ObjectLayout layout;
  layout.size = size;
  layout.chunk = chunk;
  layout.read_only = read_only;
  return r3::open_object_region(std::make_unique<ShelfStore>(shelf), layout, "shelf:x");
}

r3::test::BackendUnderTest make_region(std::uint64_t size) {
  auto shelf = std::make_shared<Shelf>();
  return {open_on(*shelf, size, 4096).backend, shelf};
}

INSTANTIATE_TEST_SUITE_P(ObjectRegion, BackendSuite, testing::Values(r3::test::BackendCase{"objects", make_region}),
                         r3::test::case_name);

TEST(ObjectRegion, ZeroesTakeNoObjects) {
  Shelf shelf;
  const auto region = open_on(shelf, 100'000, 4096).backend;
  const std::vector<std::byte> ones(20'000, std::byte{1}), zeroes(20'000);
  region->write_at(ones, 3000);
  EXPECT_EQ(shelf.objects.size(), 6u);
  region->write_at(zeroes, 3000);
  EXPECT_TRUE(shelf.objects.size() <= 2) << "only the chunks at the ends can be left";
  region->zero_at(0, 100'000);
  EXPECT_TRUE(shelf.objects.empty());
}

TEST(ObjectRegion, TheLabelHoldsTheShape) {
  Shelf shelf;
  const auto made = open_on(shelf, 100'000, 8192).instance;
  EXPECT_NE(made, 0u);
  const auto again = open_on(shelf, {});
  EXPECT_EQ(again.backend->size(), 100'000u);
  EXPECT_EQ(again.backend->block_size(), 8192u);
  EXPECT_EQ(again.instance, made) << "the same region";
  EXPECT_THROW(open_on(shelf, 100'001), std::invalid_argument);
  EXPECT_THROW(open_on(shelf, 100'000, 4096), std::invalid_argument);
  shelf.label.reset();
  EXPECT_THROW(open_on(shelf, {}), std::invalid_argument) << "none there, and no size to make one";
  EXPECT_EQ(error_of([&] { open_on(shelf, 100'000, 8192, true); }), ENOENT);
  EXPECT_NE(open_on(shelf, 100'000, 8192).instance, made) << "another region in the same place";
}

TEST(ObjectRegion, AnyOtherLabelIsRefused) {
  for (const char* text : {"", "r3 region 1\n", "r3 region 2\nsize 1\nchunk 4096\nid 1\n",
                           "r3 region 1\nsize 1\nchunk 4097\nid 1\n", "r3 region 1\nsize -1\nchunk 4096\nid 1\n",
                           "r3 region 1\nsize 1\nchunk 4096\nid 0\n", "r3 region 1\nsize 1\nchunk 4096\nid 1"}) {
    Shelf shelf;
    shelf.label = text;
    EXPECT_EQ(error_of([&] { open_on(shelf, 1); }), EILSEQ) << text;
  }
}

TEST(ObjectRegion, AShortObjectIsDamage) {
  Shelf shelf;
  const auto region = open_on(shelf, 100'000, 4096).backend;
  shelf.objects[2].resize(100);
  EXPECT_EQ(error_of([&] { r3::test::read_bytes(*region, 8192, 4096); }), EIO);
}

TEST(ObjectRegion, SizesThatMakeNoSense) {
  const auto layout = [](const char* chunk) { return r3::parse_layout({{"chunk", chunk}}, false); };
  EXPECT_EQ(*layout("64K").chunk, 65536u);
  for (const char* chunk : {"1K", "64M", "5000", "x", "-4096"}) EXPECT_THROW(layout(chunk), std::invalid_argument);
  EXPECT_THROW(r3::parse_layout({{"size", "9223372036854775808"}}, false), std::invalid_argument);
}

}  // namespace
