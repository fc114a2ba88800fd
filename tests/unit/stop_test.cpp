// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/stop.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <thread>

namespace r3 {
namespace {

using std::chrono::milliseconds;

TEST(Stop, IsAFlagAndADescriptor) {
  Stop stop;
  pollfd watched{stop.fd(), POLLIN, 0};
  EXPECT_FALSE(stop.requested());
  EXPECT_EQ(::poll(&watched, 1, 0), 0);
  EXPECT_FALSE(stop.wait_for(milliseconds(0)));
  stop.request();
  stop.request();
  EXPECT_TRUE(stop.requested());
  EXPECT_EQ(::poll(&watched, 1, 0), 1);
  EXPECT_TRUE(stop.wait_for(milliseconds(0)));
  stop.wait();
}

TEST(Stop, WakesWhoWaits) {
  Stop stop;
  std::thread waiting([&] { stop.wait(); });
  stop.request();
  waiting.join();
}

TEST(WaitFor, TellsReadinessStopAndTime) {
  Stop stop;
  Pipe pipe = make_pipe();
  EXPECT_EQ(wait_for(pipe.read_end.get(), POLLIN, stop, 0), Wait::timed_out);
  EXPECT_EQ(wait_for(pipe.write_end.get(), POLLOUT, stop), Wait::ready);
  write_full(pipe.write_end.get(), as_bytes("x"));
  EXPECT_EQ(wait_for(pipe.read_end.get(), POLLIN, stop), Wait::ready);
  stop.request();
  EXPECT_EQ(wait_for(pipe.read_end.get(), POLLIN, stop), Wait::stopped);
}

TEST(WaitFor, AHangUpCountsAsReady) {
  Stop stop;
  Pipe pipe = make_pipe();
  pipe.write_end.reset();
  EXPECT_EQ(wait_for(pipe.read_end.get(), POLLIN, stop), Wait::ready);
}

TEST(WaitFor, StopInterruptsAWaitInProgress) {
  Stop stop;
  Pipe pipe = make_pipe();
  Wait result = Wait::ready;
  std::thread waiting([&] { result = wait_for(pipe.read_end.get(), POLLIN, stop); });
  stop.request();
  waiting.join();
  EXPECT_EQ(result, Wait::stopped);
}

}  // namespace
}  // namespace r3
