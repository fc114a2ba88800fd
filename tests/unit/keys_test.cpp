// SPDX-License-Identifier: Apache-2.0
// Keys as text, key files, and who may do what.
#include "libcommon/net/keys.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/net/peer_keys.hpp"

namespace {

using r3::KeyKind;
using r3::SecretKey;

// What the call refuses with; "" if it does not.
template <class Call>
std::string refusal(Call call) {
  try {
    call();
    return "";
  } catch (const std::invalid_argument& error) {
    return error.what();
  } catch (const std::system_error& error) {
    return error.what();
  }
}

SecretKey counting_key() {
  std::array<std::byte, 32> bytes;
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  return SecretKey::copy_of(bytes);
}

class KeyFiles : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(nullptr, ::mkdtemp(directory_)); }
  void TearDown() override {
    ::unlink(path_.c_str());
    ::rmdir(directory_);
  }
  const std::string& file(const std::string& text, mode_t mode = 0600) {
    path_ = std::string(directory_) + "/key";
    const r3::Fd out = r3::open_file(path_, O_WRONLY | O_CREAT | O_TRUNC);
    r3::write_full(out.get(), r3::as_bytes(text));
    EXPECT_EQ(0, ::fchmod(out.get(), mode));
    return path_;
  }

 private:
  char directory_[32] = "/tmp/r3-keys-XXXXXX";
  std::string path_;
};

TEST(Keys, HaveAFixedForm) {
  // Worked out apart from this code: base64url of the bytes 0 to 31 and of the first four of
  // sha256("r3sk1_" and the bytes).
  EXPECT_EQ("r3sk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh_wYUC6", r3::to_text(KeyKind::secret, counting_key()));
  EXPECT_EQ("r3psk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9bcBZo", r3::to_text(KeyKind::shared, counting_key()));
  EXPECT_EQ("r3pk1_j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8uv2RN", r3::to_text(counting_key().public_key()));
}

TEST(Keys, SurviveTheWayThroughText) {
  for (int i = 0; i < 100; ++i) {
    const SecretKey key = SecretKey::generate();
    const SecretKey again =
        r3::parse_secret_key(KeyKind::secret, r3::to_text(KeyKind::secret, key));
    EXPECT_TRUE(std::ranges::equal(key.bytes(), again.bytes()));
    EXPECT_EQ(key.public_key(), r3::parse_public_key(r3::to_text(key.public_key())));
  }
}

TEST(Keys, NameTheKindThatWasMixedUp) {
  const SecretKey key = counting_key();
  EXPECT_EQ("public key: this is a private key (r3sk1_...)",
            refusal([&] { r3::parse_public_key(r3::to_text(KeyKind::secret, key)); }));
  EXPECT_EQ("private key: this is a pre-shared key (r3psk1_...)", refusal([&] {
              r3::parse_secret_key(KeyKind::secret, r3::to_text(KeyKind::shared, key));
            }));
  EXPECT_EQ("pre-shared key: this is a public key (r3pk1_...)", refusal([&] {
              r3::parse_secret_key(KeyKind::shared, r3::to_text(key.public_key()));
            }));
  EXPECT_EQ("public key: should begin with r3pk1_", refusal([] { r3::parse_public_key("age1x"); }));
}

TEST(Keys, FindEveryMistypedCharacter) {
  const std::string text = r3::to_text(counting_key().public_key());
  for (std::size_t i = 6; i < text.size(); ++i)
    for (const char c : std::string("AZaz09-_")) {
      if (text[i] == c) continue;
      std::string mistyped = text;
      mistyped[i] = c;
      EXPECT_EQ("public key: mistyped: its checksum does not match",
                refusal([&] { r3::parse_public_key(mistyped); }));
      if (i + 1 == text.size()) continue;
      mistyped = text;
      std::swap(mistyped[i], mistyped[i + 1]);
      EXPECT_EQ(mistyped == text, refusal([&] { r3::parse_public_key(mistyped); }).empty());
    }
}

TEST(Keys, SayWhatIsWrongWithTheLength) {
  const std::string text = r3::to_text(counting_key().public_key());
  for (std::size_t length = 6; length < text.size(); ++length)
    EXPECT_EQ("public key: cut short: " + std::to_string(length - 6) +
                  " characters after r3pk1_ instead of 48",
              refusal([&] { r3::parse_public_key(text.substr(0, length)); }));
  EXPECT_EQ("public key: too long: 49 characters after r3pk1_ instead of 48",
            refusal([&] { r3::parse_public_key(text + "A"); }));
  for (const char c : std::string("+/= \0\xff", 6)) {
    std::string odd = text;
    odd[20] = c;
    EXPECT_EQ("public key: a character that no key has (letters, digits, - and _)",
              refusal([&] { r3::parse_public_key(odd); }));
  }
}

TEST_F(KeyFiles, GiveTheirOneKey) {
  const std::string text = r3::to_text(KeyKind::secret, counting_key());
  const std::string forms[] = {text, text + "\n", "# created today\n\n  " + text + " \r\n# end"};
  for (const std::string& form : forms) {
    const SecretKey key = r3::read_secret_key(KeyKind::secret, file(form));
    EXPECT_TRUE(std::ranges::equal(key.bytes(), counting_key().bytes()));
  }
  const r3::Fd open = r3::open_file(file(text), O_RDONLY);
  EXPECT_TRUE(r3::read_secret_key(KeyKind::secret, "fd:" + std::to_string(open.get())));
  EXPECT_EQ(counting_key().public_key(),
            r3::read_public_key(file(r3::to_text(counting_key().public_key()), 0644)));
}

