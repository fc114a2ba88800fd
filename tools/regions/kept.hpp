// SPDX-License-Identifier: Apache-2.0
// Connections to a server that are kept between operations, and the rule for trying again: what the server
// refuses stays refused (Refused), what it cannot do now (NotNow) and what a lost connection cut off is done once
// more, after a pause, for as long as the user allows. Operations have to bear being done twice.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/stop.hpp"
#include "libcommon/net/stream.hpp"
#include "tools/regions/trouble.hpp"

namespace r3 {

struct Refused : std::system_error {
  Refused(int error, const std::string& what) : std::system_error(error, std::generic_category(), what) {}
};

struct NotNow : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// `Connection` has set_deadline(Stream::Deadline). Any thread may call.
template <class Connection>
class Kept {
 public:
  using Dial = std::function<std::unique_ptr<Connection>()>;
  // `name` is the server's in messages; an io_timeout of 0 waits for ever.
  Kept(std::string name, std::chrono::milliseconds io_timeout, Dial dial)
      : name_(std::move(name)), io_timeout_(io_timeout), dial_(std::move(dial)) {}

  // Calls action(connection) until it returns or is refused. Throws Refused, ProtocolError, or std::system_error:
  // EIO after io_timeout, ESHUTDOWN when abandoned.
  template <class Action>
  void run(Action action) {
    const auto begun = Clock::now();
    const bool bounded = io_timeout_.count() > 0;
    for (auto pause = kFirstPause;; pause = std::min(pause * 2, kLongestPause)) {
      std::string why;
      try {
        attempt(action, bounded ? Stream::Deadline(begun + io_timeout_) : std::nullopt);
        trouble_.over(name_);
        return;
      } catch (const NotNow& passing) {
        why = passing.what();
      } catch (const Refused&) {
        throw;
      } catch (const std::system_error& error) {
        why = error.what();
        if (why.find(name_) == why.npos) why = name_ + ": " + why;
        forget();  // what broke one of them broke the others
      }
      if (bounded && Clock::now() + pause - begun >= io_timeout_)
        fail(EIO, "no answer within --io-timeout: " + why);
      if (gone_.requested()) fail(ESHUTDOWN, name_);
      trouble_.met(why);
      if (gone_.wait_for(pause)) fail(ESHUTDOWN, name_);
    }
  }

  // One try, for opening: a server that is not there or cannot serve is an error then. At most `time`.
  template <class Action>
  void run_once(Action action, std::chrono::milliseconds time) {
    try {
      attempt(action, Clock::now() + time);
    } catch (const NotNow& passing) {
      fail(EAGAIN, passing.what());
    }
  }

  // No connection of before is used again.
  void forget() {
    std::lock_guard lock(mutex_);
    idle_.clear();
  }

  void abandon() noexcept { gone_.request(); }
  const Stop& gone() const { return gone_; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kFirstPause{50}, kLongestPause{2'000};
  static constexpr std::size_t kIdle = 32;

  template <class Action>
  void attempt(Action& action, Stream::Deadline deadline) {
    std::unique_ptr<Connection> connection = borrow();
    connection->set_deadline(deadline);
    action(*connection);
    std::lock_guard lock(mutex_);
    if (idle_.size() < kIdle) idle_.push_back(std::move(connection));
  }

  std::unique_ptr<Connection> borrow() {
    {
      std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        auto one = std::move(idle_.back());
        idle_.pop_back();
        return one;
      }
    }
    return dial_();
  }

  const std::string name_;
  const std::chrono::milliseconds io_timeout_;
  const Dial dial_;
  Stop gone_;
  Trouble trouble_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Connection>> idle_;  // guarded by mutex_
};

}  // namespace r3
