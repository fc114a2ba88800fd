// SPDX-License-Identifier: Apache-2.0
// The parts of tests/fault/faultproxy that later tests trust: which bytes are damaged, and when they leave.
#include <gtest/gtest.h>

#include <sys/socket.h>

#include <array>
#include <bit>
#include <random>
#include <stdexcept>

#include "libcommon/base/fd.hpp"
#include "tests/fault/proxy/faults.hpp"
#include "tests/fault/proxy/lane.hpp"

namespace r3::fault {

namespace {

using Buffer = std::vector<std::byte>;

Buffer numbered(std::size_t size) {
  Buffer bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i / 16 * 7 + i);
  return bytes;
}

// What comes out when `in` arrives in pieces of random sizes up to `most`.
Buffer through(const FaultPlan& plan, ConstBytes in, std::size_t most, FaultCounts& counts,
               std::uint64_t stream = 0) {
  std::mt19937_64 random(most);
  FaultStream faults(plan, stream, counts);
  Buffer out;
  while (!in.empty()) {
    const std::size_t size = std::min<std::size_t>(in.size(), 1 + random() % most);
    faults.pass(in.first(size), out);
    in = in.subspan(size);
  }
  faults.finish(out);
  return out;
}

Buffer through(const FaultPlan& plan, ConstBytes in, std::size_t most) {
  FaultCounts counts;
  return through(plan, in, most, counts);
}

Buffer part(const Buffer& bytes, std::size_t from, std::size_t size) {
  return {bytes.begin() + static_cast<std::ptrdiff_t>(from),
          bytes.begin() + static_cast<std::ptrdiff_t>(from + size)};
}

Buffer joined(std::initializer_list<Buffer> parts) {
  Buffer all;
  for (const Buffer& one : parts) all.insert(all.end(), one.begin(), one.end());
  return all;
}

TEST(Faults, NoneLeaveTheBytesAlone) {
  const Buffer in = numbered(10'000);
  EXPECT_EQ(through(FaultPlan{}, in, 700), in);
  EXPECT_EQ(through(FaultPlan{.framing = {.prefix = 2}}, in, 700), in);
}

TEST(Faults, DoNotDependOnHowTheBytesArrive) {
  const Buffer in = numbered(50'000);
  for (const Framing framing : {Framing{.block = 100}, Framing{.prefix = 2}, Framing{.prefix = 4}}) {
    const FaultPlan plan{.seed = 5, .flip = .2, .drop = .1, .duplicate = .1, .reorder = .2,
                         .framing = framing};
    const Buffer whole = through(plan, in, 1 << 20);
    EXPECT_EQ(through(plan, in, 1), whole);
    EXPECT_EQ(through(plan, in, 333), whole);
  }
}

TEST(Faults, DifferWithTheSeedAndTheStream) {
  const Buffer in = numbered(50'000);
  FaultCounts counts;
  const FaultPlan one{.seed = 1, .flip = .5, .framing = {.block = 100}};
  const FaultPlan two{.seed = 2, .flip = .5, .framing = {.block = 100}};
  EXPECT_NE(through(one, in, 100), through(two, in, 100));
  EXPECT_NE(through(one, in, 100, counts, 0), through(one, in, 100, counts, 1));
}

TEST(Faults, FlipChangesOneBitOfEachRecord) {
  const Buffer in = numbered(6'400);
  FaultCounts counts;
  const FaultPlan plan{.flip = 1, .framing = {.block = 64}};
  const Buffer out = through(plan, in, 50, counts);
  ASSERT_EQ(out.size(), in.size());
  for (std::size_t record = 0; record < in.size(); record += 64) {
    int bits = 0;
    for (std::size_t i = record; i < record + 64; ++i)
      bits += std::popcount(std::to_integer<unsigned>(in[i] ^ out[i]));
    EXPECT_EQ(bits, 1) << record;
  }
  EXPECT_EQ(counts.flipped, 100u);
}

TEST(Faults, RatesAreAboutRight) {
  const Buffer in = numbered(400'000);
  FaultCounts counts;
  const FaultPlan plan{.flip = .25, .drop = .05, .framing = {.block = 100}};
  through(plan, in, 999, counts);
  EXPECT_NEAR(static_cast<double>(counts.flipped), 950, 150);
  EXPECT_NEAR(static_cast<double>(counts.dropped), 200, 60);
}

TEST(Faults, DropTakesWholeRecords) {
  FaultCounts counts;
  const Buffer in = numbered(1'000);
  EXPECT_TRUE(through({.drop = 1, .framing = {.block = 100}}, in, 77, counts).empty());
  EXPECT_EQ(counts.dropped, 10u);
}

TEST(Faults, DuplicateRepeatsEachRecord) {
  const Buffer in = numbered(30);
  EXPECT_EQ(through({.duplicate = 1, .framing = {.block = 10}}, in, 7),
            joined({part(in, 0, 10), part(in, 0, 10), part(in, 10, 10), part(in, 10, 10),
                    part(in, 20, 10), part(in, 20, 10)}));
}

TEST(Faults, ReorderSwapsNeighbours) {
  const Buffer in = numbered(45);
  FaultCounts counts;
  EXPECT_EQ(through({.reorder = 1, .framing = {.block = 10}}, in, 7, counts),
            joined({part(in, 10, 10), part(in, 0, 10), part(in, 30, 10), part(in, 20, 10),
                    part(in, 40, 5)}));
  EXPECT_EQ(counts.reordered, 2u);
}

TEST(Faults, SkipLeavesTheBeginningAlone) {
  const Buffer in = numbered(1'000);
  const Buffer out = through({.drop = 1, .framing = {.block = 10}, .skip = 123}, in, 50);
  EXPECT_EQ(out, part(in, 0, 123));
}

TEST(Faults, PrefixedRecordsAreWhatTheirLengthSays) {
  Buffer in = {std::byte{0}, std::byte{3}, std::byte{'a'}, std::byte{'b'}, std::byte{'c'},
               std::byte{0}, std::byte{0},
               std::byte{0}, std::byte{1}, std::byte{'x'}};
  EXPECT_EQ(through({.reorder = 1, .framing = {.prefix = 2}}, in, 2),
            joined({part(in, 5, 2), part(in, 0, 5), part(in, 7, 3)}));
  in.push_back(std::byte{9});  // half a length
  EXPECT_EQ(through({.framing = {.prefix = 2}}, in, 2), in);
}

TEST(Faults, FramingsAreReadOrRefused) {
  EXPECT_EQ(parse_framing("4K").block, 4096u);
  EXPECT_EQ(parse_framing("le16").prefix, 2u);
  EXPECT_TRUE(parse_framing("le32").little_endian);
  for (const char* bad : {"", "0", "be8", "1T", "-1"})
    EXPECT_THROW(parse_framing(bad), std::invalid_argument) << bad;
}

TEST(Link, TimesAndRatesAreReadOrRefused) {
  EXPECT_EQ(parse_delay("10ms"), 10'000'000);
  EXPECT_EQ(parse_delay("0.5ms"), 500'000);
  EXPECT_EQ(parse_rate("1G"), 1e9);
  for (const char* bad : {"", "ms", "10", "-1ms", "nanms", "1e300s"})
    EXPECT_THROW(parse_delay(bad), std::invalid_argument) << bad;
  for (const char* bad : {"", "1X", "-5M", "inf"})
    EXPECT_THROW(parse_rate(bad), std::invalid_argument) << bad;
}

class LaneTest : public testing::Test {
 protected:
  std::size_t received() {
    std::array<std::byte, 65536> buffer;
    const ssize_t got = ::recv(sockets_.theirs.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    return got < 0 ? 0 : static_cast<std::size_t>(got);
  }

  SocketPair sockets_ = make_socket_pair();
  Shape shape_;
  FaultPlan plan_;
  FaultCounts counts_;
};

TEST_F(LaneTest, DeliversWhenTheDelayIsOver) {
  shape_.delay = 100;
  Lane lane(shape_, plan_, 0, counts_);
  lane.push(numbered(10), 1'000);
  EXPECT_EQ(lane.next_due(), 1'100);
  EXPECT_EQ(lane.deliver(sockets_.ours.get(), 1'099), Delivery::done);
  EXPECT_EQ(received(), 0u);
  EXPECT_EQ(lane.deliver(sockets_.ours.get(), 1'100), Delivery::done);
  EXPECT_EQ(received(), 10u);
  EXPECT_TRUE(lane.empty());
}

TEST_F(LaneTest, SerialisesBeforeTheDelay) {
  shape_.delay = 1'000'000;
  shape_.bits_per_second = 8e9;  // a byte a nanosecond
  Lane lane(shape_, plan_, 0, counts_);
  lane.push(numbered(500), 0);
  lane.push(numbered(500), 0);
  lane.deliver(sockets_.ours.get(), 1'000'500);
  EXPECT_EQ(received(), 500u);
  EXPECT_EQ(lane.next_due(), 1'001'000);
}

TEST_F(LaneTest, HoldsTwiceWhatIsOnTheWay) {
  shape_.delay = 100'000'000;
  shape_.bits_per_second = 80e6;  // 1 MB on the way
  Lane lane(shape_, plan_, 0, counts_);
  lane.push(Buffer(2'000'000), 0);
  EXPECT_FALSE(lane.full());
  lane.push(Buffer(100'000), 0);
  EXPECT_TRUE(lane.full());
}

TEST_F(LaneTest, SegmentsAndPauses) {
  shape_.segment = 1;
  shape_.pause = 50;
  Lane lane(shape_, plan_, 0, counts_);
  lane.push(numbered(3), 10);
  lane.deliver(sockets_.ours.get(), 10);
  EXPECT_EQ(received(), 1u);
  lane.deliver(sockets_.ours.get(), 59);
  EXPECT_EQ(received(), 0u);
  lane.deliver(sockets_.ours.get(), 60);
  EXPECT_EQ(received(), 1u);
}

TEST_F(LaneTest, SaysWhenTheSocketIsFullOrBroken) {
  Lane lane(shape_, plan_, 0, counts_);
  lane.push(Buffer(8 << 20), 0);
  EXPECT_EQ(lane.deliver(sockets_.ours.get(), 0), Delivery::blocked);
  sockets_.theirs.reset();
  EXPECT_EQ(lane.deliver(sockets_.ours.get(), 0), Delivery::broken);
}

}  // namespace

}  // namespace r3::fault
