// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <random>

#include "libcommon/base/error.hpp"
#include "libcommon/device/ublk_control.hpp"
#include "libcommon/device/ublk_request.hpp"
#include "libcommon/device/ublk_server.hpp"
#include "libcommon/storage/memory.hpp"
#include "tests/unit/ublk_fake.hpp"

namespace r3::test {
namespace {

constexpr std::uint64_t kSize = 4 * MiB;

// Memory whose every call has to wait, until it is abandoned.
class Slow : public MemoryBackend {
 public:
  using MemoryBackend::MemoryBackend;
  bool never_waits() const override { return false; }
  bool try_read_at(Bytes, std::uint64_t) override { return false; }
  bool try_write_at(ConstBytes, std::uint64_t) override { return false; }
  void flush() override { ++flushes; }
  std::atomic<unsigned> flushes{0};
};

ublksrv_io_desc descriptor(unsigned operation, std::uint64_t offset, std::uint64_t length) {
  return {operation, static_cast<__u32>(length / 512), offset / 512, 0};
}

UblkServerOptions options(const std::string& identity = {}) {
  UblkServerOptions made;
  made.identity = identity;
  made.in_use = [](const std::string&) { return false; };
  return made;
}

TEST(Ublk, ParametersOfADevice) {
  UblkShape shape{.size = 8 * MiB, .block_size = 64 * KiB, .queues = 2, .recoverable = true, .mark = ublk_mark("a")};
  const ublk_params params = ublk_parameters(shape);
  EXPECT_EQ(params.basic.dev_sectors, 16384U);
  EXPECT_EQ(params.basic.logical_bs_shift, 9);
  EXPECT_EQ(params.basic.physical_bs_shift, 12);  // no more than a page
  EXPECT_EQ(params.basic.io_opt_shift, 16);
  EXPECT_LE(params.basic.max_sectors * 512U, ublk_device_info(shape).max_io_buf_bytes);
  EXPECT_EQ(params.discard.max_discard_segments, 1);
  EXPECT_EQ(ublk_device_info(shape).flags, std::uint64_t{UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE});
  shape.read_only = true;
  shape.recoverable = false;
  EXPECT_EQ(ublk_parameters(shape).types, unsigned{UBLK_PARAM_TYPE_BASIC});
  EXPECT_TRUE(ublk_parameters(shape).basic.attrs & UBLK_ATTR_READ_ONLY);
  EXPECT_EQ(ublk_device_info(shape).flags, 0U);
}

TEST(Ublk, MarksTellOursFromOthers) {
  EXPECT_TRUE(is_ublk_mark(ublk_mark("a")));
  EXPECT_NE(ublk_mark("a"), ublk_mark("b"));
  EXPECT_FALSE(is_ublk_mark(0));
}

TEST(Ublk, RequestsAreAnsweredAsTheBackendDoes) {
  Slow memory(kSize);
  std::vector<std::byte> data(4096, std::byte{7});
  const auto answer = [&](const ublksrv_io_desc& what) {
    return answer_ublk_request(memory, parse_ublk_request(what), data);
  };
  EXPECT_EQ(answer(descriptor(UBLK_IO_OP_WRITE, 8192, 4096)), 4096);
  EXPECT_EQ(memory.bytes()[8192], std::byte{7});
  EXPECT_EQ(answer(descriptor(UBLK_IO_OP_READ, 0, 4096)), 4096);
  EXPECT_EQ(data[0], std::byte{0});
  EXPECT_EQ(answer(descriptor(UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 0, 512)), 512);
  EXPECT_EQ(memory.flushes, 1U);
  EXPECT_EQ(answer(descriptor(UBLK_IO_OP_WRITE_ZEROES, 8192, 512)), 0);
  EXPECT_EQ(memory.bytes()[8192], std::byte{0});
  EXPECT_EQ(memory.bytes()[8192 + 512], std::byte{7});
  EXPECT_EQ(answer(descriptor(UBLK_IO_OP_FLUSH, 0, 0)), 0);
  EXPECT_EQ(answer(descriptor(UBLK_IO_OP_DISCARD, 0, kSize)), 0);
  EXPECT_EQ(answer(descriptor(UBLK_IO_OP_READ, kSize, 512)), -EINVAL);
  EXPECT_EQ(answer(descriptor(UBLK_IO_OP_WRITE, kSize, 512)), -ENOSPC);
  EXPECT_EQ(answer(descriptor(UBLK_IO_OP_READ, 0, 8192)), -EINVAL);  // more than the buffer
  EXPECT_EQ(answer(descriptor(200, 0, 512)), -EOPNOTSUPP);
  EXPECT_FALSE(try_answer_ublk_request(memory, parse_ublk_request(descriptor(UBLK_IO_OP_READ, 0, 512)), data));
  MemoryBackend fast(kSize);
  EXPECT_EQ(try_answer_ublk_request(fast, parse_ublk_request(descriptor(UBLK_IO_OP_FLUSH, 0, 0)), data), 0);
}

// Every queue at once, against an oracle: each thread has a part of the region of its own.
template <class Memory>
void read_and_write_at_random(unsigned steps) {
  FakeUblk kernel;
  Memory memory(kSize);
  {
    UblkServer server(kernel, memory, options());
    const unsigned queues = static_cast<unsigned>(kernel.device(server.device()).queues.size());
    const unsigned queue = queues - 1;
    std::mt19937 random(3);
    std::vector<std::byte> expected(kSize), data;
    for (unsigned step = 0; step < steps; ++step) {
      const std::uint64_t offset = random() % (kSize / 512) * 512;
      const std::uint64_t length = std::min<std::uint64_t>(kSize - offset, (1 + random() % 64) * 512);
      data.assign(length, static_cast<std::byte>(random()));
      if (random() % 2 == 0) {
        ASSERT_EQ(kernel.do_io(server.device(), queue, descriptor(UBLK_IO_OP_WRITE, offset, length), data), int(length));
        std::copy(data.begin(), data.end(), expected.begin() + std::ptrdiff_t(offset));
      } else {
        ASSERT_EQ(kernel.do_io(server.device(), queue, descriptor(UBLK_IO_OP_READ, offset, length), data), int(length));
        ASSERT_TRUE(std::equal(data.begin(), data.end(), expected.begin() + std::ptrdiff_t(offset)));
      }
    }
  }
  EXPECT_TRUE(kernel.devices().empty());
}

TEST(Ublk, ServesFromItsOwnThread) { read_and_write_at_random<MemoryBackend>(500); }
TEST(Ublk, ServesByWorkersWhatHasToWait) { read_and_write_at_random<Slow>(500); }

TEST(Ublk, EveryQueueAtOnce) {
  FakeUblk kernel;
  Slow memory(kSize);
  UblkServer server(kernel, memory, options());
  const unsigned queues = static_cast<unsigned>(kernel.device(server.device()).queues.size());
  std::vector<std::thread> threads;
  std::atomic<unsigned> right{0};
  for (unsigned i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      std::vector<std::byte> data(4096, static_cast<std::byte>(i + 1));
      for (unsigned step = 0; step < 50; ++step)
        right += kernel.do_io(server.device(), i % queues, descriptor(UBLK_IO_OP_WRITE, i * 4096, 4096), data) == 4096;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 400U);
  for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(memory.bytes()[i * 4096], static_cast<std::byte>(i + 1));
}

TEST(Ublk, TakesOverWhatAKilledProcessLeft) {
  FakeUblk kernel;
  MemoryBackend memory(kSize);
  UblkShape shape{.size = kSize, .queues = 2, .recoverable = true, .mark = ublk_mark("region")};
  const unsigned other = kernel.add_left(ublk_device_info({.size = kSize, .mark = ublk_mark("other")}), {}, 0);
  const unsigned left = kernel.add_left(ublk_device_info(shape), ublk_parameters(shape), 1);
  {
    UblkServer server(kernel, memory, options("region"));
    EXPECT_TRUE(server.adopted());
    EXPECT_EQ(server.device(), left);
    EXPECT_EQ(kernel.devices(), std::vector<unsigned>{left});  // the other was cleaned away
    std::vector<std::byte> data(512, std::byte{9});
    EXPECT_EQ(kernel.do_io(left, 1, descriptor(UBLK_IO_OP_WRITE, 0, 512), data), 512);
    EXPECT_EQ(memory.bytes()[0], std::byte{9});
    kernel.device(left).users = 0;
  }
  EXPECT_NE(other, left);
  EXPECT_TRUE(kernel.devices().empty());
}

TEST(Ublk, AnotherSizeIsNotTakenOver) {
  FakeUblk kernel;
  MemoryBackend memory(kSize);
  const UblkShape shape{.size = 2 * kSize, .recoverable = true, .mark = ublk_mark("region")};
  kernel.add_left(ublk_device_info(shape), ublk_parameters(shape), 0);
  UblkServerOptions used = options("region");
  used.in_use = [](const std::string&) { return true; };
  try {
    UblkServer server(kernel, memory, used);
    ADD_FAILURE() << "it was taken over";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), EBUSY);
    EXPECT_NE(std::string(error.what()).find("was left with 8388608 bytes"), std::string::npos) << error.what();
  }
  UblkServer server(kernel, memory, options("region"));
  EXPECT_FALSE(server.adopted());
}

