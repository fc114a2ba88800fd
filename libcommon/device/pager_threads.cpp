// SPDX-License-Identifier: Apache-2.0
// The threads of a pager that wait for the region: for what was asked for, and for the rest.
#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/device/pager.hpp"

namespace r3 {

namespace {

using Clock = std::chrono::steady_clock;

// Reads that take longer than this wait for something: several at a time go faster.
constexpr auto kWaits = std::chrono::milliseconds(2);
// What is asked for and takes longer than this is better asked for in smaller pieces.
constexpr auto kSlow = std::chrono::milliseconds(100);
constexpr std::uint64_t kPullAtOnce = MiB;

}  // namespace

void Pager::hand_over(const Claim& claim, const ClientMemory::Message& fault) {
  std::lock_guard lock(mutex_);
  queue_.push_back({claim, fault});
  if (idle_ >= queue_.size() || workers_ >= std::max(1u, options_.threads)) {
    wanted_.notify_one();
    return;
  }
  ++workers_;
  tasks_.spawn([this] { work(); });
}

void Pager::work() {
  const Mapping buffer = Mapping::anonymous(options_.most);
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    wanted_.wait(lock, [&] { return closing_ || !queue_.empty(); });
    --idle_;
    if (closing_) return;
    Job job = queue_.front();
    queue_.pop_front();
    lock.unlock();
    const auto begun = Clock::now();
    bring_or_poison(job.claim, buffer.bytes(), Waits::asked, false, job.fault);
    if (Clock::now() - begun > kSlow) slow_.store(true, std::memory_order_relaxed);
    lock.lock();
  }
}

void Pager::add_prefetcher() {
  std::lock_guard lock(mutex_);
  if (closing_ || prefetchers_ >= std::max(1u, options_.threads)) return;
  ++prefetchers_;
  tasks_.spawn([this] { prefetch(); });
}

void Pager::more_to_bring() {
  std::lock_guard lock(mutex_);
  ++pulls_;
  pull_.notify_one();
}

void Pager::prefetch() {
  const Mapping buffer = Mapping::anonymous(std::max(options_.most, kPullAtOnce));
  auto pause = std::chrono::milliseconds(1000);
  while (!closing_) {
    std::unique_lock lock(mutex_);
    const auto seen = pulls_;
    lock.unlock();
    if (const auto range = options_.order->next(kPullAtOnce)) {
      if (prefetch_range(*range, buffer.bytes())) continue;
      // The region fails: what is asked for is still tried, the rest can wait.
      if (tasks_.stop().wait_for(pause)) return;
      pause = std::min(pause * 2, std::chrono::milliseconds(60'000));
      continue;
    }
    lock.lock();
    pull_.wait(lock, [&] { return closing_ || pulls_ != seen; });
  }
}

// Brings what is absent of the range; false if the region failed.
bool Pager::prefetch_range(const PullRange& range, Bytes buffer) {
  while (!closing_) {
    auto claim = memory_.claim_absent(range.offset, range.length);
    if (!claim) return true;
    const auto length = claim->length;
    const auto begun = Clock::now();
    try {
      const auto brought = bring(*claim, buffer, Waits::background, false);
      if (brought == Brought::gone) {
        memory_.release(*claim);
        return false;
      }
      counters_.background_bytes.fetch_add(length, std::memory_order_relaxed);
    } catch (const std::exception&) {
      memory_.release(*claim);
      if (!closing_) log_debug("background: " + text_of_current_exception());
      return false;
    }
    if (Clock::now() - begun > kWaits) add_prefetcher();
  }
  return true;
}

}  // namespace r3
