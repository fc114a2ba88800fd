// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached_pusher.hpp"

#include <algorithm>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kMostSent = 1 * MiB;  // in one write
constexpr std::chrono::milliseconds kFirstPause{100};
constexpr unsigned kMostDoublings = 8;

}  // namespace

Pusher::Pusher(CachedChunks& chunks, PusherOptions options)
    : chunks_(chunks), options_(std::move(options)) {
  chunks_.on_full([this] { request(); });
  threads_.spawn([this] { run(); });
}

void Pusher::request() {
  const std::lock_guard lock(mutex_);
  if (wanted_) return;
  wanted_ = true;
  cause_.notify_one();
}

void Pusher::flush() {
  if (chunks_.map().dirty_count() == 0) return;
  Lock lock(mutex_);
  const auto mine = ++asked_;
  wanted_ = true;
  cause_.notify_one();
  changed_.wait(lock, [&] { return done_ >= mine || threads_.stop().requested(); });
  if (done_ < mine) fail(ESHUTDOWN, "the mount is ending");
  if (failed_ >= mine && error_) std::rethrow_exception(error_);
}

bool Pusher::wait_until_clean(const Stop& stop) {
  Lock lock(mutex_);
  while (chunks_.map().dirty_count() > 0) {
    if (stop.requested() || threads_.stop().requested()) return false;
    if (!pushing_) {
      wanted_ = true;
      cause_.notify_one();
    }
    changed_.wait_for(lock, std::chrono::milliseconds(50));
  }
  return true;
}

void Pusher::abandon() noexcept {
  threads_.stop().request();
  const std::lock_guard lock(mutex_);
  cause_.notify_all();
  changed_.notify_all();
  work_.notify_all();
}

Pusher::Numbers Pusher::numbers() const {
  const std::lock_guard lock(mutex_);
  Numbers numbers = numbers_;
  numbers.pushing = pushing_;
  return numbers;
}

std::string Pusher::last_error() const {
  const std::lock_guard lock(mutex_);
  return last_error_;
}

void Pusher::run() {
  Lock lock(mutex_);
  for (;;) {
    wait_for_cause(lock);
    if (threads_.stop().requested()) return;
    wanted_ = false;
    const auto target = asked_;
    pushing_ = true;
    lock.unlock();
    std::exception_ptr error;
    try {
      push_epoch();
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    pushing_ = false;
    ended(target, error);
  }
}

// Until somebody wants a push, or it is time for one. After a failure only who waits for a flush makes it
// try again before a pause has passed.
void Pusher::wait_for_cause(Lock& lock) {
  const auto pause = kFirstPause * (1u << std::min(failures_, kMostDoublings));
  const auto least = failures_ > 0 ? pause : options_.interval;
  const bool timed = least.count() > 0;
  auto due = Clock::now() + least;
  while (!threads_.stop().requested()) {
    if (asked_ > done_ || (wanted_ && failures_ == 0)) return;
    if (timed && Clock::now() >= due) {
      if (wanted_ || chunks_.map().fresh_count() > 0) return;
      due = Clock::now() + least;
    }
    if (timed) cause_.wait_until(lock, due);
    else cause_.wait(lock);
  }
}

void Pusher::push_epoch() {
  if (options_.before_seal && chunks_.map().fresh_count() > 0) options_.before_seal();
  chunks_.seal();
  try {
    do send_all();
    while (!chunks_.close_epoch());
    if (chunks_.map().dirty_count() > 0) {
      chunks_.store().sync_data();
      chunks_.remote().flush();
    }
  } catch (...) {
    chunks_.end_epoch(false);
    throw;
  }
  chunks_.end_epoch(true);
}

void Pusher::ended(std::uint64_t target, std::exception_ptr error) {
  done_ = target;
  ++numbers_.epochs;
  if (error) {
    failed_ = target;
    error_ = error;
    ++failures_;
    try {
      std::rethrow_exception(error);
    } catch (...) {
      last_error_ = text_of_current_exception();
      chunks_.news().set_error(errno_of_current_exception());
    }
  } else if (std::exchange(failures_, 0) > 0) {
    last_error_.clear();
    chunks_.news().set_error(0);
  }
  changed_.notify_all();
}

// One pass over what is unsent, shared by the workers: no chunk is in it twice, so that no two writes to the
// same bytes are ever under way.
void Pusher::send_all() {
  Lock lock(mutex_);
  next_ = 0;
  open_ = true;
  send_error_ = nullptr;
  if (workers_ == 0) {
    ++workers_;
    threads_.spawn([this] { work(); });
  }
  work_.notify_one();
  changed_.wait(lock, [&] { return (!open_ && sending_ == 0) || threads_.stop().requested(); });
  open_ = false;
  changed_.wait(lock, [&] { return sending_ == 0; });
  if (send_error_) std::rethrow_exception(send_error_);
  if (threads_.stop().requested()) fail(ESHUTDOWN, "the mount is ending");
}

void Pusher::work() {
  std::vector<std::byte> memory(std::max(kMostSent, chunks_.map().chunk()));
  Lock lock(mutex_);
  while (!threads_.stop().requested()) {
    if (open_) {
      send_some(lock, memory);
      continue;
    }
    ++idle_;
    work_.wait(lock);
    --idle_;
  }
}

void Pusher::send_some(Lock& lock, Bytes memory) {
  ++sending_;
  try {
    const ChunkRun run = chunks_.take_unsent(next_, memory);
    next_ = run.end();
    if (run.count == 0) open_ = false;
    // Another one may be needed while this one waits for its answer.
    if (open_ && idle_ > 0) work_.notify_one();
    else if (open_ && workers_ < options_.workers) {
      ++workers_;
      threads_.spawn([this] { work(); });
    }
    lock.unlock();
    const auto& map = chunks_.map();
    if (run.count > 0)
      chunks_.remote().write_at(memory.first(map.length_of(run)), map.offset_of(run.first));
    lock.lock();
    if (run.count > 0) numbers_.pushed += map.length_of(run);
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    send_error_ = std::current_exception();
    open_ = false;
  }
  --sending_;
  if (!open_ && sending_ == 0) changed_.notify_all();
}

}  // namespace r3
