// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/still.hpp"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <chrono>
#include <exception>
#include <filesystem>
#include <map>
#include <thread>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kPatience = std::chrono::milliseconds(200);
constexpr auto kLookAgain = std::chrono::microseconds(50);

// The threads of a process, traced by the calling thread. When that one ends, the kernel lets all of
// them go, those too that have not stopped yet; so it must be one that ends right after.
class Stopped {
 public:
  explicit Stopped(pid_t process) : process_(process) {
    // A thread that is not stopped yet may start another one: until there is none that is new.
    while (seize_new()) wait_until_stopped();
  }
  ~Stopped() {
    for (const auto& [thread, stop] : threads_)
      if (stop.reached) ::ptrace(PTRACE_DETACH, thread, nullptr, stop.signal);
  }
  Stopped(const Stopped&) = delete;
  Stopped& operator=(const Stopped&) = delete;

 private:
  struct Stop {
    bool reached = false;
    long signal = 0;  // that was on its way, and has to go on
  };

  bool seize_new() {
    bool any = false;
    std::error_code ended;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(process_) + "/task", ended)) {
      const auto thread = static_cast<pid_t>(std::stol(entry.path().filename()));
      if (threads_.contains(thread)) continue;
      if (::ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) < 0) {
        if (errno == ESRCH) continue;  // it has ended
        fail(errno, "process " + std::to_string(process_) + " cannot be stopped for a moment");
      }
      threads_[thread];
      any = ::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) == 0 || any;
    }
    return any;
  }

  void wait_until_stopped() {
    const auto end = Clock::now() + kPatience;
    for (auto& [thread, stop] : threads_) {
      while (!stop.reached && !look(thread, stop) && Clock::now() < end) std::this_thread::sleep_for(kLookAgain);
    }
  }

  // True if it has stopped, or ended.
  static bool look(pid_t thread, Stop& stop) {
    int status = 0;
    const pid_t found = ::waitpid(thread, &status, __WALL | WNOHANG);
    if (found < 0) return true;
    if (found == 0) return false;
    if (!WIFSTOPPED(status)) return true;
    stop.reached = true;
    if (status >> 16 != PTRACE_EVENT_STOP) stop.signal = WSTOPSIG(status);
    return true;
  }

  const pid_t process_;
  std::map<pid_t, Stop> threads_;
};

}  // namespace

void while_still(pid_t process, const std::function<void()>& body) {
  std::exception_ptr error;
  std::thread([&] {
    try {
      const Stopped stopped(process);
      body();
    } catch (...) {
      error = std::current_exception();
    }
  }).join();
  if (error) std::rethrow_exception(error);
}

}  // namespace r3
