// SPDX-License-Identifier: Apache-2.0
// The bytes of Cassandra's protocol: what is built comes out again, and what is damaged never comes out as right.
#include <gtest/gtest.h>

#include <algorithm>

#include "libcommon/base/error.hpp"
#include "tools/regions/cql/frame.hpp"

namespace {

using namespace r3;

constexpr std::uint8_t kAnswer = 0x80 | 5;

CqlBody body_of(std::size_t size, int seed) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(static_cast<int>(i) * 7 + seed);
  CqlBody body;
  body.raw(as_bytes(text));
  return body;
}

// As a server would send them.
std::vector<std::byte> answers(const std::vector<std::size_t>& sizes, bool segments) {
  CqlOutbox out(kAnswer);
  for (std::size_t i = 0; i < sizes.size(); ++i)
    out.add(static_cast<std::uint16_t>(i), CqlOpcode::result, body_of(sizes[i], static_cast<int>(i)), segments);
  return out.take();
}

void expect_frames(ConstBytes sent, const std::vector<std::size_t>& sizes, bool segments, std::size_t piece) {
  CqlInbox in;
  if (segments) in.use_segments();
  std::size_t got = 0;
  while (!sent.empty()) {
    in.feed(sent.first(std::min(piece, sent.size())));
    sent = sent.subspan(std::min(piece, sent.size()));
    while (const auto frame = in.next()) {
      ASSERT_LT(got, sizes.size());
      EXPECT_EQ(frame->version, 5);
      EXPECT_EQ(frame->stream, got);
      const CqlBody expected = body_of(sizes[got], static_cast<int>(got));
      EXPECT_TRUE(std::equal(frame->body.begin(), frame->body.end(), expected.bytes().begin(), expected.bytes().end()));
      ++got;
    }
  }
  EXPECT_EQ(got, sizes.size());
}

TEST(CqlFrame, FramesComeOutAsTheyWentIn) {
  const std::vector<std::size_t> sizes = {0, 1, 100, kCqlMostSegment - kCqlHeader, kCqlMostSegment, 300'000, 5};
  for (const bool segments : {false, true})
    for (const std::size_t piece : {7u, 4096u, 1u << 22}) expect_frames(answers(sizes, segments), sizes, segments, piece);
}

TEST(CqlFrame, ASegmentHasItsLengthFlagAndChecksum) {
  const auto sent = answers({3}, true);
  ASSERT_EQ(sent.size(), 6 + kCqlHeader + 3 + 4);
  EXPECT_EQ(load_le<std::uint16_t>(sent.data()), kCqlHeader + 3);
  EXPECT_EQ(sent[2], std::byte{2});
}

TEST(CqlFrame, EveryFlippedBitOfASegmentIsSeen) {
  const auto sent = answers({40}, true);
  for (std::size_t bit = 0; bit < sent.size() * 8; ++bit) {
    auto damaged = sent;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    CqlInbox in;
    in.use_segments();
    in.feed(damaged);
    EXPECT_THROW(in.next(), ProtocolError) << bit;
  }
}

TEST(CqlFrame, NoMemoryForWhatAHeaderPromises) {
  CqlInbox in;
  CqlBody head;
  head.u8(0x84).u8(0).u16(0).u8(8).u32(0x7fffffff);
  in.feed(head.bytes());
  EXPECT_THROW(in.next(), ProtocolError);
}

TEST(CqlFrame, WhatNobodyAskedForIsLeftOut) {
  CqlBody frame;
  frame.u8(0x84).u8(0x02 | 0x08 | 0x04).u16(9).u8(8);
  CqlBody body;
  for (int i = 0; i < 16; ++i) body.u8(1);         // tracing
  body.u16(2).text("careful").text("");            // warnings
  body.u16(1).text("key").value(as_bytes("value"));  // payload
  body.raw(as_bytes("rest"));
  frame.u32(static_cast<std::uint32_t>(body.bytes().size())).raw(body.bytes());
  CqlInbox in;
  in.feed(frame.bytes());
  const auto got = in.next();
  ASSERT_TRUE(got);
  EXPECT_EQ(as_text(got->body), "rest");
}

CqlBody rows(std::uint32_t flags, std::uint32_t count) {
  CqlBody body;
  body.u32(2).u32(flags).u32(2);
  if (!(flags & 4)) body.text("k").text("t").text("key").u16(0x0d).text("data").u16(0x03);
  body.u32(count);
  return body;
}

TEST(CqlFrame, RowsAreRead) {
  for (const std::uint32_t flags : {1u, 4u}) {
    CqlBody body = rows(flags, 1);
    body.value(as_bytes("a key")).u32(0xffffffff);
    const auto row = parse_cql_row(body.bytes());
    ASSERT_TRUE(row && row->size() == 2);
    EXPECT_EQ(as_text(row->at(0).value()), "a key");
    EXPECT_FALSE(row->at(1));
    EXPECT_FALSE(parse_cql_row(rows(flags, 0).bytes()));
  }
  CqlBody cut = rows(4, 1);
  cut.u32(100).raw(as_bytes("too short"));
  EXPECT_THROW(parse_cql_row(cut.bytes()), ProtocolError);
  CqlBody nothing;
  EXPECT_FALSE(parse_cql_row(nothing.u32(1).bytes())) << "Void";
}

}  // namespace
