// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/tasks.hpp"

#include <utility>

namespace r3 {

TaskGroup::~TaskGroup() {
  stop_.request();
  join_all();
}

// One at a time is taken out of the list: its threads may spawn, and so collect, at the same time.
void TaskGroup::join_all() noexcept {
  std::unique_lock lock(mutex_);
  while (!tasks_.empty()) {
    std::list<Task> next;
    next.splice(next.end(), tasks_, tasks_.begin());
    lock.unlock();
    next.front().thread.join();
    lock.lock();
  }
}

void TaskGroup::spawn(std::function<void()> body) {
  collect();
  std::lock_guard lock(mutex_);
  auto task = tasks_.emplace(tasks_.end());
  try {
    task->thread = std::thread([this, task, body = std::move(body)] { run(task, body); });
  } catch (...) {
    tasks_.erase(task);
    throw;
  }
}

void TaskGroup::run(std::list<Task>::iterator task, const std::function<void()>& body) noexcept {
  std::exception_ptr error;
  try {
    body();
  } catch (...) {
    error = std::current_exception();
  }
  std::lock_guard lock(mutex_);
  if (error && !first_error_) {
    first_error_ = error;
    stop_.request();
  }
  task->ended = true;
}

void TaskGroup::collect() {
  std::list<Task> ended;
  {
    std::lock_guard lock(mutex_);
    for (auto task = tasks_.begin(); task != tasks_.end();) {
      auto next = std::next(task);
      if (task->ended) ended.splice(ended.end(), tasks_, task);
      task = next;
    }
  }
  for (Task& task : ended) task.thread.join();
}

void TaskGroup::join() {
  join_all();
  if (first_error_) std::rethrow_exception(std::exchange(first_error_, nullptr));
}

}  // namespace r3
