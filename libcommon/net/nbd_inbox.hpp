// SPDX-License-Identifier: Apache-2.0
// Bytes that have been received and not yet been used, and payloads too large to wait there. Memory is
// touched as bytes arrive, never because a header promised them.
#pragma once

#include <algorithm>
#include <memory>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/mapping.hpp"

namespace r3::nbd::server {

class Inbox {
 public:
  // The longest run of bytes that can wait here as a whole.
  static constexpr std::size_t kLongest = 1 * MiB + 64;
  static constexpr std::size_t kReceive = 128 * KiB;

  Inbox();
  ConstBytes bytes() const { return memory_.bytes().subspan(begin_, end_ - begin_); }
  void use(std::size_t size);
  // Where to receive up to `size` bytes, so that what waits here can grow to `whole` (at most kLongest);
  // may move what waits. `size` is at most kReceive, or else what `whole` lacks. Then added() says how
  // much came.
  Bytes room(std::size_t size, std::size_t whole);
  void added(std::size_t size) { end_ += size; }
  // Gives memory back to the system if nothing waits.
  void release();

 private:
  Mapping memory_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

// A long payload on its way to a backend: in memory, or in a file without a name (in $TMPDIR or
// /var/tmp), read back in slices.
class Payload {
 public:
  static constexpr std::uint64_t kSlice = 256 * KiB;

  static Payload in_memory(ConstBytes copied);
  static Payload in_file();

  void append(ConstBytes bytes);  // to one in a file
  std::uint64_t size() const { return size_; }
  std::uint64_t memory_size() const { return file_.valid() ? kSlice : size_; }
  // Calls `take(bytes, position)` for all of it, in order.
  template <class Take>
  void for_each_slice(Take&& take) const {
    if (!file_.valid()) return take(ConstBytes(memory_.get(), size_), 0);
    const auto slice = std::make_unique_for_overwrite<std::byte[]>(kSlice);
    for (std::uint64_t position = 0; position < size_; position += kSlice) {
      const Bytes bytes(slice.get(), std::min(kSlice, size_ - position));
      fill(bytes, position);
      take(ConstBytes(bytes), position);
    }
  }

 private:
  void fill(Bytes bytes, std::uint64_t position) const;

  std::unique_ptr<std::byte[]> memory_;
  Fd file_;
  std::uint64_t size_ = 0;
};

}  // namespace r3::nbd::server
