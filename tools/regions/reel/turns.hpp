// SPDX-License-Identifier: Apache-2.0
// Who uses the tape next. Reads go in the order of the tape (from where it stands to its end, then from its start);
// reads and writes take turns that last at least as long as it took to move the tape there, so that at most half of the
// time goes to moving; background reads come when nobody else wants anything. A writer that has just written is waited
// for a moment: its next piece is on its way. Knows positions, not what is there.
#pragma once

#include <chrono>
#include <condition_variable>
#include <list>
#include <mutex>

namespace r3 {

class Turns {
 public:
  enum class Kind { read, write, background };
  using Clock = std::chrono::steady_clock;

  // Holds the tape until it ends. The constructor waits; throws ESHUTDOWN after abandon().
  class Turn {
   public:
    Turn(Turns& turns, Kind kind, std::uint64_t position = 0);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    // Where the tape stands at the end, and how long moving it there took.
    void ends_at(std::uint64_t position, std::chrono::nanoseconds moving);
    // Of a writer that had nothing to write: nobody waits for its next piece.
    void wrote_nothing() { wrote_ = false; }

   private:
    Turns& turns_;
    const Kind kind_;
    std::uint64_t position_ = 0;
    std::chrono::nanoseconds moving_{0};
    bool wrote_ = true;
  };

  std::size_t waiting() {
    const std::lock_guard lock(mutex_);
    return waiting_.size();
  }
  // No more turns.
  void abandon() noexcept;

 private:
  struct Waiting {
    Kind kind;
    std::uint64_t position;
  };
  using Queue = std::list<Waiting>;

  // Whose turn it is, or end(): nobody's before `recheck`.
  Queue::iterator next(Clock::time_point now, Clock::time_point& recheck);
  Queue::iterator nearest(Kind kind);

  std::mutex mutex_;
  std::condition_variable changed_;
  Queue waiting_;                    // guarded by mutex_
  bool taken_ = false;               // guarded by mutex_
  bool abandoned_ = false;           // guarded by mutex_
  std::uint64_t at_ = 0;             // guarded by mutex_
  Kind side_ = Kind::read;           // guarded by mutex_: who has its turn now, read or write
  Clock::time_point side_until_{};   // guarded by mutex_: at least
  Clock::time_point last_write_{};   // guarded by mutex_
};

}  // namespace r3
