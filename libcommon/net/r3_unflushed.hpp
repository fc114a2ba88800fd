// SPDX-License-Identifier: Apache-2.0
// The changes that an r3/1 server has answered and not yet made durable, in their order, with their data in
// memory that is used again and again. Part of r3_session, which guards it.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "libcommon/net/r3_frame.hpp"

namespace r3 {

// A change that the server has answered, and no flush since then.
struct Unflushed {
  wire::Header request;
  ConstBytes data = {};                 // of a WRITE: in the log's memory, or in
  std::vector<std::byte> own = {};
  std::uint64_t size() const { return request.length | std::uint64_t{request.aux} << 32; }
};

class UnflushedLog {
 public:
  // `limit`: bytes of data that fit without further memory; taken from the system as they are needed.
  explicit UnflushedLog(std::uint64_t limit) : limit_(limit) {}

  void push(const wire::Header& request, ConstBytes data);
  void pop();  // the oldest
  bool full() const { return kept_ > limit_; }
  bool empty() const { return changes_.empty(); }
  std::size_t size() const { return changes_.size(); }
  const std::deque<Unflushed>& changes() const { return changes_; }

 private:
  // Room for `bytes` in one piece, or nothing.
  std::byte* take(std::size_t bytes);

  const std::uint64_t limit_;
  std::uint64_t kept_ = 0;
  std::deque<Unflushed> changes_;
  std::unique_ptr<std::byte[]> ring_;
  std::size_t begin_ = 0, end_ = 0;  // of what is in use; begin_ > end_: it goes round
};

}  // namespace r3
