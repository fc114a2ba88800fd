// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/fd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "libcommon/base/error.hpp"
#include "tests/unit/backend_suite.hpp"

namespace r3 {
namespace {

using test::error_of;

Fd make_memory_file() { return Fd(check(::memfd_create("test", MFD_CLOEXEC), "memfd")); }

TEST(Fd, ClosesWhatItOwns) {
  int number = -1;
  {
    Fd file = make_memory_file();
    number = file.get();
    EXPECT_TRUE(is_open(number));
    Fd other = std::move(file);
    EXPECT_FALSE(file.valid());
    EXPECT_EQ(other.get(), number);
    other = std::move(other);
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(Fd, ReleaseGivesTheNumberAway) {
  Fd file = make_memory_file();
  const int number = file.release();
  EXPECT_FALSE(file.valid());
  EXPECT_TRUE(is_open(number));
  Fd again(number);
}

TEST(Fd, EverythingIsClosedOnExec) {
  const Fd file = open_file("/dev/null", O_RDONLY);
  const Fd copy = duplicate(file.get());
  const SocketPair sockets = make_socket_pair();
  const Pipe pipe = make_pipe();
  for (const int fd : {file.get(), copy.get(), sockets.ours.get(), sockets.theirs.get(),
                       pipe.read_end.get(), pipe.write_end.get()})
    EXPECT_EQ(::fcntl(fd, F_GETFD), FD_CLOEXEC);
}

TEST(Fd, ErrorsNameThePath) {
  try {
    open_file("/nonexistent/file", O_RDONLY);
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ENOENT);
    EXPECT_NE(std::string(error.what()).find("/nonexistent/file"), std::string::npos);
  }
}

TEST(Transfers, AreWholeThoughThePipeIsSmall) {
  Pipe pipe = make_pipe();
  std::vector<std::byte> sent(MiB);
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::byte>(i * 7 / 5);
  std::thread writer([&] {
    write_full(pipe.write_end.get(), sent);
    pipe.write_end.reset();
  });
  std::vector<std::byte> got(MiB);
  EXPECT_EQ(read_full(pipe.read_end.get(), got), MiB);
  writer.join();
  EXPECT_EQ(got, sent);
  EXPECT_EQ(read_full(pipe.read_end.get(), got), 0u);
}

TEST(Transfers, AtOffsetsTellTheEndOfTheFile) {
  const Fd file = make_memory_file();
  pwrite_full(file.get(), as_bytes("hello"), 10);
  std::byte bytes[10];
  EXPECT_EQ(pread_full(file.get(), bytes, 10), 5u);
  EXPECT_EQ(as_text(ConstBytes(bytes).first(5)), "hello");
  EXPECT_EQ(pread_full(file.get(), bytes, 100), 0u);
  EXPECT_EQ(error_of([&] { pread_full(-1, bytes, 0); }), EBADF);
  EXPECT_EQ(error_of([&] { pwrite_full(file.get(), bytes, ~0ULL); }), EINVAL);
}

TEST(SmallFiles, HaveALimit) {
  const Fd file = make_memory_file();
  const auto path = "/proc/self/fd/" + std::to_string(file.get());
  EXPECT_EQ(read_small_file(path), "");
  write_full(file.get(), as_bytes("12345678"));
  EXPECT_EQ(read_small_file(path, 8), "12345678");
  EXPECT_EQ(error_of([&] { read_small_file(path, 7); }), EFBIG);
}

TEST(Descriptors, TravelWithBytes) {
  const SocketPair sockets = make_socket_pair();
  const Fd file = make_memory_file();
  write_full(file.get(), as_bytes("inside"));
  send_with_fds(sockets.ours.get(), as_bytes("hello"), {file.get(), file.get()});
  std::byte bytes[16];
  std::vector<Fd> received;
  const auto count = receive_with_fds(sockets.theirs.get(), bytes, received);
  EXPECT_EQ(as_text(ConstBytes(bytes).first(count)), "hello");
  ASSERT_EQ(received.size(), 2u);
  EXPECT_EQ(::fcntl(received[0].get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(pread_full(received[1].get(), bytes, 0), 6u);
  EXPECT_EQ(error_of([&] {
              send_with_fds(sockets.ours.get(), as_bytes("x"), std::vector<int>(17, file.get()));
            }),
            EINVAL);
}

TEST(Descriptors, BecomeNonblockingAndBack) {
  const Pipe pipe = make_pipe();
  set_nonblocking(pipe.read_end.get(), true);
  std::byte byte;
  EXPECT_EQ(error_of([&] { read_full(pipe.read_end.get(), {&byte, 1}); }), EAGAIN);
  set_nonblocking(pipe.read_end.get(), false);
  EXPECT_EQ(::fcntl(pipe.read_end.get(), F_GETFL) & O_NONBLOCK, 0);
}

}  // namespace
}  // namespace r3
