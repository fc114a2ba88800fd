// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_tally.hpp"

#include <new>
#include <string>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3::nbd::server {

namespace {

constexpr std::chrono::seconds kPause{10};

}  // namespace

void Tally::failed(const char* command, std::uint64_t offset) noexcept {
  const auto now = std::chrono::steady_clock::now();
  std::lock_guard lock(mutex_);
  if (any_ && now - said_ < kPause) {
    ++unsaid_;
    return;
  }
  try {
    std::string text = std::string("a client's ") + command + " at " + std::to_string(offset) +
                       " failed: " + text_of_current_exception();
    if (unsaid_ > 0) text += " (and " + std::to_string(unsaid_) + " others since the last such line)";
    log_warning(text);
  } catch (const std::bad_alloc&) {
  }
  any_ = true;
  said_ = now;
  unsaid_ = 0;
}

}  // namespace r3::nbd::server
