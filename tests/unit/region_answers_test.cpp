// SPDX-License-Identifier: Apache-2.0
// What servers of regions answer, taken apart: heads, ranges, pauses and errors of web servers, replies of Redis.
#include <gtest/gtest.h>

#include "libcommon/base/error.hpp"
#include "tools/regions/redis/reply.hpp"
#include "tools/regions/web/answer.hpp"

namespace {

using namespace r3;
using std::chrono::seconds;

TEST(WebAnswer, TheLastHeadCounts) {
  WebAnswer answer;
  for (const char* line : {"HTTP/1.1 100 Continue\r\n", "ETag: \"early\"\r\n", "\r\n", "HTTP/1.1 206 Partial Content\r\n",
                           "Content-RANGE: \t bytes 0-1/9 \r\n", "Empty:\r\n", "nonsense\r\n", "\r\n"})
    EXPECT_TRUE(answer.add_header(line));
  EXPECT_EQ(answer.header("content-range"), "bytes 0-1/9");
  EXPECT_EQ(answer.header("etag"), "");
  EXPECT_EQ(answer.headers.size(), 2u);
}

TEST(WebAnswer, AHeadHasAnEnd) {
  WebAnswer answer;
  const std::string line = "X: " + std::string(1000, 'x') + "\r\n";
  int lines = 0;
  while (answer.add_header(line) && lines < 1000) ++lines;
  EXPECT_LT(lines, 300);
}

TEST(WebAnswer, Ranges) {
  const auto range = parse_content_range("bytes 10-19/100");
  ASSERT_TRUE(range && range->part);
  EXPECT_EQ(*range->part, (ContentRange::Part{10, 19}));
  EXPECT_EQ(range->whole, 100u);
  EXPECT_EQ(parse_content_range("bytes */7")->whole, 7u);
  EXPECT_FALSE(parse_content_range("bytes 0-0/*")->whole);
  for (const char* text : {"", "bytes", "bytes 1/2", "bytes 2-1/9", "bytes 0-9/9", "bytes -1-2/9", "bytes 0-1", "lines 0-1/9",
                           "bytes 0-1/9x", "bytes 0-18446744073709551616/9"})
    EXPECT_FALSE(parse_content_range(text)) << text;
}

TEST(WebAnswer, Pauses) {
  constexpr std::time_t kNow = 784111777;  // Sun, 06 Nov 1994 08:49:37 GMT
  EXPECT_EQ(parse_retry_after("120", kNow), seconds(120));
  EXPECT_EQ(parse_retry_after("Sun, 06 Nov 1994 08:50:07 GMT", kNow), seconds(30));
  EXPECT_EQ(parse_retry_after("Sun, 06 Nov 1994 08:00:00 GMT", kNow), seconds(0));
  for (const char* text : {"", "-1", "soon", "1.5", "Sun, 06 Nov 1994 08:50:07 GMT and more"})
    EXPECT_FALSE(parse_retry_after(text, kNow)) << text;
}

TEST(WebAnswer, CodesOfErrors) {
  EXPECT_EQ(s3_error_code("<?xml?><Error><Code>NoSuchKey</Code><Key>x</Key></Error>"), "NoSuchKey");
  for (const char* text : {"", "<Code>", "<Code>NoSuchKey", "<Code></Code>", "<Code>No Such</Code>", "<Code>\x1b[1m</Code>"})
    EXPECT_EQ(s3_error_code(text), "") << text;
}

// The replies in `text`, which comes in pieces of `step`.
std::vector<RedisReply> replies_to(std::string_view text, Bytes into = {}, std::size_t step = ~std::size_t{0}) {
  RedisInbox in;
  std::vector<RedisReply> replies;
  for (ConstBytes left = as_bytes(text);;) {
    while (auto reply = in.next(into)) replies.push_back(std::move(*reply));
    if (left.empty()) return replies;
    const auto room = in.room();
    const auto piece = left.first(std::min({left.size(), room.size(), step}));
    std::ranges::copy(piece, room.begin());
    in.took(piece.size());
    left = left.subspan(piece.size());
  }
}

std::optional<RedisReply> reply_to(std::string_view text, Bytes into = {}) {
  const auto replies = replies_to(text, into);
  return replies.empty() ? std::nullopt : std::optional(replies.front());
}

TEST(RedisReply, BulkStringsLandWhereTheyAreWanted) {
  std::array<std::byte, 3> into{};
  const auto reply = reply_to("$5\r\nhello\r\n", into);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->size, 5u);
  EXPECT_EQ(as_text(into), "hel");
  EXPECT_EQ(reply_to("$5\r\nhello\r\n")->text, "hello");
}

