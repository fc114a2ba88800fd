// SPDX-License-Identifier: Apache-2.0
// What the NBD server's client sees of a backend that fails: before, in the middle of and after data
// has been sent, and when mapped memory vanishes under the kernel's hands.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <mutex>

#include "libcommon/base/error.hpp"
#include "libcommon/base/mapping.hpp"
#include "libcommon/net/nbd_read.hpp"
#include "libcommon/storage/memory.hpp"
#include "tests/unit/nbd_wire.hpp"
#include "tests/unit/test_bytes.hpp"

namespace r3 {
namespace {

using namespace nbd;
using namespace test;

// Reads up to `good` work, everything else throws `error`.
class Failing : public MemoryBackend {
 public:
  Failing(std::uint64_t good, int error) : MemoryBackend(16 * MiB), good_(good), error_(error) {}
  bool never_waits() const override { return false; }
  void read_at(Bytes into, std::uint64_t offset) override {
    if (offset + into.size() > good_) fail(error_, "test");
    MemoryBackend::read_at(into, offset);
  }
  void write_at(ConstBytes, std::uint64_t) override { fail(error_, "test"); }
  void flush() override { fail(error_, "test"); }
  void zero_at(std::uint64_t, std::uint64_t, ZeroHow) override { fail(error_, "test"); }
  void discard_at(std::uint64_t, std::uint64_t) override { fail(error_, "test"); }
  bool try_read_at(Bytes, std::uint64_t) override { return false; }
  bool try_write_at(ConstBytes, std::uint64_t) override { return false; }
  ConstBytes borrow(std::uint64_t, std::uint64_t) override { return {}; }

