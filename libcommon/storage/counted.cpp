// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/counted.hpp"

namespace r3 {

namespace {

void add(std::atomic<std::uint64_t>& number, std::uint64_t more) noexcept {
  number.fetch_add(more, std::memory_order_relaxed);
}

}  // namespace

// One that may wait.
struct Counted::Call {
  explicit Call(Counted& counted) : counted_(counted) { add(counted_.waiting_, 1); }
  ~Call() {
    counted_.waiting_.fetch_sub(1, std::memory_order_relaxed);
    add(counted_.ended_, 1);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 private:
  Counted& counted_;
};

Counted::Numbers Counted::numbers() const {
  return {reads_, read_bytes_, writes_, written_bytes_, waiting_, lost_bytes_, ended_};
}

void Counted::count_read(std::uint64_t length) noexcept {
  add(reads_, 1);
  add(read_bytes_, length);
}

void Counted::count_write(std::uint64_t length) noexcept {
  add(writes_, 1);
  add(written_bytes_, length);
}

void Counted::read_at(Bytes into, std::uint64_t offset) {
  const Call call(*this);
  below_.read_at(into, offset);
  count_read(into.size());
}

void Counted::write_at(ConstBytes from, std::uint64_t offset) {
  const Call call(*this);
  try {
    below_.write_at(from, offset);
  } catch (...) {
    add(lost_bytes_, from.size());
    throw;
  }
  count_write(from.size());
}

void Counted::flush() {
  const Call call(*this);
  below_.flush();
}

void Counted::zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) {
  const Call call(*this);
  below_.zero_at(offset, length, how);
}

void Counted::discard_at(std::uint64_t offset, std::uint64_t length) {
  const Call call(*this);
  below_.discard_at(offset, length);
}

bool Counted::try_read_at(Bytes into, std::uint64_t offset) {
  if (!below_.try_read_at(into, offset)) return false;
  count_read(into.size());
  add(ended_, 1);
  return true;
}

bool Counted::try_write_at(ConstBytes from, std::uint64_t offset) {
  if (!below_.try_write_at(from, offset)) return false;
  count_write(from.size());
  add(ended_, 1);
  return true;
}

ConstBytes Counted::borrow(std::uint64_t offset, std::uint64_t length) {
  const ConstBytes bytes = below_.borrow(offset, length);
  if (bytes.empty()) return bytes;
  count_read(length);
  add(ended_, 1);
  return bytes;
}

}  // namespace r3
