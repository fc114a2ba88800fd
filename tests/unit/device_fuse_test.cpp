// SPDX-License-Identifier: Apache-2.0
// What the fuse driver answers to each request of the kernel.
#include <gtest/gtest.h>
#include <linux/falloc.h>

#include <condition_variable>
#include <mutex>

#include "libcommon/storage/memory.hpp"
#include "tests/unit/device_kernel.hpp"
#include "tests/unit/doubles.hpp"

namespace r3::test {
namespace {

// Memory whose calls fail, or wait, as the test says.
class Troubled : public MemoryBackend {
 public:
  using MemoryBackend::MemoryBackend;
  ConstBytes borrow(std::uint64_t, std::uint64_t) override { return {}; }
  bool try_read_at(Bytes, std::uint64_t) override { return false; }
  bool try_write_at(ConstBytes, std::uint64_t) override { return false; }
  void read_at(Bytes into, std::uint64_t offset) override {
    pass();
    MemoryBackend::read_at(into, offset);
  }
  void write_at(ConstBytes from, std::uint64_t offset) override {
    pass();
    MemoryBackend::write_at(from, offset);
  }
  void flush() override {
    ++flushes;
    pass();
  }
  void abandon() noexcept override {
    error = ESHUTDOWN;
    open(true);
  }

  void open(bool open) {
    const std::lock_guard lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }
  void wait_for_waiting(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ == count; });
  }

  std::atomic<int> error{0};
  std::atomic<int> flushes{0};

 private:
  void pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
    --waiting_;
    if (error != 0) fail(error, "troubled");
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;  // guarded by mutex_, as is
  int waiting_ = 0;
};

std::string text(const Answer& answer) { return std::string(as_text(answer.body)); }

TEST(Fuse, NegotiatesLargeRequestsAndNoCacheThatCouldLetTheFileGrow) {
  MemoryBackend memory(MiB);
  FakeKernel kernel(memory, {});
  EXPECT_EQ(kernel.init().max_write, MiB);
  EXPECT_EQ(kernel.init().max_pages, MiB / 4096);
  EXPECT_GE(kernel.init().max_background, 48);
  EXPECT_FALSE(kernel.init().flags & FUSE_WRITEBACK_CACHE);
  EXPECT_FALSE(kernel.init().flags & FUSE_ATOMIC_O_TRUNC);
  EXPECT_FALSE(kernel.init().flags & FUSE_AUTO_INVAL_DATA);
}

TEST(Fuse, ShowsSizeModeAndOwner) {
  MemoryBackend memory(12345);
  DeviceOptions options;
  options.mode = 0640;
  options.owner = 7;
  options.group = 8;
  FakeKernel kernel(memory, options);
  const fuse_attr attributes = kernel.attributes();
  EXPECT_EQ(attributes.size, 12345u);
  EXPECT_EQ(attributes.mode, S_IFREG | 0640u);
  EXPECT_EQ(attributes.uid, 7u);
  EXPECT_EQ(attributes.gid, 8u);
}

TEST(Fuse, TakesAnotherModeAndOwnerButNoOtherSize) {
  MemoryBackend memory(8192);
  FakeKernel kernel(memory, {});
  EXPECT_EQ(kernel.truncate(0), EPERM);
  EXPECT_EQ(kernel.truncate(8191), EPERM);
  EXPECT_EQ(kernel.truncate(8193), EPERM);
  EXPECT_EQ(kernel.truncate(8192), 0);
  fuse_setattr_in request{};
  request.valid = FATTR_MODE | FATTR_UID | FATTR_GID;
  request.mode = S_IFREG | 0444;
  request.uid = 5;
  request.gid = 6;
  EXPECT_EQ(kernel.ask(FUSE_SETATTR, request).error, 0);
  const fuse_attr attributes = kernel.attributes();
  EXPECT_EQ(attributes.mode, S_IFREG | 0444u);
  EXPECT_EQ(attributes.uid, 5u);
  EXPECT_EQ(attributes.gid, 6u);
  EXPECT_EQ(attributes.size, 8192u);
}

TEST(Fuse, ReadsWhatWasWrittenUpToTheEnd) {
  for (const bool troubled : {false, true}) {
    MemoryBackend memory(5000);
    Troubled slow(5000);
    FakeKernel kernel(troubled ? slow : memory, {});
    EXPECT_EQ(kernel.write(4998, "ab").as<fuse_write_out>().size, 2u);
    EXPECT_EQ(text(kernel.read(4998, 2)), "ab");
    EXPECT_EQ(text(kernel.read(4997, 4096)), std::string_view("\0ab", 3));
    EXPECT_EQ(kernel.read(5000, 4096).body.size(), 0u);
    EXPECT_EQ(kernel.read(~0ull >> 1, 4096).body.size(), 0u);
    EXPECT_EQ(kernel.server().counters().written_bytes, 2u);
    EXPECT_EQ(kernel.server().counters().lost_bytes, 0u);
  }
}