 private:
  const std::uint64_t good_;
  const int error_;
};

TEST(NbdErrors, OnlyTheNumbersOfTheProtocolTravel) {
  const std::vector<std::pair<int, WireError>> cases = {
      {EPERM, kEPerm},     {EROFS, kEPerm},   {EACCES, kEPerm},       {EIO, kEIo},
      {ENOMEM, kENoMem},   {EINVAL, kEInval}, {ENOSPC, kENoSpc},      {EDQUOT, kENoSpc},
      {EFBIG, kENoSpc},    {EBADF, kEIo},     {ESHUTDOWN, kEShutdown}, {EOVERFLOW, kEIo},
      {EOPNOTSUPP, kEIo},  {ENOENT, kEIo}};
  for (const auto& [error, wire] : cases) {
    Failing backend(0, error);
    WireServer server({{"", "", &backend, false}});
    auto client = server.connect_to();
    EXPECT_EQ(client.transact(kRead, 0, 512), wire);
    EXPECT_EQ(client.transact(kFlush, 0, 0), wire);
    EXPECT_EQ(client.transact(kTrim, 0, 512), wire);
    EXPECT_EQ(client.transact(kWriteZeroes, 0, 512), wire);
    EXPECT_EQ(client.transact(kWriteZeroes, 0, 512, kFastZero),
              error == EOPNOTSUPP ? kENotSup : wire);
    client.request(kWrite, 0, 512, kFua);
    client.send(filled(512, 1));
    EXPECT_EQ(client.simple(), wire);
    client.request(kWrite, 0, 4 * MiB);
    client.send(filled(4 * MiB, 1));
    EXPECT_EQ(client.simple(), wire);
  }
}

TEST(NbdErrors, ASimpleReadThatFailsLateIsClosed) {
  Failing backend(2 * MiB, EIO);
  WireServer server({{"", "", &backend, false}});
  auto client = server.connect_to();
  EXPECT_EQ(client.transact(kRead, 2 * MiB, MiB), kEIo);
  EXPECT_EQ(client.transact(kRead, 0, 2 * MiB), kOk);
  EXPECT_EQ(client.receive(2 * MiB).size(), 2 * MiB);
  EXPECT_EQ(client.transact(kRead, MiB, 4 * MiB), kOk);
  EXPECT_EQ(client.receive(4 * MiB).size(), 0U);
  EXPECT_TRUE(client.closed());
}

// Whatever part of a chunk the peer has, the rest of its head follows, then padding, then the error.
TEST(NbdErrors, AReadThatFailsInTheMiddleOfItsHeadStaysInSync) {
  Failing backend(0, EIO);
  const server::Rules rules{.size = backend.size(), .format = server::Format::structured};
  const server::Request request{.type = kRead, .cookie = 7, .offset = 4096, .length = 512};
  const server::Chunk chunk{4096, 512, false};
  std::array<std::byte, server::kLongestHead> head;
  const auto head_size = server::put_data_head(head.data(), rules.format, request, chunk);
  for (const std::size_t skip : {std::size_t{1}, std::size_t{7}, head_size - 1, head_size, head_size + 9}) {
    auto pair = make_socket_pair();
    WireClient client(std::move(pair.ours));
    Channel channel(std::move(pair.theirs));
    const Stop stop;
    server::Stream stream(channel, stop);
    server::Tally tally;
    server::Session session{stream, backend, rules, tally};
    ByteString buffer(64);
    auto turn = std::unique_lock(stream.sending());
    const auto already = ByteString(head.begin(), head.begin() + std::min(skip, head_size));
    const ByteString data(skip - already.size());
    stream.send(already);
    stream.send(data);
    EXPECT_FALSE(server::send_chunk(session, request, chunk, skip, buffer, turn));
    auto got = client.chunk();
    EXPECT_EQ(got.cookie, 7U);
    EXPECT_EQ(got.type, kChunkOffsetData);
    EXPECT_EQ(got.payload.size(), 8U + 512);
    EXPECT_EQ(load_be<std::uint64_t>(got.payload.data()), 4096U);
    got = client.chunk();
    EXPECT_EQ(got.type, kChunkErrorOffset);
    EXPECT_EQ(got.error(), kEIo);
  }
}

TEST(NbdErrors, AStructuredReadThatFailsLateEndsWithAnErrorChunk) {
  Failing backend(2 * MiB, EIO);
  WireServer server({{"", "", &backend, false}});
  auto client = server.structured();
  for (const std::uint16_t flags : {std::uint16_t{0}, std::uint16_t{kDf}}) {
    client.request(kRead, MiB, 4 * MiB, flags);
    auto chunk = client.chunk();
    EXPECT_EQ(chunk.type, kChunkOffsetData);
    EXPECT_FALSE(chunk.done());
    EXPECT_EQ(chunk.payload.size(), (flags ? 4 * MiB : MiB) + 8);
    chunk = client.chunk();
    EXPECT_EQ(chunk.type, kChunkErrorOffset);
    EXPECT_TRUE(chunk.done());
    EXPECT_EQ(chunk.error(), kEIo);
    EXPECT_EQ(load_be<std::uint64_t>(&chunk.payload[6]), 2 * MiB);
  }
  EXPECT_EQ(client.transact(kTrim, 0, 512), kEIo);
}

// A file that is mapped and can shrink. try_read_at fails so that reads have to borrow.
class Mapped : public MemoryBackend {
 public:
  Mapped() : MemoryBackend(8 * MiB), file_(::memfd_create("test", MFD_CLOEXEC)) {
    if (::ftruncate(file_.get(), 8 * MiB) < 0) fail(errno, "ftruncate");
    mapping_ = Mapping::of_file(file_.get(), 0, 8 * MiB, true);
    std::fill(mapping_.bytes().begin(), mapping_.bytes().end(), std::byte{1});
  }
  void shrink(std::uint64_t size) {
    if (::ftruncate(file_.get(), static_cast<off_t>(size)) < 0) fail(errno, "ftruncate");
  }
  bool never_waits() const override { return false; }
  void read_at(Bytes into, std::uint64_t offset) override {
    if (pread_full(file_.get(), into, offset) < into.size()) fail(EIO, "test");
  }
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length, std::size_t) override {
    return {{offset, length, false, false}};
  }
  bool try_read_at(Bytes, std::uint64_t) override { return false; }
  ConstBytes borrow(std::uint64_t offset, std::uint64_t length) override {
    return mapping_.bytes().subspan(offset, length);
  }

