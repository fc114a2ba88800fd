// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_fence.hpp"

#include <algorithm>
#include <chrono>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

// Tokens of a server that is started anew have to be larger than those of the one before it.
std::uint64_t now() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(since).count());
}

}  // namespace

std::uint64_t R3Fence::enter(std::uint64_t token, bool only_writer) {
  const FairLock::Alone alone(lock_);
  if (token == 0) token = std::max(now(), last_ + 1);
  last_ = std::max(last_, token);
  if (!only_writer) return token;
  only_writer_ = std::max(only_writer_, token);
  least_ = std::max(least_, token);
  return token;
}

R3Fence::Change::Change(R3Fence& fence, std::uint64_t token) {
  shared_.emplace(fence.lock_);
  if (token > fence.least_ && fence.least_ == fence.only_writer_ && fence.least_ != 0) {
    shared_.reset();
    {
      const FairLock::Alone alone(fence.lock_);
      fence.least_ = std::max(fence.least_, token);
    }
    shared_.emplace(fence.lock_);
  }
  if (token < fence.least_) fail(ESTALE, "a newer writer");
}

}  // namespace r3
