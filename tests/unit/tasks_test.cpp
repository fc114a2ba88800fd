// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/tasks.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>

namespace r3 {
namespace {

TEST(TaskGroup, JoinWaitsForAll) {
  std::atomic<int> done{0};
  TaskGroup group;
  for (int i = 0; i < 20; ++i) group.spawn([&] { ++done; });
  group.join();
  EXPECT_EQ(done, 20);
}

TEST(TaskGroup, TheFirstErrorStopsTheOthersAndIsThrown) {
  TaskGroup group;
  for (int i = 0; i < 3; ++i)
    group.spawn([&] {
      group.stop().wait();
      throw std::runtime_error("a later one");
    });
  group.spawn([] { throw std::runtime_error("the first"); });
  try {
    group.join();
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "the first");
  }
  EXPECT_TRUE(group.stop().requested());
}

TEST(TaskGroup, TheDestructorStopsAndJoins) {
  std::atomic<bool> ended{false};
  {
    TaskGroup group;
    group.spawn([&] {
      group.stop().wait();
      ended = true;
    });
  }
  EXPECT_TRUE(ended);
}

TEST(TaskGroup, DoesNotGrow) {
  std::atomic<int> ran{0};
  TaskGroup group;
  for (int i = 0; i < 200; ++i) {
    group.spawn([&] {
      ++ran;
      ran.notify_one();
    });
    ran.wait(i);
    group.collect();
  }
  group.join();
  EXPECT_EQ(ran, 200);
}

TEST(TaskGroup, JoinWaitsForWhatItsTasksSpawnMeanwhile) {
  constexpr int kChains = 4, kLength = 500;
  std::atomic<int> done{0};
  TaskGroup group;
  std::function<void(int)> chain = [&](int left) {
    if (left > 1) group.spawn([&chain, left] { chain(left - 1); });
    ++done;
  };
  for (int i = 0; i < kChains; ++i) group.spawn([&] { chain(kLength); });
  group.join();
  EXPECT_EQ(done, kChains * kLength);
}

TEST(TaskGroup, TasksMaySpawnTasks) {
  std::atomic<int> done{0};
  Stop inner_started;
  {
    TaskGroup group;
    group.spawn([&] {
      group.spawn([&] {
        ++done;
        inner_started.request();
      });
      ++done;
    });
    inner_started.wait();
  }
  EXPECT_EQ(done, 2);
}

}  // namespace
}  // namespace r3
