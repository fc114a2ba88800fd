// SPDX-License-Identifier: Apache-2.0
// Bytes on their way out: short ones gathered in memory of its own, which is not filled with zeroes first,
// long ones where they are. Part of r3_connection.
#pragma once

#include <sys/uio.h>

#include <array>
#include <deque>
#include <memory>
#include <span>

#include "libcommon/base/bytes.hpp"

namespace r3 {

class OutQueue {
 public:
  // Room for `bytes` in one piece behind what is there; nothing else is called until add().
  std::byte* reserve(std::size_t bytes);
  // So many of them, as they were reserved. `apart`: a part by itself, for who seals whole parts.
  void add(std::size_t bytes, bool apart = false);
  // Bytes that stay where they are until they are sent.
  void borrow(ConstBytes bytes);

  std::size_t size() const { return size_; }
  // The first parts; valid until the next call.
  std::span<const iovec> parts();
  // The first bytes are gone.
  void sent(std::size_t bytes);

 private:
  struct Part {
    const std::byte* borrowed;  // null: the next bytes of memory_
    std::size_t size;
  };

  std::unique_ptr<std::byte[]> memory_;
  std::size_t capacity_ = 0, begin_ = 0, end_ = 0;  // of memory_
  std::deque<Part> parts_;
  bool closed_ = false;  // the last part is not to grow
  std::size_t size_ = 0;
  std::array<iovec, 8> gathered_;
};

}  // namespace r3
