// SPDX-License-Identifier: Apache-2.0
// A group of threads that ends together: each thread that throws asks the group to stop, the first
// error is kept, the destructor asks all to stop and joins. No thread outlives its group.
#pragma once

#include <exception>
#include <functional>
#include <list>
#include <mutex>
#include <thread>

#include "libcommon/base/stop.hpp"

namespace r3 {

class TaskGroup {
 public:
  TaskGroup() = default;
  ~TaskGroup();

  // Starts a thread; it should return soon after stop().requested(). Any thread may call.
  void spawn(std::function<void()> body);

  // Joins the threads that have ended, so that a long-lived group does not grow.
  void collect();
  // Waits for all threads, those too that they spawn meanwhile, then throws the first error, if any.
  void join();

  Stop& stop() { return stop_; }

 private:
  struct Task {
    std::thread thread;
    bool ended = false;  // guarded by mutex_
  };
  void join_all() noexcept;
  void run(std::list<Task>::iterator task, const std::function<void()>& body) noexcept;

  Stop stop_;
  std::mutex mutex_;
  std::list<Task> tasks_;         // guarded by mutex_
  std::exception_ptr first_error_;  // guarded by mutex_
};

}  // namespace r3
