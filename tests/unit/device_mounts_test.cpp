// SPDX-License-Identifier: Apache-2.0
// The mount table, and what is done before and after a mount.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/mapping.hpp"
#include "libcommon/device/driver.hpp"
#include "libcommon/device/mount_point.hpp"
#include "libcommon/device/mounts.hpp"
#include "libcommon/device/watchdog.hpp"
#include "libcommon/storage/memory.hpp"

namespace r3 {
namespace {

class MountPoints : public testing::Test {
 protected:
  MountPoints() : directory_(testing::TempDir() + "r3-mounts-XXXXXX") {
    if (!::mkdtemp(directory_.data())) std::abort();
    directory_ = std::filesystem::canonical(directory_);
  }
  ~MountPoints() override { std::filesystem::remove_all(directory_); }
  std::string at(const std::string& name) const { return directory_ + "/" + name; }

  static int error_of(const std::string& path) {
    try {
      const MountPoint point(path, false);
      return 0;
    } catch (const std::system_error& error) {
      return error.code().value();
    }
  }

  std::string directory_;
};

TEST(Mounts, ReadsTheKernelsTable) {
  const auto mounts = parse_mounts(
      "36 35 98:0 / / rw,noatime master:1 - ext4 /dev/root rw\n"
      "40 36 7:3 / /mnt/with\\040space\\134 rw shared:1 propagate_from:2 - xfs /dev/loop3 rw\n"
      "41 36 0:55 / /tmp/f rw - fuse.r3 r3 rw,user_id=5,group_id=6,allow_other\n");
  ASSERT_EQ(mounts.size(), 3u);
  EXPECT_EQ(mounts[0].path, "/");
  EXPECT_EQ(mounts[1].path, "/mnt/with space\\");
  EXPECT_EQ(mounts[1].major, 7u);
  EXPECT_EQ(mounts[1].minor, 3u);
  EXPECT_EQ(mounts[1].type, "xfs");
  EXPECT_EQ(mounts[2].type, kFuseType);
  EXPECT_EQ(mounts[2].source, "r3");
  EXPECT_EQ(mounts[2].id, 41u);
  EXPECT_EQ(mounts[2].user, 5u);
  EXPECT_EQ(mounts[2].group, 6u);
}

TEST(Mounts, LeavesOutWhatMakesNoSense) {
  EXPECT_TRUE(parse_mounts("").empty());
  EXPECT_TRUE(parse_mounts("\n\n - - - \n36 35 98:0 / /\n").empty());
  EXPECT_TRUE(parse_mounts("36 35 98 / / rw - ext4 x rw\n").empty());
  EXPECT_TRUE(parse_mounts("36 35 a:b / / rw - ext4 x rw\n").empty());
  EXPECT_TRUE(parse_mounts("36 35 98:0 / / rw - ext4").empty());
  ASSERT_EQ(parse_mounts("1 2 3:4 / /a\\04 rw - t s rw").size(), 1u);
}

TEST(Mounts, TheRootIsMounted) {
  const auto mounts = read_mounts();
  EXPECT_TRUE(std::any_of(mounts.begin(), mounts.end(), [](auto& m) { return m.path == "/"; }));
}

TEST(Mounts, JoinsHoldersIntoAMessage) {
  EXPECT_EQ(by({}), "");
  EXPECT_EQ(by({"a (1)"}), " by a (1)");
  EXPECT_EQ(by({"a (1)", "b (2)"}), " by a (1), b (2)");
}

TEST_F(MountPoints, AreMadeAndRemovedAgain) {
  {
    const MountPoint point(at("new"), false);
    EXPECT_EQ(point.path(), at("new"));
    EXPECT_TRUE(std::filesystem::is_regular_file(at("new")));
  }
  EXPECT_FALSE(std::filesystem::exists(at("new")));
}

TEST_F(MountPoints, StayIfTheyWereThereOrAreNoLongerEmpty) {
  std::ofstream(at("old"));
  { const MountPoint point(at("old"), false); }
  EXPECT_TRUE(std::filesystem::exists(at("old")));
  {
    const MountPoint point(at("new"), false);
    std::ofstream(at("new")) << "x";
  }
  EXPECT_TRUE(std::filesystem::exists(at("new")));
}

TEST_F(MountPoints, HideNothingUnlessForced) {
  std::ofstream(at("full")) << "x";
  EXPECT_EQ(error_of(at("full")), EEXIST);
  const MountPoint point(at("full"), true);
  EXPECT_EQ(point.path(), at("full"));
}

TEST_F(MountPoints, ArePlainFiles) {
  EXPECT_EQ(error_of(directory_), EISDIR);
  EXPECT_EQ(error_of(directory_ + "/"), EISDIR);
  EXPECT_EQ(error_of("/dev/null"), EINVAL);
  EXPECT_EQ(error_of(at("missing/file")), ENOENT);
  std::ofstream(at("file"));
  EXPECT_EQ(error_of(at("file/below")), ENOTDIR);
}

TEST_F(MountPoints, FollowSymbolicLinks) {
  std::ofstream(at("file"));
  std::filesystem::create_symlink("file", at("link"));
  EXPECT_EQ(MountPoint(at("link"), false).path(), at("file"));
}

TEST_F(MountPoints, NameTheFileThatTheyMake) {
  ::setenv("XDG_RUNTIME_DIR", directory_.c_str(), 1);
  std::string path;
  {
    const MountPoint point("", false);
    path = point.path();
    EXPECT_TRUE(path.starts_with(directory_ + "/r3-"));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  ::unsetenv("XDG_RUNTIME_DIR");
}

TEST(Watchdogs, GiveUpOnlyWhatStandsStill) {
  using namespace std::chrono_literals;
  Stop given_up;
  std::atomic<std::uint64_t> moving{0};
  {
    const Watchdog still(1ms, [] { return 7; }, [&] { given_up.request(); });
    const Watchdog moves(1ms, [&] { return ++moving; }, [] { FAIL(); });
    given_up.wait();
    while (moving < 5) std::this_thread::yield();
  }
  const Watchdog ends_early(1h, [] { return 0; }, [] { FAIL(); });
}

TEST(Drivers, AnUnknownOneIsBadUsage) {
  MemoryBackend memory(4096);
  EXPECT_THROW(attach_device("floppy", memory, {}), std::invalid_argument);
}

}  // namespace
}  // namespace r3