TEST(RedisReply, APipelineInPiecesOfAnySize) {
  const std::string value(100'000, 'v');
  const std::string text = "+OK\r\n$100000\r\n" + value + "\r\n$-1\r\n*1\r\n:5\r\n$2\r\nab\r\n-ERR no\r\n$0\r\n\r\n:7\r\n";
  for (const std::size_t room : {0u, 10u, 100'000u, 200'000u})
    for (const std::size_t step : {1u, 7u, 511u, 65'537u, 1u << 20}) {
      std::vector<std::byte> into(room);
      const auto replies = replies_to(text, into, step);
      ASSERT_EQ(replies.size(), 8u) << room << " " << step;
      EXPECT_EQ(replies[1].size, value.size());
      EXPECT_EQ(replies[2].kind, RedisReply::Kind::nothing);
      EXPECT_EQ(replies[3].parts.at(0).number, 5);
      EXPECT_EQ(replies[4].size, 2u);
      EXPECT_EQ(replies[5].kind, RedisReply::Kind::error);
      EXPECT_EQ(replies[6].size, 0u);
      EXPECT_EQ(replies[7].number, 7);
      if (room > 2) {
        EXPECT_EQ(as_text(into).substr(0, 2), "ab");
        EXPECT_EQ(as_text(into).substr(2, room - 2), std::string(std::min(room, value.size()) - 2, 'v') +
                                                         std::string(room - std::min(room, value.size()), '\0'));
      }
    }
}

TEST(RedisReply, ArraysOfArrays) {
  const auto reply = reply_to("*3\r\n*2\r\n:1\r\n$1\r\nx\r\n*-1\r\n+OK\r\n");
  ASSERT_TRUE(reply);
  ASSERT_EQ(reply->parts.size(), 3u);
  ASSERT_EQ(reply->parts[0].parts.size(), 2u);
  EXPECT_EQ(reply->parts[0].parts[0].number, 1);
  EXPECT_EQ(reply->parts[0].parts[1].text, "x");
  EXPECT_EQ(reply->parts[1].kind, RedisReply::Kind::nothing);
  EXPECT_EQ(reply->parts[2].text, "OK");
}

TEST(RedisReply, PromisesTakeNoMemory) {
  EXPECT_FALSE(reply_to("*2000000000\r\n:1\r\n"));
  std::string many = "*5000\r\n";
  for (int i = 0; i < 5000; ++i) many += ":1\r\n";
  EXPECT_THROW(reply_to(many), ProtocolError);
  EXPECT_THROW(reply_to("$2000000000\r\n" + std::string(40 << 20, 'x')), ProtocolError);
  std::array<std::byte, 8> into{};
  EXPECT_THROW(reply_to("$2000000000\r\n", into), ProtocolError);
}

TEST(RedisReply, WhatIsNoReply) {
  std::array<std::byte, 8> into{};
  for (const char* text : {"HTTP/1.1 400 Bad Request\r\n", "$x\r\n", "$-2\r\n", "$2\r\nabcd\r\n"})
    EXPECT_THROW(reply_to(text, into), ProtocolError) << text;
}

}  // namespace
