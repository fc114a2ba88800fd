// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/apart.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "libcommon/base/fd.hpp"

namespace r3 {
namespace {

TEST(Apart, TellsWhatTheFunctionReturnedAndWrote) {
  std::string text;
  EXPECT_EQ(run_apart([&] { text = std::string(100, 'x'); return 0; }), 0);
  EXPECT_EQ(text, std::string(100, 'x'));
  EXPECT_EQ(run_apart([] { return ENOSPC; }), ENOSPC);
}

TEST(Apart, IsAnotherProcess) {
  pid_t other = 0, parent = 0;
  EXPECT_EQ(run_apart([&] { other = ::getpid(); parent = ::getppid(); return 0; }), 0);
  EXPECT_NE(other, ::getpid());
  EXPECT_EQ(parent, ::getpid());
}

TEST(Apart, HasNoneOfTheDescriptorsAndLeavesNone) {
  const Pipe pipe = make_pipe();
  const int fd = pipe.read_end.get();
  int inside = 0, opened = -1;
  EXPECT_EQ(run_apart([&] {
    inside = ::fcntl(fd, F_GETFD);
    opened = ::dup2(::open("/dev/null", O_RDONLY), 1000);
    return 0;
  }), 0);
  EXPECT_EQ(inside, -1);
  EXPECT_TRUE(is_open(fd));
  EXPECT_EQ(opened, 1000);
  EXPECT_FALSE(is_open(1000));
}

TEST(Apart, ThatIsKilledIsAnError) {
  EXPECT_EQ(run_apart([] { return ::kill(::getpid(), SIGKILL); }), ECHILD);
}

TEST(Apart, KeepsTheSignalMask) {
  sigset_t before, after;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  run_apart([] { return 0; });
  ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (int signal = 1; signal < NSIG; ++signal)
    EXPECT_EQ(::sigismember(&before, signal), ::sigismember(&after, signal)) << signal;
}

TEST(Apart, OtherThreadsGoOnMeanwhile) {
  // The function waits for a byte that another thread of this process writes.
  const Pipe pipe = make_pipe();
  const std::string end = "/proc/" + std::to_string(::getpid()) + "/fd/" +
                          std::to_string(pipe.read_end.get());
  std::atomic<bool> waits{false};
  std::thread writer([&] {
    while (!waits) std::this_thread::yield();
    write_full(pipe.write_end.get(), as_bytes("x"));
  });
  char byte = 0;
  EXPECT_EQ(run_apart([&] {
    const int in = ::open(end.c_str(), O_RDONLY);
    waits = true;
    return ::read(in, &byte, 1) == 1 ? 0 : EIO;
  }), 0);
  EXPECT_EQ(byte, 'x');
  writer.join();
}

}  // namespace
}  // namespace r3
