// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/still.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <thread>

#include "libcommon/base/error.hpp"

namespace r3::test {

namespace {

constexpr std::size_t kThreads = 4;

struct Counts {
  std::array<std::atomic<std::uint64_t>, kThreads> each;
  std::atomic<int> signals;
};

Counts* counts = nullptr;  // shared with the child

// A process whose threads count.
class Counting {
 public:
  Counting() {
    counts = static_cast<Counts*>(::mmap(nullptr, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    process = check(::fork(), "fork");
    if (process > 0) return;
    ::signal(SIGUSR1, [](int) { ++counts->signals; });
    std::array<std::thread, kThreads> threads;
    for (std::size_t i = 0; i < kThreads; ++i)
      threads[i] = std::thread([i] { for (;;) ++counts->each[i]; });
    threads[0].join();
  }
  ~Counting() {
    ::kill(process, SIGKILL);
    ::waitpid(process, nullptr, 0);
    ::munmap(counts, sizeof(Counts));
  }
  static std::array<std::uint64_t, kThreads> now() {
    std::array<std::uint64_t, kThreads> values;
    std::copy(counts->each.begin(), counts->each.end(), values.begin());
    return values;
  }
  // Until every thread has counted on.
  static void wait_for_all() {
    const auto before = now();
    for (std::size_t i = 0; i < kThreads; ++i)
      while (counts->each[i] == before[i]) std::this_thread::yield();
  }
  pid_t process = 0;
};

TEST(WhileStill, EveryThreadStandsAndGoesOnAfterwards) {
  Counting counting;
  // As many threads that do not stand, on the same processors.
  std::array<std::atomic<std::uint64_t>, kThreads> ours{};
  std::array<std::jthread, kThreads> threads;
  for (std::size_t i = 0; i < kThreads; ++i)
    threads[i] = std::jthread([&, i](const std::stop_token& stop) { while (!stop.stop_requested()) ++ours[i]; });
  for (int i = 0; i < 10; ++i) {
    Counting::wait_for_all();
    while_still(counting.process, [&] {
      const auto before = Counting::now();
      for (auto& count : ours)
        for (const auto far = count + 1'000'000; count < far;) std::this_thread::yield();
      EXPECT_EQ(before, Counting::now());
    });
  }
  Counting::wait_for_all();
}

TEST(WhileStill, SignalsOfThatTimeArriveLater) {
  Counting counting;
  Counting::wait_for_all();
  for (int i = 1; i <= 20; ++i) {
    while_still(counting.process, [&] { ::kill(counting.process, SIGUSR1); });
    while (counts->signals < i) std::this_thread::yield();
    ::kill(counting.process, SIGUSR1);
    while_still(counting.process, [] {});
    ++i;
    while (counts->signals < i) std::this_thread::yield();
  }
}

TEST(WhileStill, AnErrorOfTheFunctionComesOutAndTheProcessGoesOn) {
  Counting counting;
  EXPECT_THROW(while_still(counting.process, [] { fail(EIO, "x"); }), std::system_error);
  Counting::wait_for_all();
}

TEST(WhileStill, AProcessCannotStopItself) {
  EXPECT_THROW(while_still(::getpid(), [] { ADD_FAILURE(); }), std::system_error);
}

TEST(WhileStill, AProcessThatHasEndedIsStill) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  siginfo_t ended;
  ::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT);
  try {
    while_still(child, [] {});
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), EPERM);  // not yet reaped: nothing to stop
  }
  ::waitpid(child, nullptr, 0);
}

}  // namespace

}  // namespace r3::test
