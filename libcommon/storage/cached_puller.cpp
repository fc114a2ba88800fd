// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached_puller.hpp"

#include <algorithm>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kLook = 16 * MiB;   // what the source is asked for at once while all is present
constexpr std::uint64_t kGap = 64 * KiB;
constexpr std::chrono::milliseconds kFirstPause{100};
constexpr unsigned kMostDoublings = 6;

}  // namespace

Puller::Puller(CachedChunks& chunks, PullSource& source, PullerOptions options)
    : chunks_(chunks), source_(source), options_(std::move(options)) {
  const std::lock_guard lock(mutex_);
  paused_ = options_.paused;
  workers_ = 1;
  threads_.spawn([this] { work(); });
}

void Puller::wake() {
  const std::lock_guard lock(mutex_);
  more_ = true;
  changed_.notify_one();
}

void Puller::pause() {
  std::unique_lock lock(mutex_);
  paused_ = true;
  while (fetching_ > 0 && !threads_.stop().requested())
    changed_.wait_for(lock, std::chrono::milliseconds(20));
}

void Puller::resume() {
  const std::lock_guard lock(mutex_);
  paused_ = false;
  more_ = true;
  changed_.notify_all();
}

void Puller::abandon() noexcept {
  threads_.stop().request();
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

bool Puller::complete() const {
  const std::lock_guard lock(mutex_);
  return complete_;
}

Puller::Numbers Puller::numbers() const {
  const std::lock_guard lock(mutex_);
  return {meter_.rate(), meter_.round_trip().count(), meter_.in_flight(), meter_.window(), pulled_};
}

std::string Puller::last_error() const {
  const std::lock_guard lock(mutex_);
  return last_error_;
}

bool Puller::wait_until_complete(const Stop& stop) {
  std::unique_lock lock(mutex_);
  while (!complete_ && !stop.requested() && !threads_.stop().requested())
    changed_.wait_for(lock, std::chrono::milliseconds(50));
  return complete_;
}

void Puller::work() {
  std::unique_lock lock(mutex_);
  while (!threads_.stop().requested()) {
    Job job;
    if (!next_job(lock, job)) continue;
    ++fetching_;
    // The next one to look for work is started only when this one is busy, and there may be more.
    if (idle_ == 0 && workers_ < options_.workers) {
      ++workers_;
      threads_.spawn([this] { work(); });
    }
    lock.unlock();
    fetch(job);
    lock.lock();
    --fetching_;
    check_complete();
    if (paused_) changed_.notify_all();
    else changed_.notify_one();
  }
}

// Waits for something to do and for room to do it; false if that has to be looked at again.
bool Puller::next_job(std::unique_lock<std::mutex>& lock, Job& job) {
  if (paused_) {
    ++idle_;
    changed_.wait_for(lock, std::chrono::milliseconds(200));
    --idle_;
    return false;
  }
  if (!may_send(lock)) return false;
  if (!find_absent()) {
    check_complete();
    ++idle_;
    // Room may come with the end of an epoch, which nobody tells: hence the time.
    if (more_) changed_.wait_for(lock, std::chrono::milliseconds(200));
    else changed_.wait(lock);
    --idle_;
    return false;
  }
  const auto most = std::max<std::uint64_t>(meter_.request_size() / chunks_.map().chunk(), 1);
  const auto& next = absent_.front();
  const auto run = chunks_.map().next_absent(next.first, std::min(next.end(), next.first + most), gap());
  if (run.count == 0) return false;
  job.request = meter_.send(chunks_.map().length_of(run), Clock::now());
  const bool ours = chunks_.flights().claim_background(run, job.request.expected, job.ticket);
  const ChunkRun taken = ours ? job.ticket->run : run;
  if (!ours || taken.count < run.count) {
    meter_.forget(job.request);
    if (ours) job.request = meter_.send(chunks_.map().length_of(taken), job.request.sent);
  }
  auto& rest = absent_.front();
  const auto end = rest.end();
  rest.first = taken.end();
  rest.count = end - rest.first;
  if (rest.count == 0) absent_.pop_front();
  tokens_ -= static_cast<double>(ours ? job.request.bytes : 0);
  return ours;
}

// Whether the link, the rate and a pause after a failure allow one more request; waits if not.
bool Puller::may_send(std::unique_lock<std::mutex>& lock) {
  const auto now = Clock::now();
  auto until = std::max(not_before_, meter_.next_send());
  if (options_.rate > 0) {
    const auto rate = static_cast<double>(options_.rate);
    const LinkMeter::Seconds passed = now - tokens_at_;
    tokens_at_ = now;
    // A twentieth of a second may be made up for.
    tokens_ = std::min(tokens_ + passed.count() * rate, rate / 20);
    if (tokens_ < 0)
      until = std::max(until, now + std::chrono::duration_cast<Clock::duration>(
                                        LinkMeter::Seconds(-tokens_ / rate)));
  }
  const bool full = meter_.in_flight() >= meter_.window();
  if (!full && until <= now) return true;
  ++idle_;
  if (full) changed_.wait(lock);
  else changed_.wait_until(lock, until);
  --idle_;
  return false;
}

// How many present chunks are fetched again rather than asked around.
std::uint64_t Puller::gap() const { return chunks_.holds_all() ? kGap / chunks_.map().chunk() : 0; }

// Makes absent_ begin with something, if the source knows something that is absent and there is room for it.
bool Puller::find_absent() {
  const auto& map = chunks_.map();
  if (!chunks_.has_room(std::max<std::uint64_t>(meter_.request_size() / map.chunk(), 1) +
                        meter_.in_flight() / map.chunk()))
    return false;
  drop_present();
  while (absent_.empty()) {
    const auto wanted = source_.next(chunks_.map().present_count() == 0 ? meter_.request_size() : kLook);
    if (!wanted) {
      more_ = false;
      return false;
    }
    const auto touched = map.touched(wanted->offset, wanted->length);
    for (auto at = touched.first; at < touched.end();) {
      const auto run = map.next_absent(at, touched.end(), gap());
      if (run.count == 0) break;
      absent_.push_back(run);
      at = run.end();
    }
  }
  return true;
}

// Demand reads and writes may have been there first.
void Puller::drop_present() {
  while (!absent_.empty()) {
    auto& next = absent_.front();
    const auto run = chunks_.map().next_absent(next.first, next.end(), gap());
    next.count = run.count == 0 ? 0 : next.end() - run.first;
    next.first = run.first;
    if (next.count > 0) return;
    absent_.pop_front();
  }
}

void Puller::fetch(const Job& job) {
  const ChunkRun run = job.ticket->run;
  const auto& map = chunks_.map();
  thread_local std::vector<std::byte> memory;
  if (memory.size() < map.length_of(run)) memory.resize(map.length_of(run));
  const Bytes bytes = Bytes(memory).first(map.length_of(run));
  try {
    chunks_.remote().read_background(bytes, map.offset_of(run.first));
    {
      const std::lock_guard lock(mutex_);
      meter_.beside(chunks_.demanded());
      meter_.answer(job.request, Clock::now());
      chunks_.set_round_trip(
          std::chrono::duration_cast<std::chrono::nanoseconds>(meter_.round_trip()));
      pulled_ += bytes.size();
      failures_ = 0;
      last_error_.clear();
    }
    chunks_.fill(run, bytes);
    chunks_.flights().end(job.ticket);
  } catch (...) {
    const auto text = text_of_current_exception();
    chunks_.flights().end(job.ticket);
    const std::lock_guard lock(mutex_);
    meter_.forget(job.request);
    last_error_ = text;
    failed(run);
  }
}

void Puller::failed(const ChunkRun& run) {
  absent_.push_front(run);
  const auto pause = kFirstPause * (1u << std::min(failures_, kMostDoublings));
  ++failures_;
  not_before_ = Clock::now() + pause;
}

void Puller::check_complete() {
  const bool nothing_left = !more_ && absent_.empty() && fetching_ == 0;
  const bool no_room = more_ && fetching_ == 0 && !chunks_.has_room(1 * MiB / chunks_.map().chunk());
  const bool was_complete = std::exchange(complete_, nothing_left || no_room);
  if (!complete_ || was_complete) return;  // else the workers would wake each other for ever
  changed_.notify_all();
  if (std::exchange(told_, true) || !options_.on_complete) return;
  options_.on_complete();
}

}  // namespace r3
