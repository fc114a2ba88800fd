// SPDX-License-Identifier: Apache-2.0
// Fetches in the background what a PullSource says is wanted next, as long as it is absent: long extents,
// as many in flight as the link can hold, each giving way to what the application waits for. What fails
// is tried again. Knows order and pace, not why something is wanted.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "libcommon/base/tasks.hpp"
#include "libcommon/storage/cached_chunks.hpp"
#include "libcommon/storage/cached_link.hpp"
#include "libcommon/storage/pull_source.hpp"

namespace r3 {

struct PullerOptions {
  unsigned workers = 16;    // requests in flight at most
  std::uint64_t rate = 0;   // bytes a second at most; 0: as fast as it goes
  bool paused = false;      // at the start, until resume()
  // All that the source gave is here (or the cache is full), for the first time.
  std::function<void()> on_complete = {};
};

class Puller {
 public:
  Puller(CachedChunks& chunks, PullSource& source, PullerOptions options);

  // The source may have something new.
  void wake();
  // Waits until everything was pulled (true), or the stop is requested.
  bool wait_until_complete(const Stop& stop);
  bool complete() const;
  // Nothing is asked for until resume(); on return nothing is on its way.
  void pause();
  void resume();
  void abandon() noexcept;

  struct Numbers {
    double rate = 0;  // bytes a second, the best of late
    double round_trip = 0;  // seconds
    std::uint64_t in_flight = 0, window = 0, pulled = 0;
  };
  Numbers numbers() const;
  std::string last_error() const;

 private:
  using Clock = LinkMeter::Clock;

  struct Job {
    Flights::Ticket ticket{};
    LinkMeter::Request request{};
  };
  void work();
  bool next_job(std::unique_lock<std::mutex>& lock, Job& job);
  std::uint64_t gap() const;
  bool find_absent();
  void drop_present();
  bool may_send(std::unique_lock<std::mutex>& lock);
  void fetch(const Job& job);
  void failed(const ChunkRun& run);
  void check_complete();

  CachedChunks& chunks_;
  PullSource& source_;
  const PullerOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  LinkMeter meter_;             // guarded by mutex_
  std::deque<ChunkRun> absent_; // guarded by mutex_: wanted next, found absent
  bool paused_ = false;         // guarded by mutex_
  unsigned fetching_ = 0;       // guarded by mutex_: workers
  unsigned idle_ = 0;           // guarded by mutex_: workers that wait
  unsigned workers_ = 0;        // guarded by mutex_
  bool complete_ = false;       // guarded by mutex_
  bool told_ = false;           // guarded by mutex_: on_complete was called
  bool more_ = true;            // guarded by mutex_: the source may have something
  std::uint64_t pulled_ = 0;    // guarded by mutex_: bytes
  double tokens_ = 0;           // guarded by mutex_: bytes that `rate` lets go now
  Clock::time_point tokens_at_ = Clock::now();  // guarded by mutex_
  Clock::time_point not_before_{};              // guarded by mutex_: after a failure
  unsigned failures_ = 0;       // guarded by mutex_: in a row
  std::string last_error_;      // guarded by mutex_
  TaskGroup threads_;           // last: its threads use all of the above
};

}  // namespace r3
