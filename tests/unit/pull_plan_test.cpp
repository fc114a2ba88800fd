// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/pull_plan.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <stdexcept>
#include <thread>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/whole_file.hpp"
#include "libcommon/storage/memory.hpp"

namespace r3::test {
namespace {

using Ranges = std::vector<PullRange>;

class PullPlanTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "r3-plan-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string write(const std::string& name, std::string_view text) {
    const std::string path = directory_ + "/" + name;
    write_whole_file(path, text, 0600, Existing::replace);
    return path;
  }
  // All that a plan for 64 KiB gives, in pieces of 32 KiB.
  Ranges given(const PullPlanOptions& options) {
    PullPlan plan(options, 64 * KiB, stop_);
    Ranges all;
    while (const auto range = plan.next(32 * KiB)) all.push_back(*range);
    return all;
  }
  std::string refusal(const PullPlanOptions& options) {
    try {
      given(options);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "taken";
  }
  std::string directory_;
  Stop stop_;
};

TEST_F(PullPlanTest, TheRecordingThenTheListThenTheRest) {
  const auto list = write("list", "8K,4K\n60K,1M\n"), recording = write("recording", "1K\n");
  EXPECT_EQ(given({.order = list, .replay = recording}),
            (Ranges{{1 * KiB, 1}, {8 * KiB, 4 * KiB}, {60 * KiB, 4 * KiB}, {0, 32 * KiB},
                    {32 * KiB, 32 * KiB}}));
  EXPECT_EQ(given({.order = "reverse", .replay = recording}),
            (Ranges{{1 * KiB, 1}, {32 * KiB, 32 * KiB}, {0, 32 * KiB}}));
  EXPECT_EQ(given({.order = "sequential", .rest = false}), Ranges{});
}

TEST_F(PullPlanTest, ACommandsList) {
  EXPECT_EQ(given({.order = "exec:echo 4K,$((R3_SIZE / 4))", .rest = false}),
            (Ranges{{4 * KiB, 16 * KiB}}));
  EXPECT_EQ(refusal({.order = "exec:echo 1; exit 3"}), 
            "exec:echo 1; exit 3: the command ended with status 3");
  EXPECT_EQ(refusal({.order = "exec:echo no"}).substr(0, 21), "exec:echo no: line 1:");
  EXPECT_EQ(refusal({.order = "exec:cat /dev/zero"}), "exec:cat /dev/zero: prints without end");
}

TEST_F(PullPlanTest, AStopEndsACommandThatDoesNotEnd) {
  std::thread stopper([this] { stop_.request(); });
  EXPECT_THROW(given({.order = "exec:sleep 1000"}), std::system_error);
  stopper.join();
}

TEST_F(PullPlanTest, WhatIsNoOrder) {
  EXPECT_NE(refusal({.order = "backward"}).find("auto, sequential, reverse, ext4"), std::string::npos);
  EXPECT_THROW(given({.order = directory_ + "/none"}), std::system_error);
  EXPECT_THROW(given({.replay = directory_ + "/none"}), std::system_error);
  EXPECT_THROW(given({.record = directory_ + "/none/x"}), std::system_error);
  EXPECT_EQ(refusal({.order = write("bad", "1\nx\n")}).substr(0, 4), "/tmp");
}

TEST_F(PullPlanTest, HintsComeBeforeTheRest) {
  MemoryBackend region(1 * MiB);
  region.write_at(as_bytes("#!/bin/sh"), 0);
  PullPlan plan({.order = "auto"}, region.size(), stop_);
  EXPECT_TRUE(plan.wants_hints());
  EXPECT_EQ(plan.next(512 * KiB), (PullRange{0, 512 * KiB}));
  EXPECT_EQ(plan.follow_hints(region, stop_), "script");
  EXPECT_EQ(plan.next(512 * KiB), (PullRange{0, 64 * KiB}));
  EXPECT_EQ(plan.next(512 * KiB), (PullRange{512 * KiB, 512 * KiB}));
  PullPlan other({.order = "sqlite"}, region.size(), stop_);
  EXPECT_EQ(other.follow_hints(region, stop_), "");
  EXPECT_FALSE(PullPlan({.order = "sequential"}, region.size(), stop_).wants_hints());
}

TEST_F(PullPlanTest, WhatOneRunReadsIsTheNextOnesOrder) {
  const std::string path = directory_ + "/set";
  {
    PullPlan plan({.order = "sequential", .record = path}, 64 * KiB, stop_);
    plan.demanded(40 * KiB, 4 * KiB, true);
    plan.demanded(20 * KiB, 4 * KiB, false);
    plan.save_recording();
  }
  EXPECT_EQ(given({.order = "sequential", .replay = path, .record = path, .rest = false}),
            (Ranges{{40 * KiB, 4 * KiB}, {20 * KiB, 4 * KiB}}));
}

TEST_F(PullPlanTest, ReadAheadIsTheMostUrgent) {
  PullPlan plan({.order = "sequential"}, 1 * MiB, stop_);
  EXPECT_FALSE(plan.demanded(512 * KiB, 4 * KiB, true));
  EXPECT_FALSE(plan.demanded(516 * KiB, 4 * KiB, true));
  EXPECT_TRUE(plan.demanded(520 * KiB, 4 * KiB, true));
  EXPECT_EQ(plan.next(1 * MiB), (PullRange{524 * KiB, 12 * KiB}));
  EXPECT_EQ(plan.next(1 * MiB), (PullRange{0, 1 * MiB}));
}

}  // namespace
}  // namespace r3::test
