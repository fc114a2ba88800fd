// SPDX-License-Identifier: Apache-2.0
// A power cut under a directory region (power_disk.hpp): after every operation the files that it could have
// left are put together (the worst case, and random ones), opened, and compared with what was written and
// flushed. Processes that are killed between two calls are mixed in.
#include <algorithm>
#include <filesystem>
#include <functional>
#include <optional>
#include <random>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/directory.hpp"
#include "tests/unit/backend_suite.hpp"
#include "tests/unit/power_disk.hpp"

namespace r3::test {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kChunk = 2 * kPage;
constexpr std::uint64_t kPages = 24;


class DirectoryPower : public testing::TestWithParam<unsigned> {
 protected:
  DirectoryPower() : random_(GetParam()) {
    fs::create_directory(root_);
    fs::create_directory(parent_.path() + "/after");
    recorded_.emplace(root_);
    disk = &*recorded_;
  }
  ~DirectoryPower() override { disk = nullptr; }

  // What a killed process was doing is done or not.
  void open() {
    region_.emplace(root_ + "/region", DirectoryOptions{kPages * kPage, kChunk, false, std::make_shared<OpenFiles>(3)});
    for (std::uint64_t page = 0; page < kPages; ++page) {
      const auto value = load_le<std::uint64_t>(read_bytes(*region_, page * kPage, 8).data());
      ASSERT_TRUE(std::ranges::count(possible_[page], value)) << "page " << page;
      possible_[page].push_back(value);
    }
  }

  // A write, a zeroing or a flush; false if the process was killed in it.
  bool step() {
    const auto first = random_() % kPages;
    const auto count = std::min(1 + random_() % 5, kPages - first);
    const auto kind = random_() % 8;
    const std::uint64_t value = kind < 2 ? 0 : ++last_;
    if (kind > 1 && kind < 4) return flush();
    for (auto page = first; page < first + count; ++page) possible_[page].push_back(value);
    try {
      const std::vector<std::uint64_t> words(count * kPage / 8, value);
      if (value == 0) region_->zero_at(first * kPage, count * kPage);
      else region_->write_at(std::as_bytes(std::span(words)), first * kPage);
    } catch (const std::system_error&) {
      return false;
    }
    return true;
  }

  bool flush() {
    try {
      region_->flush();
    } catch (const std::system_error&) {
      return false;
    }
    for (auto& values : possible_) values = {values.back()};
    return true;
  }

  void cut_the_power(const std::function<bool()>& also) {
    const auto after = parent_.path() + "/after/" + std::to_string(++cuts_);
    disk = nullptr;
    recorded_->build(after, also);
    {
      DirectoryBackend found(after + "/region", {kPages * kPage, kChunk, false, std::make_shared<OpenFiles>(3)});
      for (std::uint64_t page = 0; page < kPages; ++page) {
        const auto bytes = read_bytes(found, page * kPage, kPage);
        const auto value = load_le<std::uint64_t>(bytes.data());
        ASSERT_TRUE(std::equal(bytes.begin() + 8, bytes.end(), bytes.begin())) << "torn " << page;
        const auto& allowed = possible_[page];
        ASSERT_TRUE(std::ranges::count(allowed, value))
            << "page " << page << " holds " << value << ", flushed was " << allowed.front();
      }
    }
    fs::remove_all(after);
    disk = &*recorded_;
  }

  TemporaryDirectory parent_;
  const std::string root_ = parent_.path() + "/disk";
  std::optional<Disk> recorded_;
  std::optional<DirectoryBackend> region_;
  std::mt19937_64 random_;
  std::vector<std::uint64_t> possible_[kPages];  // what may be there; the last is what a flush keeps
  std::uint64_t last_ = 0;
  int cuts_ = 0;
};

TEST_P(DirectoryPower, WhatWasFlushedIsThereAfterwards) {
  for (auto& values : possible_) values = {0};
  for (int life = 0; life < 4; ++life) {
    disk->calls_left = random_() % 60;
    try {
      open();
      for (int i = 0; i < 20 && step(); ++i) {
        cut_the_power([] { return false; });
        if (!HasFatalFailure()) cut_the_power([this] { return random_() % 2 == 0; });
        if (HasFatalFailure()) return;
      }
    } catch (const std::system_error&) {  // killed while it opened
    }
    region_.reset();
  }
  EXPECT_GT(cuts_, 10);
}

INSTANTIATE_TEST_SUITE_P(Seeds, DirectoryPower, testing::Range(1u, 6u));

}  // namespace
}  // namespace r3::test
