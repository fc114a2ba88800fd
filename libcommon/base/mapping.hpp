// SPDX-License-Identifier: Apache-2.0
// Owned memory mappings. A mapping of a file that shrinks raises SIGBUS when touched: code that maps
// foreign files gives the bytes to the kernel only (send, write), which answers EFAULT instead.
#pragma once

#include <cstdint>
#include <utility>

#include "libcommon/base/bytes.hpp"

namespace r3 {

class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Mapping();

  // Zeroed private memory; taken from the system only as it is touched (MAP_NORESERVE).
  static Mapping anonymous(std::size_t length);
  // A shared mapping of a file or device; `offset` is a multiple of the page size.
  static Mapping of_file(int fd, std::uint64_t offset, std::size_t length, bool writable);
  // The start of a file, to be read; empty if the system does not map it.
  static Mapping of_file_if_possible(int fd, std::size_t length);

  Bytes bytes() const { return bytes_; }
  bool empty() const { return bytes_.empty(); }

 private:
  explicit Mapping(Bytes bytes) : bytes_(bytes) {}
  Bytes bytes_;
};

}  // namespace r3