TEST(Fuse, WritesAsMuchAsThereIsRoomFor) {
  MemoryBackend memory(5000);
  FakeKernel kernel(memory, {});
  EXPECT_EQ(kernel.write(4999, "abc").as<fuse_write_out>().size, 1u);
  EXPECT_EQ(kernel.write(5000, "a").error, ENOSPC);
  EXPECT_EQ(kernel.write(1ull << 62, "a").error, ENOSPC);
}

TEST(Fuse, HandlesLargeRequests) {
  MemoryBackend memory(3 * MiB);
  FakeKernel kernel(memory, {});
  const std::string data(128 * KiB, 'x');  // the most that a socket carries without privileges
  EXPECT_EQ(kernel.write(MiB, data).as<fuse_write_out>().size, data.size());
  EXPECT_EQ(text(kernel.read(MiB, 128 * KiB)), data);
}

TEST(Fuse, FlushesOnlyWhatWasWritten) {
  Troubled backend(8192);
  FakeKernel kernel(backend, {});
  EXPECT_EQ(kernel.fsync(), 0);
  EXPECT_EQ(backend.flushes, 0);
  kernel.write(0, "a");
  EXPECT_EQ(kernel.fsync(), 0);
  EXPECT_EQ(kernel.fsync(), 0);
  EXPECT_EQ(backend.flushes, 1);
}

TEST(Fuse, AFailedFlushIsNotForgotten) {
  Troubled backend(8192);
  FakeKernel kernel(backend, {});
  kernel.write(0, "a");
  backend.error = ENOSPC;
  EXPECT_EQ(kernel.fsync(), ENOSPC);
  backend.error = 0;
  EXPECT_EQ(kernel.fsync(), 0);
  EXPECT_EQ(backend.flushes, 2);
}

TEST(Fuse, AFlushDuringAChangeDoesNotCoverIt) {
  for (const Call change : {Call::write, Call::zero}) {
    auto counting = std::make_unique<CountingBackend>(std::make_unique<MemoryBackend>(8192));
    const CountingBackend& below = *counting;
    GatedBackend backend(std::move(counting));
    FakeKernel kernel(backend, {});
    backend.shut(change);
    fuse_write_in write{};
    write.size = 1;
    fuse_fallocate_in zero{};
    zero.mode = FALLOC_FL_ZERO_RANGE;
    zero.length = 4096;
    change == Call::write ? kernel.send(FUSE_WRITE, write, "a") : kernel.send(FUSE_FALLOCATE, zero);
    backend.wait_for_waiting(1);
    EXPECT_EQ(kernel.fsync(), 0);
    backend.open();
    EXPECT_EQ(kernel.receive().error, 0);
    const unsigned before = below.calls(Call::flush);
    EXPECT_EQ(kernel.fsync(), 0);
    EXPECT_EQ(below.calls(Call::flush), before + 1);
  }
}

TEST(Fuse, AChangeThatFailedIsFlushedLikeOthers) {
  Troubled backend(8192);
  FakeKernel kernel(backend, {});
  backend.error = EIO;
  EXPECT_EQ(kernel.write(0, "a").error, EIO);  // a part of it may be there
  backend.error = 0;
  EXPECT_EQ(kernel.fsync(), 0);
  EXPECT_EQ(backend.flushes, 1);
}

TEST(Fuse, NobodyIsToldThatAFlushIsDoneThatThenFails) {
  GatedBackend backend(std::make_unique<MemoryBackend>(8192));
  FakeKernel kernel(backend, {});
  kernel.write(0, "a");
  backend.shut(Call::flush);
  kernel.send(FUSE_FSYNC, fuse_fsync_in{});
  backend.wait_for_waiting(1);
  kernel.send(FUSE_FSYNC, fuse_fsync_in{});
  for (int i = 0; i < 100; ++i) ASSERT_EQ(kernel.attributes().size, 8192u);  // no other answer
  backend.abandon();
  EXPECT_EQ(kernel.receive().error, EIO);
  EXPECT_EQ(kernel.receive().error, EIO);
}

TEST(Fuse, AnErrorOfALinkIsAnErrorOfInputOrOutput) {
  Troubled backend(8192);
  FakeKernel kernel(backend, {});
  for (const int error : {ETIMEDOUT, ECONNRESET, ESHUTDOWN, EPROTO, EIO, ENOSYS}) {
    backend.error = error;
    EXPECT_EQ(kernel.read(0, 1).error, EIO) << error;
    EXPECT_EQ(kernel.write(0, "a").error, EIO) << error;
  }
  backend.error = EPERM;
  EXPECT_EQ(kernel.write(0, "a").error, EPERM);
  EXPECT_EQ(kernel.server().counters().lost_bytes, 7u);
}

TEST(Fuse, WhoeverWaitsKeepsNobodyElseWaiting) {
  Troubled backend(8192);
  FakeKernel kernel(backend, {});
  backend.open(false);
  constexpr int kMany = 20;
  for (int i = 0; i < kMany; ++i) kernel.send(FUSE_READ, FakeKernel::read_request(0, 1));
  backend.wait_for_waiting(kMany);
  EXPECT_EQ(kernel.attributes().size, 8192u);
  EXPECT_EQ(kernel.server().counters().waiting, static_cast<std::uint64_t>(kMany));
  backend.open(true);
  for (int i = 0; i < kMany; ++i) EXPECT_EQ(kernel.receive().error, 0);
}

