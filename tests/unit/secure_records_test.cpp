// SPDX-License-Identifier: Apache-2.0
// What somebody on the wire gets out of records: an error on the side that was lied to, never a byte.
#include <gtest/gtest.h>
#include <sodium.h>

#include <array>
#include <cstring>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/net/secure_stream.hpp"
#include "tests/unit/noise_script.hpp"

namespace {

using r3::NoisePattern;
using r3::SecureStream;
using r3_test::Buffer;
using r3_test::Script;

// Three records from one side of a session, and the other side to read them.
class Records : public ::testing::Test {
 protected:
  Records() {
    for (const char* text : {"one", "two", "three"}) {
      Buffer record(std::strlen(text) + r3::kRecordOverhead);
      sealer_.seal(r3::as_bytes(text), record.data());
      records_.push_back(record);
    }
  }
  // What a reader gets of these records before it throws.
  std::string read(const std::vector<Buffer>& records, bool other_direction = false) const {
    Buffer all;
    for (const Buffer& record : records) all.insert(all.end(), record.begin(), record.end());
    return read(all, other_direction);
  }
  std::string read(const Buffer& all, bool other_direction = false) const {
    const r3::CipherState mine(other_direction ? theirs_ : ours_);
    Script script(all);
    SecureStream stream(script, {NoisePattern::xk, mine, mine, {}, {}});
    std::string text;
    try {
      for (;;) {
        std::byte byte;
        if (stream.read_some({&byte, 1}) == 0) return text + " end";
        text += static_cast<char>(byte);
      }
    } catch (const r3::ProtocolError&) {
      text += " refused";
    } catch (const std::system_error& error) {
      return text + (error.code().value() == ECONNRESET ? " lost" : " ?");
    }
    std::byte byte;
    EXPECT_THROW(stream.read_some({&byte, 1}), r3::ProtocolError) << "an error is final";
    return text;
  }
  const Buffer ours_ = Buffer(32, std::byte{1});
  const Buffer theirs_ = Buffer(32, std::byte{2});
  r3::RecordSealer sealer_{r3::CipherState(ours_)};
  std::vector<Buffer> records_;
};

TEST_F(Records, PassInOrderOnly) {
  const auto& r = records_;
  EXPECT_EQ("onetwothree lost", read(r));
  EXPECT_EQ(" refused", read({r[1], r[0], r[2]}));
  EXPECT_EQ("one refused", read({r[0], r[2], r[1]}));
  EXPECT_EQ("one refused", read({r[0], r[0], r[1], r[2]}));
  EXPECT_EQ("one refused", read({r[0], r[2]}));
  EXPECT_EQ(" refused", read(r, true)) << "reflected";
}

TEST_F(Records, EndOnlyWhenThePeerSaysSo) {
  Buffer end(r3::kRecordOverhead);
  sealer_.seal({}, end.data());
  const auto& r = records_;
  EXPECT_EQ("onetwothree end", read({r[0], r[1], r[2], end}));
  EXPECT_EQ("one refused", read({r[0], end}));
  EXPECT_EQ("onetwothree end", read({r[0], r[1], r[2], end, r[0]})) << "nothing counts after it";
}

TEST_F(Records, AreRefusedForGoodAfterOneThatIsWrong) {
  r3::RecordOpener opener{r3::CipherState(ours_)};
  std::array<std::byte, 16> into;
  auto forged = records_[0];
  forged.back() ^= std::byte{1};
  EXPECT_THROW(opener.open(forged, into.data()), r3::ProtocolError);
  EXPECT_THROW(opener.open(records_[0], into.data()), r3::ProtocolError);
}

TEST_F(Records, AreLostWhenCutAtAnyByte) {
  Buffer all;
  for (const Buffer& record : records_) all.insert(all.end(), record.begin(), record.end());
  for (std::size_t length = 0; length < all.size(); ++length) {
    const std::string text =
        read(Buffer(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(length)));
    EXPECT_TRUE(text == " lost" || text == "one lost" || text == "onetwo lost") << text;
  }
}

TEST_F(Records, AreRefusedWithAnyBitChanged) {
  for (std::size_t bit = 0; bit < records_[1].size() * 8; ++bit) {
    auto records = records_;
    records[1][bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    const std::string text = read(records);
    // A length that became larger than all that follows is never complete.
    EXPECT_TRUE(text == "one refused" || (bit < 16 && text == "one lost")) << bit << text;
  }
}

TEST_F(Records, ThatAreTooShortAreRefused) {
  for (unsigned length = 0; length < 16; ++length) {
    Buffer record(2 + length);
    r3::store_be(record.data(), static_cast<std::uint16_t>(length));
    EXPECT_EQ(" refused", read({record}));
  }
}

TEST(Rekeying, HappensAfterEachOf65536Records) {
  const Buffer key(32, std::byte{7});
  r3::RecordSealer sealer{r3::CipherState(key)};
  r3::RecordOpener opener{r3::CipherState(key)};
  r3::CipherState expected(key);
  const Buffer plaintext(1, std::byte{'x'});
  Buffer record(plaintext.size() + r3::kRecordOverhead), raw(plaintext.size() + r3::kTagSize);
  Buffer opened(plaintext.size());
  for (std::uint64_t number = 0; number < 2 * 65536 + 2; ++number) {
    if (number == 65536 || number == 2 * 65536) expected.rekey();
    expected.seal({}, plaintext, raw.data());
    sealer.seal(plaintext, record.data());
    ASSERT_TRUE(std::equal(raw.begin(), raw.end(), record.begin() + 2)) << number;
    opener.open(record, opened.data());
    ASSERT_EQ(plaintext, opened);
  }
}

TEST(CipherState, IsNotUsedTooOften) {
  const Buffer key(32, std::byte{7});
  r3::CipherState last(key, (1ULL << 48) - 1);
  Buffer sealed(r3::kTagSize);
  last.seal({}, {}, sealed.data());
  EXPECT_THROW(last.seal({}, {}, sealed.data()), std::system_error);
  r3::CipherState after(key, 1ULL << 48);
  std::byte nothing;
  // A right message with that number, from who does not count.
  const std::array<unsigned char, 12> nonce = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0};
  ::crypto_aead_chacha20poly1305_ietf_encrypt(reinterpret_cast<unsigned char*>(sealed.data()), nullptr,
                                              nullptr, 0, nullptr, 0, nullptr, nonce.data(),
                                              reinterpret_cast<const unsigned char*>(key.data()));
  EXPECT_FALSE(after.open({}, sealed, &nothing));
}

}  // namespace
