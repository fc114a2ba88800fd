// SPDX-License-Identifier: Apache-2.0
// A region's bytes, of any kind, as one hint reads them: what it names lies in the region, and it ends.
#pragma once

#include <cstdlib>
#include <cstring>

#include "libcommon/storage/pull_hints.hpp"

namespace r3::fuzz {

inline void require(bool holds) {
  if (!holds) std::abort();
}

class Input : public Backend {
 public:
  Input(const std::uint8_t* data, std::size_t size) : bytes_(std::as_bytes(std::span(data, size))) {}
  std::uint64_t size() const override { return bytes_.size(); }
  void read_at(Bytes into, std::uint64_t offset) override {
    check_read_range(size(), offset, into.size());
    require(++reads_ <= HintView::kMostReads);
    std::memcpy(into.data(), &bytes_[offset], into.size());
  }
  void write_at(ConstBytes, std::uint64_t) override { std::abort(); }
  void flush() override {}

 private:
  const ConstBytes bytes_;
  std::size_t reads_ = 0;
};

inline int try_hint(Hint hint, const std::uint8_t* data, std::size_t size) {
  Input region(data, size);
  std::size_t named = 0;
  const HintView::Want want = [&](PullRange range) {
    ++named;
    require(range.length > 0 && range.offset < size && range.length <= size - range.offset);
  };
  const Stop stop;
  HintView view(region, stop, want);
  const bool taken = hint(view);
  require(taken || named == 0);
  return 0;
}

}  // namespace r3::fuzz
