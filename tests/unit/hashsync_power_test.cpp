// SPDX-License-Identifier: Apache-2.0
// A power cut under a destination (power_disk.hpp), in each of its ways to keep files, with processes that are
// killed between two calls: what it has acknowledged is there afterwards; journal and snapshots hold exactly
// one epoch, in place each chunk is of one.
#include <gtest/gtest.h>

#include <random>

#include "tests/unit/hashsync_doubles.hpp"
#include "tests/unit/power_disk.hpp"

namespace r3::sync {
namespace {

namespace fs = std::filesystem;
using test::disk;
using test::Disk;

constexpr std::uint32_t kChunk = kLeastChunk;
constexpr std::uint64_t kMostPages = 24;
const std::string kName = "below/file";

using Content = std::vector<std::byte>;

class HashsyncPower : public testing::TestWithParam<std::tuple<Keep, unsigned>> {
 protected:
  HashsyncPower() : random_(std::get<1>(GetParam())) {
    fs::create_directory(root_);
    fs::create_directory(after_);
    recorded_.emplace(root_);
    disk = &*recorded_;
    options_.keep = std::get<0>(GetParam());
    options_.fsync = Fsync::round;
  }
  ~HashsyncPower() override { disk = nullptr; }

  // Some pages change, and the length now and then.
  Content next_epoch() {
    Content next = possible_.back().value_or(Content(5 * kChunk));
    if (random_() % 3 == 0) next.resize(random_() % (kMostPages * kChunk) + 1);
    for (int i = 0; i < 4; ++i) {
      const auto page = random_() % ((next.size() + kChunk - 1) / kChunk) * kChunk;
      const auto value = random_() % 4 == 0 ? 0 : static_cast<unsigned char>(++last_);
      std::fill_n(&next[page], std::min<std::size_t>(kChunk, next.size() - page), std::byte(value));
    }
    return next;
  }

  // What a source does: what differs is sent, in batches, and the power cut between any two of them.
  void send(Inbox& inbox, HashTable& known, const Content& wanted) {
    const Geometry geometry{wanted.size(), kChunk};
    if (known.geometry().size != wanted.size()) inbox.resize(0, wanted.size());
    known.resize(geometry);
    for (std::uint64_t i = 0; i < geometry.chunks(); ++i) {
      const ConstBytes bytes = ConstBytes(wanted).subspan(geometry.offset(i), geometry.length(i));
      const Hash hash = hasher_.of(bytes);
      if (hash == known.at(i)) continue;
      known.set(i, hash);
      const Entry entry{i, hash};
      inbox.write(0, {{&entry, 1}, hash == Hash{} ? ConstBytes{} : bytes, frame_});
      cut_twice();
    }
  }

  void live() {
    Destination home(root_, options_);
    const auto inbox = home.inbox(++instance_, {});
    Content wanted = possible_.back().value_or(Content(kChunk));
    if (!possible_.back()) possible_.push_back(wanted);
    inbox->open(0, {{wanted.size(), kChunk}, 1, kName});
    HashTable known = inbox->hash(0, hasher_);
    for (std::uint64_t epoch = 1; epoch < 5; ++epoch) {
      send(*inbox, known, wanted);
      inbox->commit(epoch);
      possible_ = {wanted};
      cut_twice();
      wanted = next_epoch();
      possible_.push_back(wanted);
    }
    inbox->finish();
  }

  void cut_twice() {
    cut_the_power([] { return false; });
    cut_the_power([this] { return random_() % 2 == 0; });
    if (HasFatalFailure()) throw std::runtime_error("a wrong state");
  }

  void cut_the_power(const std::function<bool()>& also) {
    const auto at = after_ + "/" + std::to_string(++cuts_);
    disk = nullptr;
    recorded_->build(at, also);
    { const Destination recovers(at, options_); }
    check_state(at + "/" + kName);
    fs::remove_all(at);
    disk = &*recorded_;
  }

  void check_state(const std::string& path) {
    std::optional<Content> found;
    if (exists(path)) {
      const std::string text = read_file(path);
      const auto bytes = as_bytes(text);
      found = Content(bytes.begin(), bytes.end());
    }
    if (options_.keep != Keep::in_place) {
      ASSERT_TRUE(std::ranges::count(possible_, found)) << "cut " << cuts_ << ": no epoch";
      return;
    }
    ASSERT_TRUE(found || !possible_.front()) << "cut " << cuts_ << ": the file is gone";
    for (std::size_t at = 0; found && at < found->size(); at += kChunk)
      ASSERT_TRUE(std::ranges::any_of(possible_, [&](const auto& one) { return same_chunk(*found, one, at); }))
          << "cut " << cuts_ << ": byte " << at;
  }

  // Behind the end of an epoch may be what another one has there, or zeroes, until it is committed.
  bool same_chunk(const Content& found, const std::optional<Content>& one, std::size_t at) const {
    const auto end = std::min(found.size(), at + kChunk);
    const auto size = one ? one->size() : 0;
    for (std::size_t i = at; i < std::min(end, size); ++i)
      if (found[i] != (*one)[i]) return false;
    const auto known = [&](std::size_t i) {
      return found[i] == std::byte{0} ||
             std::ranges::any_of(possible_, [&](const auto& other) { return other && i < other->size() && (*other)[i] == found[i]; });
    };
    for (std::size_t i = std::max(at, size); i < end; ++i)
      if (!known(i)) return false;
    return true;
  }

  TemporaryDirectory parent_;
  const std::string root_ = parent_.path("disk"), after_ = parent_.path("after");
  std::optional<Disk> recorded_;
  DestinationOptions options_;
  std::mt19937_64 random_;
  const Hasher hasher_{HashSecret{}};
  const Frame frame_{};
  // What may be there: from what was acknowledged last to what is being sent now; nothing: no such file.
  std::vector<std::optional<Content>> possible_{std::nullopt};
  unsigned last_ = 0;
  std::uint64_t instance_ = 0;
  int cuts_ = 0;
};

TEST_P(HashsyncPower, WhatWasAcknowledgedIsThereAfterwards) {
  for (int life = 0; life < 6; ++life) {
    disk->calls_left = random_() % 80;
    try {
      live();
    } catch (const std::system_error&) {  // killed
    } catch (const std::runtime_error&) {
      return;
    }
  }
  EXPECT_GT(cuts_, 10);
}

INSTANTIATE_TEST_SUITE_P(Ways, HashsyncPower,
                         testing::Combine(testing::Values(Keep::in_place, Keep::journal, Keep::snapshot),
                                          testing::Range(1u, 5u)));

}  // namespace
}  // namespace r3::sync
