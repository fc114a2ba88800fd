// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_out.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace r3;

void add(OutQueue& out, std::string_view text, bool apart = false) {
  std::memcpy(out.reserve(text.size()), text.data(), text.size());
  out.add(text.size(), apart);
}

std::string_view text_of(const iovec& part) { return {static_cast<const char*>(part.iov_base), part.iov_len}; }

TEST(R3Out, GathersWhatIsShort) {
  OutQueue out;
  add(out, "one"), add(out, "two");
  ASSERT_EQ(out.parts().size(), 1u);
  EXPECT_EQ(text_of(out.parts()[0]), "onetwo");
}

TEST(R3Out, KeepsApartWhatIsLong) {
  OutQueue out;
  add(out, "head"), add(out, "payload", true), add(out, "next"), add(out, "last");
  ASSERT_EQ(out.parts().size(), 3u);
  EXPECT_EQ(text_of(out.parts()[1]), "payload");
  EXPECT_EQ(text_of(out.parts()[2]), "nextlast");
}

// Whatever is taken of it, and however its memory moves meanwhile: the bytes come out in their order.
TEST(R3Out, IsAQueueOfBytes) {
  std::mt19937 random(1);
  const std::string borrowed = "borrowed bytes that stay where they are";
  for (int round = 0; round < 50; ++round) {
    OutQueue out;
    std::string in, seen;
    while (in.size() < 200'000) {
      const std::string piece(random() % 3'000, static_cast<char>('a' + random() % 26));
      if (random() % 4 == 0) {
        out.borrow(as_bytes(borrowed));
        in += borrowed;
      } else if (!piece.empty()) {
        add(out, piece, random() % 2);
        in += piece;
      }
      if (random() % 3 == 0 || out.size() == 0) continue;
      std::size_t take = random() % out.size();
      std::size_t taken = 0;
      for (const iovec& part : out.parts()) {
        const auto n = std::min(take - taken, part.iov_len);
        seen += text_of(part).substr(0, n);
        taken += n;
      }
      out.sent(taken);
    }
    while (out.size() > 0) {
      seen += text_of(out.parts()[0]);
      out.sent(out.parts()[0].iov_len);
    }
    EXPECT_EQ(in, seen);
  }
}

}  // namespace
