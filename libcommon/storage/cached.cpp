// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached.hpp"

#include "libcommon/base/error.hpp"

namespace r3 {

Cached::Cached(Backend& remote, CacheStore& store, PullSource& source, const CachedOptions& options)
    : remote_(remote),
      store_(store),
      source_(source),
      sync_(options.sync),
      chunks_(remote, store, options.chunk, options.capacity, options.on_local),
      puller_(chunks_, source, options.pull),
      pusher_(chunks_, options.push) {}

Cached::~Cached() { abandon(); }

void Cached::was_read(std::uint64_t offset, std::uint64_t length, bool missed) {
  if (missed) missed_.fetch_add(1, std::memory_order_relaxed);
  if (source_.demanded(offset, length, missed)) puller_.wake();
}

void Cached::read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size(), offset, into.size());
  if (chunks_.try_read(into, offset)) return was_read(offset, into.size(), false);
  was_read(offset, into.size(), true);  // first: what is read ahead comes while this one waits
  chunks_.read(into, offset);
}

bool Cached::try_read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size(), offset, into.size());
  if (!chunks_.try_read(into, offset)) return false;
  was_read(offset, into.size(), false);
  return true;
}

// Only where chunks stay once they have come.
ConstBytes Cached::borrow(std::uint64_t offset, std::uint64_t length) {
  check_read_range(size(), offset, length);
  if (!chunks_.holds_all() || !chunks_.map().all_present(offset, length)) return {};
  const ConstBytes bytes = store_.borrow(offset, length);
  if (!bytes.empty()) was_read(offset, length, false);
  return bytes;
}

void Cached::check_write(std::uint64_t offset, std::uint64_t length) const {
  if (read_only()) fail(EPERM, "read-only region");
  check_write_range(size(), offset, length);
}

void Cached::write_at(ConstBytes from, std::uint64_t offset) {
  check_write(offset, from.size());
  if (from.empty()) return;
  chunks_.change({from, offset, from.size()});
  pusher_.changed();
}

bool Cached::try_write_at(ConstBytes from, std::uint64_t offset) {
  check_write(offset, from.size());
  if (from.empty()) return true;
  if (!chunks_.try_change({from, offset, from.size()})) return false;
  pusher_.changed();
  return true;
}

void Cached::zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) {
  check_write(offset, length);
  if (how.only_if_fast) fail(EOPNOTSUPP, "zeroing faster than by writing");
  if (length == 0) return;
  chunks_.change({{}, offset, length});
  pusher_.changed();
}

void Cached::flush() {
  if (read_only()) return;
  switch (sync_) {
    case CachedSync::remote: return pusher_.flush();
    case CachedSync::local: return store_.sync();
    case CachedSync::none: return;
  }
}

// The question goes first: what is changed and pushed after it was clean is changed while it is asked.
std::vector<Extent> Cached::extents(std::uint64_t offset, std::uint64_t length, std::size_t most) {
  check_read_range(size(), offset, length);
  if (length == 0) return {};
  if (any_dirty(offset, length)) return Backend::extents(offset, length, most);
  return remote_.extents(offset, length, most);
}

bool Cached::any_dirty(std::uint64_t offset, std::uint64_t length) {
  if (chunks_.map().dirty_count() == 0) return false;
  auto& map = chunks_.map();
  const auto run = map.touched(offset, length);
  for (auto at = run.first; at < run.end(); at = map.group_end(at)) {
    const std::shared_lock lock(map.lock_of(at));
    const auto stop = std::min(map.group_end(at), run.end());
    if (map.dirty.next_set(at, stop) < stop) return true;
  }
  return false;
}

void Cached::prefetch(std::uint64_t offset, std::uint64_t length) {
  check_read_range(size(), offset, length);
  if (length > 0 && source_.demanded(offset, length, true)) puller_.wake();
}

void Cached::abandon() noexcept {
  remote_.abandon();
  chunks_.abandon();
  puller_.abandon();
  pusher_.abandon();
}

CachedNumbers Cached::numbers() const {
  const auto& map = chunks_.map();
  CachedNumbers numbers;
  numbers.size = map.size();
  numbers.present = std::min(map.present_count() * map.chunk(), map.size());
  numbers.dirty = std::min(map.dirty_count() * map.chunk(), map.size());
  numbers.in_flight = chunks_.flights().count() * map.chunk();
  numbers.missed = missed_;
  numbers.evicted = chunks_.room().given_up() * map.chunk();
  numbers.pull = puller_.numbers();
  numbers.push = pusher_.numbers();
  numbers.complete = puller_.complete();
  numbers.last_error = pusher_.last_error();
  if (numbers.last_error.empty()) numbers.last_error = puller_.last_error();
  numbers.cache_error = chunks_.cache_error();
  return numbers;
}

}  // namespace r3
