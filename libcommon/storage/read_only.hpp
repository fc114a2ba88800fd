// SPDX-License-Identifier: Apache-2.0
// Refuses every change (EPERM) to the backend below, whatever that allows; the rest is passed on.
#pragma once

#include <memory>

#include "libcommon/storage/decorator.hpp"

namespace r3 {

class ReadOnly : public Decorator {
 public:
  explicit ReadOnly(std::unique_ptr<Backend> below) : Decorator(*below), owned_(std::move(below)) {}

  bool read_only() const override { return true; }
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  void discard_at(std::uint64_t offset, std::uint64_t length) override;
  bool try_write_at(ConstBytes from, std::uint64_t offset) override;

 private:
  const std::unique_ptr<Backend> owned_;
};

}  // namespace r3
