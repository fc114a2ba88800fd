// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/leeched.hpp"

#include <algorithm>
#include <bit>

#include "libcommon/base/error.hpp"

namespace r3 {

std::optional<PullRange> LeechSource::next(std::uint64_t most) {
  {
    const std::lock_guard lock(mutex_);
    if (!again_.empty()) {
      PullRange& first = again_.front();
      const PullRange given{first.offset, std::min(first.length, most)};
      first.offset += given.length;
      first.length -= given.length;
      if (first.length == 0) again_.pop_front();
      return given;
    }
  }
  return rest_.next(most);
}

void LeechSource::again(PullRange range) {
  const std::lock_guard lock(mutex_);
  again_.push_back(range);
}

Leeched::Leeched(Backend& remote, Backend& local, LeechStore& store, LeechSource& source,
                 const PullerOptions& options)
    : remote_(remote), local_(local), store_(store), source_(source),
      chunks_(remote, store, LeechStore::kChunk, ~0ULL),
      puller_(chunks_, source, options) {
  if (remote.size() != local.size()) fail(EINVAL, "regions of different sizes");
}

Leeched::~Leeched() { abandon(); }

void Leeched::was_read(std::uint64_t offset, std::uint64_t length, bool missed) {
  if (missed) missed_.fetch_add(1, std::memory_order_relaxed);
  if (source_.demanded(offset, length, missed)) puller_.wake();
}

void Leeched::read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size(), offset, into.size());
  if (chunks_.try_read(into, offset)) return was_read(offset, into.size(), false);
  was_read(offset, into.size(), true);
  chunks_.read(into, offset);
}

bool Leeched::try_read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size(), offset, into.size());
  if (!chunks_.try_read(into, offset)) return false;
  was_read(offset, into.size(), false);
  return true;
}

ConstBytes Leeched::borrow(std::uint64_t offset, std::uint64_t length) {
  check_read_range(size(), offset, length);
  if (!chunks_.map().all_present(offset, length)) return {};
  return store_.borrow(offset, length);
}

void Leeched::write_at(ConstBytes from, std::uint64_t offset) {
  check_write_range(size(), offset, from.size());
  if (!from.empty()) chunks_.change({from, offset, from.size()});
}

bool Leeched::try_write_at(ConstBytes from, std::uint64_t offset) {
  check_write_range(size(), offset, from.size());
  return from.empty() || chunks_.try_change({from, offset, from.size()});
}

void Leeched::zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) {
  check_write_range(size(), offset, length);
  if (how.only_if_fast) fail(EOPNOTSUPP, "zeroing faster than by writing");
  if (length > 0) chunks_.change({{}, offset, length});
}

void Leeched::abandon() noexcept {
  remote_.abandon();
  chunks_.abandon();
  puller_.abandon();
}

std::uint64_t Leeched::invalidate(const WrittenBlocks& blocks) {
  static_assert(kTrackedBlock == LeechStore::kChunk);
  const auto before = present();
  const auto chunks = chunks_.map().chunks();
  for (const WrittenGroup& one : blocks) {
    for (std::uint64_t left = one.blocks; left != 0;) {
      const auto first = static_cast<unsigned>(std::countr_zero(left));
      const auto count = static_cast<unsigned>(std::countr_one(left >> first));
      left = first + count == 64 ? 0 : left & ~std::uint64_t{0} << (first + count);
      const ChunkRun run{one.group * std::uint64_t{64} + first, count};
      if (run.end() > chunks) throw ProtocolError("blocks past the end of the region");
      chunks_.invalidate(run);
      source_.again({chunks_.map().offset_of(run.first), chunks_.map().length_of(run)});
    }
  }
  puller_.wake();
  return before - std::min(before, present());
}

void Leeched::invalidate_all() {
  chunks_.invalidate({0, chunks_.map().chunks()});
  look_again();
}

void Leeched::look_again() {
  source_.again({0, size()});
  puller_.wake();
}

std::uint64_t Leeched::present() const {
  return std::min(chunks_.map().present_count() * LeechStore::kChunk, size());
}

}  // namespace r3