 private:
  Fd file_;
  Mapping mapping_;
};

// Row 19.
TEST(NbdShrunkFile, AReadBehindTheNewEndIsAnError) {
  Mapped backend;
  WireServer server({{"", "", &backend, false}});
  auto simple = server.connect_to();
  auto structured = server.structured();
  backend.shrink(MiB);
  EXPECT_EQ(simple.transact(kRead, 2 * MiB, 4096), kEIo);
  EXPECT_EQ(simple.transact(kRead, 0, 4096), kOk);
  EXPECT_EQ(simple.receive(4096), filled(4096, 1));
  structured.request(kRead, 2 * MiB, 4096);
  const auto chunk = structured.chunk();
  EXPECT_EQ(chunk.type, kChunkError);
  EXPECT_TRUE(chunk.done());
  EXPECT_EQ(chunk.error(), kEIo);
}

TEST(NbdShrunkFile, WhatWasAskedInTheSameBreathIsAnswered) {
  Mapped backend;
  WireServer server({{"", "", &backend, false}});
  auto client = server.structured();
  backend.shrink(MiB);
  ByteString requests;
  for (std::uint64_t i = 0; i < 9; ++i)
    append(requests, join(Request{kRequestMagic, std::uint16_t{0}, std::uint16_t{kRead}, i,
                                  i % 3 == 1 ? 4 * MiB : i * 8192, 8192U}));
  client.send(requests);
  for (std::uint64_t i = 0; i < 9; ++i) {
    auto chunk = client.chunk();
    EXPECT_EQ(chunk.cookie, i);
    if (i % 3 == 1) {
      EXPECT_EQ(chunk.type, kChunkError);
      EXPECT_TRUE(chunk.done());
      continue;
    }
    EXPECT_EQ(chunk.payload, join(Be64(i * 8192), filled(8192, 1)));
    chunk = client.chunk();
    EXPECT_EQ(chunk.type, kChunkNone);
    EXPECT_TRUE(chunk.done());
    EXPECT_EQ(chunk.cookie, i);
  }
}

TEST(NbdShrunkFile, AReadAcrossTheNewEndNeverDeliversWrongBytesAsGood) {
  Mapped backend;
  WireServer server({{"", "", &backend, false}});
  auto client = server.structured();
  auto simple = server.connect_to();
  backend.shrink(3 * MiB);
  client.request(kRead, 0, 6 * MiB);
  auto chunk = client.chunk();
  if (chunk.type == kChunkOffsetData) {
    EXPECT_FALSE(chunk.done());
    EXPECT_EQ(chunk.payload.size(), 6 * MiB + 8);
    chunk = client.chunk();
  }
  EXPECT_TRUE(chunk.type == kChunkErrorOffset || chunk.type == kChunkError);
  EXPECT_TRUE(chunk.done());
  EXPECT_EQ(client.transact(kFlush, 0, 0), kOk);

  simple.request(kRead, 0, 6 * MiB);
  const auto head = simple.receive(sizeof(SimpleReply));
  ASSERT_FALSE(head.empty());
  if (reinterpret_cast<const SimpleReply*>(head.data())->error == kOk) {
    EXPECT_EQ(simple.receive(6 * MiB).size(), 0U);
  }
}

// Nothing happens until the gate opens.
class Gated : public MemoryBackend {
 public:
  Gated() : MemoryBackend(MiB) {}
  bool never_waits() const override { return false; }
  bool try_read_at(Bytes, std::uint64_t) override { return false; }
  ConstBytes borrow(std::uint64_t, std::uint64_t) override { return {}; }
  void read_at(Bytes into, std::uint64_t offset) override {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
    MemoryBackend::read_at(into, offset);
  }
  void wait_for_readers(unsigned count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ >= count; });
  }
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;     // guarded by mutex_
  unsigned waiting_ = 0;  // guarded by mutex_
};

TEST(NbdWaiting, WhatNeedNotWaitOvertakesWhatHasTo) {
  Gated backend;
  WireServer server({{"", "", &backend, false}});
  auto client = server.connect_to();
  for (std::uint64_t cookie = 0; cookie < 8; ++cookie) client.request(kRead, 0, 512, 0, cookie);
  backend.wait_for_readers(8);  // all at once, in threads of their own
  client.request(kWrite, 4096, 512, 0, 100);
  client.send(filled(512, 1));
  EXPECT_EQ(client.simple(100), kOk);
  backend.open();
  for (int i = 0; i < 8; ++i) {
    const auto reply = client.receive(sizeof(SimpleReply) + 512);
    EXPECT_EQ(reply.size(), sizeof(SimpleReply) + 512);
  }
}

TEST(NbdWaiting, StopFinishesWhatWaits) {
  Gated backend;
  WireServer server({{"", "", &backend, false}});
  auto client = server.connect_to();
  client.request(kRead, 0, 512);
  backend.wait_for_readers(1);
  server.stop.request();
  backend.open();
  EXPECT_EQ(client.simple(), kOk);
  EXPECT_EQ(client.receive(512).size(), 512U);
  EXPECT_TRUE(client.closed());
}

TEST(NbdWaiting, MoreThanMayWaitAreAnsweredAllTheSame) {
  Gated backend;
  NbdServerOptions options;
  options.workers = 2;
  WireServer server({{"", "", &backend, false}}, options);
  auto client = server.connect_to();
  std::thread asker([&] {
    for (std::uint64_t cookie = 0; cookie < 3000; ++cookie)
      client.request(kRead, 0, 65536, 0, cookie);
  });
  backend.wait_for_readers(2);
  backend.open();
  EXPECT_EQ(client.receive(3000 * (65536 + 16)).size(), 3000U * (65536 + 16));
  asker.join();
}

}  // namespace
}  // namespace r3