TEST(Ublk, ADeviceInUseWaitsForItsOwnProcess) {
  FakeUblk kernel;
  MemoryBackend memory(kSize);
  const UblkShape shape{.size = kSize, .recoverable = true, .mark = ublk_mark("other")};
  const unsigned left = kernel.add_left(ublk_device_info(shape), ublk_parameters(shape), 1);
  UblkServerOptions used = options("region");
  used.in_use = [](const std::string&) { return true; };
  UblkServer server(kernel, memory, used);
  EXPECT_NE(server.device(), left);
  EXPECT_EQ(kernel.devices().size(), 2U);
}

// DEL_DEV would wait for them, and all others for it.
TEST(Ublk, IsNotDeletedWhileSomebodyHasItOpen) {
  FakeUblk kernel;
  MemoryBackend memory(kSize);
  unsigned number;
  {
    UblkServer server(kernel, memory, options());
    number = server.device();
    kernel.device(number).users = 1;
  }
  EXPECT_EQ(kernel.devices().size(), 1U);
  kernel.device(number).users = 0;
  UblkServer server(kernel, memory, options());
  EXPECT_EQ(kernel.devices().size(), 1U);  // what was left is gone
}

TEST(Ublk, ARecoveryThatWasCutShortIsNotRepeated) {
  FakeUblk kernel;
  MemoryBackend memory(kSize);
  const UblkShape shape{.size = kSize, .recoverable = true, .mark = ublk_mark("region")};
  const unsigned left = kernel.add_left(ublk_device_info(shape), ublk_parameters(shape), 0);
  const UblkRecoveryMark cut_short(left);
  UblkServer server(kernel, memory, options("region"));
  EXPECT_FALSE(server.adopted());
}

TEST(Ublk, SomebodyElseEndsIt) {
  FakeUblk kernel;
  MemoryBackend memory(kSize);
  std::promise<void> ended;
  UblkServerOptions told = options();
  told.on_ended = [&ended] { ended.set_value(); };
  UblkServer server(kernel, memory, told);
  UblkControl(kernel).stop(server.device());
  ended.get_future().wait();
}

}  // namespace
}  // namespace r3::test