TEST_F(KeyFiles, SayWhereTheyAreWrong) {
  const std::string text = r3::to_text(KeyKind::secret, counting_key());
  const auto refused = [&](const std::string& contents) {
    const std::string path = file(contents);
    const std::string full = refusal([&] { r3::read_secret_key(KeyKind::secret, path); });
    EXPECT_TRUE(full.starts_with(path)) << full;
    return full.starts_with(path) ? full.substr(path.size()) : full;
  };
  EXPECT_EQ(": no private key in it", refused(""));
  EXPECT_EQ(": no private key in it", refused("# nothing\n"));
  EXPECT_EQ(":3: a second line with a key", refused(text + "\n\n" + text + "\n"));
  EXPECT_EQ(":2: private key: should begin with r3sk1_", refused("\nhello\n" + std::string()));
  EXPECT_EQ(":1: private key: this is a public key (r3pk1_...)",
            refused(r3::to_text(counting_key().public_key())));
  EXPECT_EQ(": File too large", refused(std::string(100'000, '#')));
}

TEST_F(KeyFiles, AreRefusedWhenOthersMayReadThem) {
  const std::string text = r3::to_text(KeyKind::shared, counting_key());
  for (const mode_t mode : {0604u, 0640u, 0644u, 0660u, 0601u}) {
    const std::string path = file(text, mode);
    char octal[8];
    std::snprintf(octal, sizeof octal, "%04o", mode);
    EXPECT_EQ(path + ": a secret that others may read (mode " + octal +
                  "; chmod 600 it): Permission denied",
              refusal([&] { r3::read_secret_key(KeyKind::shared, path); }));
  }
  for (const mode_t mode : {0600u, 0400u})
    EXPECT_EQ("", refusal([&] { r3::read_secret_key(KeyKind::shared, file(text, mode)); }));
}

TEST(PeerKeys, GiveTheFirstLineThatFits) {
  const std::string alice = r3::to_text(SecretKey::generate().public_key());
  const std::string bob = r3::to_text(SecretKey::generate().public_key());
  const auto keys = r3::PeerKeys::parse("# who\n\n" + alice + " alice rw vm-*   # hers\n" + alice +
                                            "\talice ro *\r\n" + bob + " bob ro disk[12]",
                                        "peers");
  ASSERT_EQ(3u, keys.peers().size());
  const auto alice_key = r3::parse_public_key(alice), bob_key = r3::parse_public_key(bob);
  EXPECT_TRUE(keys.find(alice_key, "vm-7")->writable);
  EXPECT_FALSE(keys.find(alice_key, "")->writable);
  EXPECT_EQ("bob", keys.find(bob_key, "disk2")->name);
  EXPECT_EQ(nullptr, keys.find(bob_key, "disk3"));
  EXPECT_EQ(nullptr, keys.find(bob_key, ""));
  EXPECT_TRUE(keys.knows(bob_key));
  EXPECT_FALSE(keys.knows(SecretKey::generate().public_key()));
}

TEST(PeerKeys, TellWhoHasOtherRights) {
  const auto key = SecretKey::generate().public_key();
  const auto lines = [&](const std::string& rest) {
    return r3::PeerKeys::parse(r3::to_text(key) + ' ' + rest + '\n', "test");
  };
  const auto before = lines("alice rw a*");
  EXPECT_TRUE(before.same_rights(key, lines("alicia rw a*"))) << "a name is no right";
  EXPECT_FALSE(before.same_rights(key, lines("alice ro a*")));
  EXPECT_FALSE(before.same_rights(key, lines("alice rw b*")));
  EXPECT_FALSE(before.same_rights(key, r3::PeerKeys()));
}

TEST(PeerKeys, SayWhichLineIsWrong) {
  const std::string key = r3::to_text(counting_key().public_key());
  const auto refused = [](const std::string& text) {
    return refusal([&] { r3::PeerKeys::parse(text, "peers"); });
  };
  EXPECT_EQ("peers:2: public key: should begin with r3pk1_", refused("#\nalice ro *\n"));
  EXPECT_EQ("peers:1: public key: this is a private key (r3sk1_...)",
            refused(r3::to_text(KeyKind::secret, counting_key()) + " a ro *"));
  EXPECT_EQ("peers:1: 3 words instead of 4 (KEY NAME ro|rw EXPORT-GLOB)", refused(key + " a ro"));
  EXPECT_EQ("peers:1: 5 words instead of 4 (KEY NAME ro|rw EXPORT-GLOB)", refused(key + " a ro * *"));
  EXPECT_EQ("peers:1: the third word is neither ro nor rw", refused(key + " a RW *"));
  EXPECT_EQ("peers:2: a second line for this key and these exports",
            refused(key + " a ro *\n" + key + " b rw *\n"));
}

TEST(Secrets, LeaveNoCoreAndNoPtrace) {
  const pid_t child = ::fork();
  if (child == 0) {
    r3::forbid_dumps();
    ::_exit(r3::read_small_file("/proc/self/limits").find("Max core file size        0 ") ==
                    std::string::npos
                ? 1
                : 0);
  }
  int status = -1;
  ASSERT_EQ(child, ::waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
}

}  // namespace
