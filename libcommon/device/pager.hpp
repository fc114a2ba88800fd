// SPDX-License-Identifier: Apache-2.0
// Answers the page faults of one process's memory from a region, and brings the rest in the background.
// Errors of the region fail closed: the page is poisoned, so that who touches it gets SIGBUS; it never
// reads as zeroes. Knows no hand-off: who the process is and where its memory lies, it is told.
//
// run() belongs to one thread, which answers at once whatever the region has without waiting; what has
// to wait is brought by further threads. The rest may be called from any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "libcommon/base/stop.hpp"
#include "libcommon/base/tasks.hpp"
#include "libcommon/device/client_memory.hpp"
#include "libcommon/device/fault_streams.hpp"
#include "libcommon/device/zero_map.hpp"
#include "libcommon/storage/backend.hpp"
#include "libcommon/storage/pull_recording.hpp"
#include "libcommon/storage/pull_source.hpp"

namespace r3 {

struct PagerOptions {
  std::uint64_t chunk = 4 * KiB;          // what a fault brings at least; a power of two
  std::uint64_t most = 2 * MiB;           // and at most, when faults follow each other
  PullRecording* recording = nullptr;     // hears what is touched
  unsigned threads = 8;                   // that wait for the region at once
  PullSource* order = nullptr;            // what to bring in the background; none: nothing
  pid_t process = 0;                      // for the signal where pages cannot be poisoned; 0: none is sent
  bool use_poison = true;                 // false: as if the kernel could not
  // A page could not be had: `error` is an errno, `signalled` tells that the kernel cannot poison.
  std::function<void(std::uint64_t address, std::uint64_t offset, int error, bool signalled)> on_poisoned;
  std::function<void(std::unique_ptr<ClientMemory>)> on_fork;
  // A write to a protected page, in the thread of run(); false if the process's messages have to be read
  // first, then it comes again. Without one, writers just go on.
  std::function<bool(std::uint64_t address)> on_write;
};

struct PagerCounters {
  std::atomic<std::uint64_t> faults{0};
  std::atomic<std::uint64_t> minor_faults{0};
  std::atomic<std::uint64_t> read_bytes{0};        // that came from the region
  std::atomic<std::uint64_t> background_bytes{0};  // of these, before they were asked for
  std::atomic<std::uint64_t> zero_bytes{0};        // placed without being read
  std::atomic<std::uint64_t> poisoned_bytes{0};
};

class Pager {
 public:
  enum class End { gone, stopped };

  // `region`, `memory` and options.order are borrowed.
  Pager(Backend& region, ClientMemory& memory, PagerOptions options);
  ~Pager();

  // Until the process has ended or the stop is requested. `ended` becomes readable when the process
  // has ended (a pidfd); -1 if that is not known, then it is looked for now and then.
  End run(const Stop& stop, int ended);

  // The region was written to: what was known of this range may not hold any more.
  void forget(std::uint64_t offset, std::uint64_t length) { zeroes_.forget(offset, length); }
  // The order has something to bring that it did not have when it was asked.
  void more_to_bring();
  const PagerCounters& counters() const { return counters_; }

 private:
  using Claim = ClientMemory::Claim;
  enum class Brought { done, must_wait, gone };
  // Bytes that would have to be waited for: not now, because somebody waits for them, or when there is time.
  enum class Waits { no, asked, background };

  void read_messages();
  Brought answer(const ClientMemory::Message& fault);
  void resume(const ClientMemory::Message& fault);
  void let_write(const ClientMemory::Message& fault);
  Brought bring(Claim& claim, Bytes buffer, Waits waits, bool reads_messages);
  Brought bring_data(Claim& claim, std::uint64_t length, Bytes buffer, Waits waits, bool reads_messages);
  Brought place(Claim& claim, std::uint64_t length, ClientMemory::Fill fill, ConstBytes bytes, bool reads_messages);
  Brought bring_or_poison(Claim& claim, Bytes buffer, Waits waits, bool reads_messages,
                          const ClientMemory::Message& fault);
  void poison(Claim& claim, int error, bool reads_messages, const ClientMemory::Message& fault);
  void signal(const ClientMemory::Message& fault);

  void hand_over(const Claim& claim, const ClientMemory::Message& fault);
  void work();
  void prefetch();
  bool prefetch_range(const PullRange& range, Bytes buffer);
  void add_prefetcher();
  void close();

  Backend& region_;
  ClientMemory& memory_;
  const PagerOptions options_;
  PagerCounters counters_;
  FaultStreams streams_;
  ZeroMap zeroes_;
  Mapping buffer_;
  std::deque<ClientMemory::Message> faults_;
  const Stop* stop_ = nullptr;

  struct Job {
    Claim claim;
    ClientMemory::Message fault;
  };
  std::mutex mutex_;
  std::condition_variable wanted_;  // a job is queued, or closing_
  std::condition_variable pull_;    // the order may have something, or closing_
  std::deque<Job> queue_;           // guarded by mutex_
  unsigned workers_ = 0;            // guarded by mutex_
  unsigned idle_ = 0;               // guarded by mutex_
  unsigned prefetchers_ = 0;        // guarded by mutex_
  std::uint64_t pulls_ = 0;         // how often the order had news; guarded by mutex_
  std::atomic<bool> closing_{false};
  std::atomic<bool> slow_{false};  // what was asked for took long
  TaskGroup tasks_;
};

}  // namespace r3
