// SPDX-License-Identifier: Apache-2.0
// How many files the directory regions of a process keep open together. Each keeps its own, and knows which it has
// not used for longest; who has more than an equal share gives up first, so that one busy region does not leave the
// others without.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

namespace r3 {

class OpenFiles {
 public:
  // One that keeps files open. Any thread calls these.
  class Keeper {
   public:
    virtual std::size_t open_now() = 0;
    // Closes the one that was not used for longest, if there is one.
    virtual void close_oldest() = 0;

   protected:
    ~Keeper() = default;
  };

  // 0: half of what the process may open now (RLIMIT_NOFILE), at most 1024.
  explicit OpenFiles(std::size_t most = 0);

  // The keeper leaves before it dies.
  void join(Keeper& keeper);
  void leave(Keeper& keeper);

  // The keeper has opened one more, or has closed some. It holds no lock that its functions take.
  void opened(Keeper& keeper);
  void closed(std::size_t count) { open_ -= count; }

 private:
  Keeper* who_gives_up(Keeper& asking);

  const std::size_t most_;
  std::atomic<std::size_t> open_{0};
  std::mutex mutex_;
  std::vector<Keeper*> keepers_;  // guarded by mutex_
};

}  // namespace r3
