// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/batch.hpp"

#include <algorithm>
#include <utility>

namespace r3::sync {

Batcher::Batcher(std::uint32_t file, const Geometry& geometry, Outlet& outlet)
    : geometry_(geometry), outlet_(outlet) {
  data_.file = zeroes_.file = file;
}

Bytes Batcher::room(std::uint64_t index) {
  const auto length = geometry_.length(index);
  if (kept_ > 0 && kept_ + length > kBatchBytes) send(data_);
  if (data_.bytes.size() < kept_ + length) data_.bytes.resize(std::max(kept_ + length, kBatchBytes));
  return Bytes(data_.bytes).subspan(kept_, length);
}

void Batcher::add(std::uint64_t index, const Hash& hash) {
  data_.entries.push_back({index, hash});
  kept_ += geometry_.length(index);
}

void Batcher::add_zeroes(std::uint64_t index) {
  zeroes_.entries.push_back({index, {}});
  if (zeroes_.entries.size() == kZeroBatch) send(zeroes_);
}

void Batcher::flush() {
  send(data_);
  send(zeroes_);
}

void Batcher::send(Batch& batch) {
  if (batch.entries.empty()) return;
  if (&batch == &data_) data_.bytes.resize(std::exchange(kept_, 0));
  outlet_.send(batch);
  batch.clear();
}

}  // namespace r3::sync
