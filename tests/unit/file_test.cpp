// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "libcommon/base/error.hpp"
#include "libcommon/base/tasks.hpp"
#include "tests/unit/backend_suite.hpp"

namespace r3::test {
namespace {

std::string make_file(const TemporaryDirectory& directory, std::uint64_t size) {
  const std::string path = directory.path() + "/region";
  Fd file = open_file(path, O_RDWR | O_CREAT);
  check(::ftruncate(file.get(), static_cast<off_t>(size)), path);
  return path;
}

BackendUnderTest make_file_backend(std::uint64_t size) {
  auto directory = std::make_shared<TemporaryDirectory>();
  return {std::make_unique<FileBackend>(make_file(*directory, size), false), directory};
}

BackendUnderTest make_memfd_backend(std::uint64_t size) {
  Fd file(check(::memfd_create("region", MFD_CLOEXEC), "memfd"));
  check(::ftruncate(file.get(), static_cast<off_t>(size)), "memfd");
  return {std::make_unique<FileBackend>(std::move(file), "memfd")};
}

INSTANTIATE_TEST_SUITE_P(File, BackendSuite,
                         testing::Values(BackendCase{"file", make_file_backend},
                                         BackendCase{"memfd", make_memfd_backend}),
                         case_name);

class File : public testing::Test {
 protected:
  TemporaryDirectory directory_;
};

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

TEST_F(File, RefusesWhatIsNoRegion) {
  const auto fifo = directory_.path() + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const auto at = directory_.path() + "/socket";
  sockaddr_un address{AF_UNIX, {}};
  at.copy(address.sun_path, sizeof address.sun_path - 1);
  Fd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);

