// SPDX-License-Identifier: Apache-2.0
// A stream for what a hostile peer has said.
#pragma once

#include <algorithm>
#include <vector>

#include "libcommon/net/secure_stream.hpp"

namespace r3_test {

using Buffer = std::vector<std::byte>;

// Reads from bytes that are given, and keeps what is written.
class Script final : public r3::Stream {
 public:
  explicit Script(Buffer input = {}) : input_(std::move(input)) {}
  std::size_t read_some(r3::Bytes into) override {
    const std::size_t n = std::min(into.size(), input_.size() - taken_);
    std::copy_n(input_.begin() + static_cast<std::ptrdiff_t>(taken_), n, into.begin());
    taken_ += n;
    return n;
  }
  void write_parts(std::span<const r3::ConstBytes> parts) override {
    for (const r3::ConstBytes part : parts) written.insert(written.end(), part.begin(), part.end());
  }
  void finish() override {}
  void set_deadline(Deadline) override {}
  Buffer written;

 private:
  Buffer input_;
  std::size_t taken_ = 0;
};

}  // namespace r3_test