TEST(Fuse, ManyWaitersNeedNoMoreThreadsThanAllowed) {
  Troubled backend(8192);
  DeviceOptions options;
  options.threads = 4;
  FakeKernel kernel(backend, options);
  backend.open(false);
  for (int i = 0; i < 10; ++i) kernel.send(FUSE_READ, FakeKernel::read_request(0, 1));
  backend.wait_for_waiting(4);
  backend.open(true);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(kernel.receive().error, 0);
}

TEST(Fuse, AnAbandonedBackendEndsAllWhoWait) {
  Troubled backend(8192);
  FakeKernel kernel(backend, {});
  backend.open(false);
  kernel.send(FUSE_READ, FakeKernel::read_request(0, 1));
  kernel.send(FUSE_READ, FakeKernel::read_request(0, 1));
  backend.wait_for_waiting(2);
  backend.abandon();
  EXPECT_EQ(kernel.receive().error, EIO);
  EXPECT_EQ(kernel.receive().error, EIO);
}

TEST(Fuse, PunchesAndZeroesButNeverPastTheEnd) {
  MemoryBackend memory(16384);
  FakeKernel kernel(memory, {});
  kernel.write(0, std::string(16384, 'x'));
  EXPECT_EQ(kernel.fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096), 0);
  EXPECT_EQ(kernel.fallocate(FALLOC_FL_ZERO_RANGE, 8192, 10), 0);
  EXPECT_TRUE(all_zero(kernel.read(4096, 4106).body));
  EXPECT_EQ(text(kernel.read(8202, 1)), "x");
  EXPECT_EQ(text(kernel.read(4095, 1)), "x");
  EXPECT_EQ(kernel.fallocate(0, 0, 16384), 0);
  EXPECT_EQ(kernel.fallocate(0, 0, 16385), ENOSPC);
  EXPECT_EQ(kernel.fallocate(FALLOC_FL_ZERO_RANGE, 16384, 1), ENOSPC);
  EXPECT_EQ(kernel.fallocate(FALLOC_FL_PUNCH_HOLE, ~0ull - 1, 4096), ENOSPC);
  EXPECT_EQ(kernel.fallocate(FALLOC_FL_COLLAPSE_RANGE, 0, 4096), EOPNOTSUPP);
}

TEST(Fuse, FindsDataAndHoles) {
  MemoryBackend memory(64 * KiB);
  FakeKernel kernel(memory, {});
  kernel.write(16384, "data");
  EXPECT_EQ(kernel.seek(0, SEEK_DATA).as<fuse_lseek_out>().offset, 16384u);
  EXPECT_EQ(kernel.seek(16385, SEEK_DATA).as<fuse_lseek_out>().offset, 16385u);
  EXPECT_EQ(kernel.seek(0, SEEK_HOLE).as<fuse_lseek_out>().offset, 0u);
  EXPECT_EQ(kernel.seek(16384, SEEK_HOLE).as<fuse_lseek_out>().offset, 20480u);
  EXPECT_EQ(kernel.seek(20480, SEEK_DATA).error, ENXIO);
  EXPECT_EQ(kernel.seek(64 * KiB, SEEK_HOLE).error, ENXIO);
  EXPECT_EQ(kernel.seek(~0ull, SEEK_DATA).error, ENXIO);
  EXPECT_EQ(kernel.seek(0, SEEK_CUR).error, EINVAL);
}

TEST(Fuse, SaysWhenSomebodyElseEndsIt) {
  MemoryBackend memory(4096);
  Stop ended;
  DeviceOptions options;
  options.on_ended = [&] { ended.request(); };
  FakeKernel kernel(memory, options);
  EXPECT_FALSE(ended.requested());
  kernel.unmount();
  ended.wait();
  kernel.server().join();
}

TEST(Fuse, EndsThoughTheKernelDoesNot) {
  MemoryBackend memory(4096);
  FakeKernel kernel(memory, {});
  kernel.server().interrupt();
  kernel.server().join();
}

TEST(Fuse, AnUnknownRequestIsAnsweredAndNothingElse) {
  MemoryBackend memory(4096);
  FakeKernel kernel(memory, {});
  EXPECT_EQ(kernel.ask(FUSE_READLINK, std::uint64_t{0}).error, ENOSYS);
  EXPECT_EQ(kernel.ask(60000, std::uint64_t{0}).error, ENOSYS);
  EXPECT_EQ(kernel.attributes().size, 4096u);
}

TEST(Fuse, RefusesASizeThatNoFileHas) {
  class Huge : public MemoryBackend {
   public:
    using MemoryBackend::MemoryBackend;
    std::uint64_t size() const override { return 1ull << 63; }
  } huge(4096);
  EXPECT_THROW(FuseServer(huge, {}), std::system_error);
}

}  // namespace
}  // namespace r3::test