  EXPECT_EQ(error_of([&] { FileBackend(directory_.path(), true); }), EISDIR);
  EXPECT_EQ(error_of([&] { FileBackend(fifo, true); }), ENOTBLK);
  EXPECT_EQ(error_of([&] { FileBackend(at, true); }), ENOTBLK);
  EXPECT_EQ(error_of([&] { FileBackend("/dev/null", false); }), ENOTBLK);
  EXPECT_EQ(error_of([&] { FileBackend(directory_.path() + "/none", true); }), ENOENT);
  EXPECT_NE(message_of([&] { FileBackend(fifo, true); }).find(fifo), std::string::npos);
}

TEST_F(File, RefusesDescriptorsThatCannotServe) {
  const auto path = make_file(directory_, 4096);
  EXPECT_EQ(error_of([&] { FileBackend(open_file(path, O_WRONLY), path); }), EBADF);
  EXPECT_EQ(error_of([&] { FileBackend(open_file(path, O_RDWR | O_APPEND), path); }), EINVAL);
  EXPECT_EQ(error_of([&] { FileBackend(make_pipe().read_end, "pipe"); }), ENOTBLK);
}

TEST_F(File, ReadOnlyRefusesChanges) {
  const auto path = make_file(directory_, 4096);
  FileBackend file(path, true);
  EXPECT_TRUE(file.read_only());
  EXPECT_EQ(error_of([&] { file.write_at(as_bytes("x"), 0); }), EPERM);
  EXPECT_EQ(error_of([&] { file.try_write_at(as_bytes("x"), 0); }), EPERM);
  EXPECT_EQ(error_of([&] { file.zero_at(0, 1); }), EPERM);
  EXPECT_EQ(error_of([&] { file.discard_at(0, 1); }), EPERM);
  file.flush();
}

TEST_F(File, ShortenedFileGivesErrorsNotZeroes) {
  const auto path = make_file(directory_, MiB);
  FileBackend file(path, false);
  const std::vector<std::byte> page(4096, std::byte{1});
  file.write_at(page, 0);
  ASSERT_EQ(::truncate(path.c_str(), 6000), 0);

  std::vector<std::byte> into(256 * KiB);
  EXPECT_EQ(error_of([&] { file.read_at(into, 0); }), EIO);
  EXPECT_NE(message_of([&] { file.read_at(into, 0); }).find(path), std::string::npos);
  EXPECT_FALSE(file.try_read_at(into, 0));
  EXPECT_TRUE(file.borrow(0, into.size()).empty());
  EXPECT_EQ(read_bytes(file, 0, 4096), page);

  EXPECT_EQ(error_of([&] { file.write_at(page, 4096); }), EIO);
  EXPECT_EQ(error_of([&] { file.try_write_at(page, 8192); }), EIO);
  EXPECT_EQ(error_of([&] { file.zero_at(0, MiB); }), EIO);
  EXPECT_EQ(std::filesystem::file_size(path), 6000u);
  for (const Extent& extent : file.extents(0, MiB, 9))
    EXPECT_TRUE(!extent.zero || extent.offset + extent.length <= 6000) << extent.offset;
  EXPECT_EQ(file.size(), MiB);
}

// The rest of the last page is in memory, and zero, but no longer in the file.
TEST_F(File, LendsNothingPastTheNewEnd) {
  const auto path = make_file(directory_, 256 * KiB);
  FileBackend file(path, false);
  file.write_at(std::vector<std::byte>(256 * KiB, std::byte{1}), 0);
  ASSERT_EQ(::truncate(path.c_str(), 256 * KiB - 100), 0);
  EXPECT_TRUE(file.borrow(0, 256 * KiB).empty());
  EXPECT_EQ(file.borrow(0, 256 * KiB - 100).size(), 256 * KiB - 100);
}

TEST_F(File, GrownFileKeepsItsSize) {
  const auto path = make_file(directory_, 4096);
  FileBackend file(path, false);
  ASSERT_EQ(::truncate(path.c_str(), 8192), 0);
  EXPECT_EQ(file.size(), 4096u);
  EXPECT_EQ(error_of([&] { file.write_at(as_bytes("x"), 4096); }), ENOSPC);
}

TEST_F(File, WritesThatDoNotFitSaySo) {
  const auto path = make_file(directory_, MiB);
  FileBackend file(path, false);
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{64 * KiB, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::vector<std::byte> bytes(128 * KiB, std::byte{1});
  EXPECT_EQ(error_of([&] { file.write_at(bytes, 0); }), EFBIG);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  file.write_at(bytes, 0);
}

TEST_F(File, HolesAreSeenAndMade) {
  const auto path = make_file(directory_, MiB);
  FileBackend file(path, false);
  file.write_at(std::vector<std::byte>(256 * KiB, std::byte{1}), 256 * KiB);
  const auto extents = file.extents(0, MiB, 9);
  if (extents.size() == 1) GTEST_SKIP() << "this file system knows no holes";
  EXPECT_EQ(extents, (std::vector<Extent>{{0, 256 * KiB, true, true},
                                          {256 * KiB, 256 * KiB, false, false},
                                          {512 * KiB, 512 * KiB, true, true}}));
  file.discard_at(256 * KiB, 256 * KiB);
  EXPECT_EQ(file.extents(0, MiB, 9), (std::vector<Extent>{{0, MiB, true, true}}));
}

TEST_F(File, ExtentsEndWhileTheFileChanges) {
  const auto path = make_file(directory_, MiB);
  FileBackend file(path, false);
  TaskGroup group;
  group.spawn([&] {
    const std::vector<std::byte> bytes(MiB, std::byte{1});
    while (!group.stop().requested()) {
      file.write_at(bytes, 0);
      file.zero_at(4096, MiB - 8192);
    }
  });
  for (int i = 0; i < 2000; ++i) {
    std::uint64_t at = 0;
    for (const Extent& extent : file.extents(0, MiB, 1000)) {
      ASSERT_EQ(extent.offset, at);
      at += extent.length;
    }
    ASSERT_EQ(at, MiB);
  }
  group.stop().request();
  group.join();
}

TEST_F(File, LendsWhatIsInThePageCache) {
  const auto path = make_file(directory_, MiB);
  FileBackend file(path, false);
  EXPECT_TRUE(file.borrow(0, MiB).empty()) << "a hole is in no cache";
  const std::vector<std::byte> bytes(MiB, std::byte{3});
  file.write_at(bytes, 0);
  const auto lent = file.borrow(5, MiB - 5);
  ASSERT_EQ(lent.size(), MiB - 5);
  EXPECT_TRUE(std::ranges::equal(lent, ConstBytes(bytes).subspan(5)));
  EXPECT_TRUE(file.borrow(0, 4096).empty());
}

// No file fails its fdatasync on request: the descriptor is replaced under the backend for a moment, to
// show that the failure is remembered.
TEST_F(File, FlushKeepsFailingAfterOneFailure) {
  const auto path = make_file(directory_, 4096);
  Fd file = open_file(path, O_RDWR);
  const int number = file.get();
  FileBackend backend(std::move(file), path);
  backend.flush();
  Fd good = duplicate(number);
  Pipe pipe = make_pipe();
  ASSERT_EQ(::dup3(pipe.write_end.get(), number, O_CLOEXEC), number);
  EXPECT_EQ(error_of([&] { backend.flush(); }), EINVAL);
  ASSERT_EQ(::dup3(good.get(), number, O_CLOEXEC), number);
  EXPECT_EQ(error_of([&] { backend.flush(); }), EINVAL);
  EXPECT_EQ(read_bytes(backend, 0, 4096).size(), 4096u);
}

}  // namespace
}  // namespace r3::test
