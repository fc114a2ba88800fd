// SPDX-License-Identifier: Apache-2.0
// Whether something below was changed since the last flush that succeeded: whoever ends need not flush, and not wait
// for a region that is away, where it was not. A change counts once it has been made, so that a flush that began
// earlier does not cover it; one that threw was promised to nobody.
#pragma once

#include <atomic>
#include <memory>

#include "libcommon/storage/decorator.hpp"

namespace r3 {

class FlushDue : public Decorator {
 public:
  explicit FlushDue(std::unique_ptr<Backend> below) : Decorator(*below), owned_(std::move(below)) {}

  // Any thread; of changes under way only those that returned before the call are seen for certain.
  bool due() const { return changes_ != flushed_; }

  void write_at(ConstBytes from, std::uint64_t offset) override;
  void flush() override;
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  void discard_at(std::uint64_t offset, std::uint64_t length) override;
  bool try_write_at(ConstBytes from, std::uint64_t offset) override;

 private:
  const std::unique_ptr<Backend> owned_;
  std::atomic<std::uint64_t> changes_{0};
  std::atomic<std::uint64_t> flushed_{0};  // so many changes were there before the latest flush
};

}  // namespace r3
