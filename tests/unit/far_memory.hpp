// SPDX-License-Identifier: Apache-2.0
// Memory that only worker threads may touch, as if it were far away.
#pragma once

#include "libcommon/storage/memory.hpp"

namespace r3::test {

class FarMemory : public MemoryBackend {
 public:
  using MemoryBackend::MemoryBackend;
  bool never_waits() const override { return false; }
  bool try_read_at(Bytes, std::uint64_t) override { return false; }
  bool try_write_at(ConstBytes, std::uint64_t) override { return false; }
  ConstBytes borrow(std::uint64_t, std::uint64_t) override { return {}; }
};

}  // namespace r3::test
