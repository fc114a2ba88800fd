// SPDX-License-Identifier: Apache-2.0
// A point in time by which a wait has to end, as poll() wants it.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

namespace r3 {

// How long until the deadline, rounded up: an hour at most, so look at the time again. -1, which is for
// ever, without one.
inline int milliseconds_until(std::optional<std::chrono::steady_clock::time_point> deadline) {
  using std::chrono::milliseconds;
  if (!deadline) return -1;
  const auto left = std::chrono::ceil<milliseconds>(*deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp(left, milliseconds(0), milliseconds(3'600'000)).count());
}

}  // namespace r3
