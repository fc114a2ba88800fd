// SPDX-License-Identifier: Apache-2.0
// What a peer may say, and what it may not.
#include <fcntl.h>
#include <sys/socket.h>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_frame.hpp"
#include "tests/unit/hashsync_doubles.hpp"

namespace r3::sync {
namespace {

TEST(CheckName, TakesNamesBeneathADirectoryOnly) {
  for (const char* good : {"a", "a/b/c.img", "..a", "a..", "-rf", " "}) EXPECT_NO_THROW(check_name(good)) << good;
  using namespace std::string_view_literals;
  for (const auto bad : {""sv, "/etc/passwd"sv, ".."sv, "a/../b"sv, "../a"sv, "a/.."sv, "."sv, "./a"sv, "a//b"sv,
                         "a/"sv, "a\0b"sv, ".mmap-hashsync.journal-1"sv, "a/.mmap-hashsync-x"sv})
    EXPECT_THROW(check_name(bad), ProtocolError) << bad;
  EXPECT_THROW(check_name(std::string(256, 'x')), ProtocolError);
  std::string deep;
  for (int i = 0; i < 2100; ++i) deep += "a/";
  EXPECT_THROW(check_name(deep + "a"), ProtocolError);
}

TEST(CheckName, ALinkLeadsNowhereElse) {
  TemporaryDirectory inside, outside;
  std::filesystem::create_directory_symlink(outside.path(), inside.path("link"));
  std::filesystem::create_symlink(outside.path("file"), inside.path("file"));
  const Directory directory(inside.path());
  EXPECT_THROW(directory.open("link/x", O_RDWR | O_CREAT), std::system_error);
  EXPECT_THROW(directory.open("file", O_RDWR | O_CREAT), std::system_error);
  EXPECT_THROW(directory.make_parents("link/sub/x"), std::system_error);
  EXPECT_TRUE(std::filesystem::is_empty(outside.path()));
}

// A source that can say anything.
class HostileTest : public testing::Test {
 protected:
  void SetUp() override {
    install_sigbus_guard();
    Announcement file{{10 * 4096 + 5, kLeastChunk}, 1, "file"};
    say({Type::file, 0, 0, 3, 0, 0}, encode(file));
  }
  void say(Header header, const std::vector<std::byte>& payload) {
    Link(ends.ours, {}).send(header, payload);
  }
  // What the destination makes of all that was said.
  void expect_refused() {
    ::shutdown(ends.pair.ours.get(), SHUT_WR);
    Link link(ends.theirs, {});
    const auto inbox = destination.inbox(1, {});
    EXPECT_THROW(Receiver(link, *inbox, hasher, report).run(), ProtocolError);
    EXPECT_FALSE(exists(directory.path("file")));
  }
  std::vector<std::byte> chunk(std::uint64_t index, const std::string& bytes_of_it, Hash hash) {
    std::vector<std::byte> payload(kEntrySize);
    const Entry entry{index, hash};
    store_entries(payload.data(), {&entry, 1});
    const auto bytes = as_bytes(bytes_of_it);
    payload.insert(payload.end(), bytes.begin(), bytes.end());
    return payload;
  }

  Ends ends;
  TemporaryDirectory directory;
  Destination destination{directory.path(), {}};
  const Hasher hasher{draw_secret()};
  Report report;
  const std::string text = std::string(4096, 'x');
};

TEST_F(HostileTest, AChunkBehindTheEnd) {
  say({Type::data, 0, 0, 3, 1, 1}, chunk(11, text, hasher.of(as_bytes(text))));
  expect_refused();
}
TEST_F(HostileTest, AnOffsetNearTheEndOfNumbers) {
  say({Type::data, 0, 0, 3, 1, 1}, chunk(~0ULL, text, hasher.of(as_bytes(text))));
  expect_refused();
}
TEST_F(HostileTest, AWrongHash) {
  say({Type::data, 0, 0, 3, 1, 1}, chunk(0, text, {1, 2}));
  expect_refused();
}
TEST_F(HostileTest, AWrongLength) {
  say({Type::data, 0, 0, 3, 1, 1}, chunk(0, text + "more", hasher.of(as_bytes(text))));
  expect_refused();
}
TEST_F(HostileTest, MoreChunksThanBytes) {
  say({Type::data, 0, 0, 3, 5000, 1}, chunk(0, text, hasher.of(as_bytes(text))));
  expect_refused();
}
TEST_F(HostileTest, ZeroesThatAreNone) {
  say({Type::data, wire::kZeroes, 0, 3, 1, 1}, chunk(0, "", {1, 2}));
  expect_refused();
}
TEST_F(HostileTest, CompressedBytesThatAreNone) {
  say({Type::data, wire::kZstd, 0, 3, 1, 1}, chunk(0, "no zstd at all", {1, 2}));
  expect_refused();
}
TEST_F(HostileTest, AFileThatNobodyAnnounced) {
  say({Type::data, 0, 0, 4, 1, 1}, chunk(0, text, hasher.of(as_bytes(text))));
  expect_refused();
}
TEST_F(HostileTest, AFileTwice) {
  say({Type::file, 0, 0, 3, 0, 0}, encode(Announcement{{1, kLeastChunk}, 1, "other"}));
  expect_refused();
}
TEST_F(HostileTest, QuestionsAboutWhatIsNotThere) {
  say({Type::ask, 0, 0, 3, 0, 0}, encode(Two{5, ~0ULL}));
  expect_refused();
}
TEST_F(HostileTest, AnEpochThatIsNotTheOneThatWasSent) {
  say({Type::commit, 0, 0, 0, 0, 1}, encode(Two{7, 0}));
  expect_refused();
}
TEST_F(HostileTest, GrowthWhereItWasCut) {
  say({Type::resize, 0, 0, 3, 0, 1}, encode(Two{4096, 1}));
  say({Type::resize, 0, 0, 3, 0, 1}, encode(Two{8192, 1}));
  expect_refused();
}
TEST_F(HostileTest, AnImpossibleSize) {
  say({Type::resize, 0, 0, 3, 0, 1}, encode(Two{~0ULL, 1}));
  expect_refused();
}
TEST_F(HostileTest, AnImpossibleChunkSize) {
  say({Type::file, 0, 0, 5, 0, 0}, encode(Announcement{{1, 12345}, 1, "other"}));
  expect_refused();
}
TEST_F(HostileTest, ANameThatLeadsOut) {
  say({Type::file, 0, 0, 5, 0, 0}, encode(Announcement{{1, kLeastChunk}, 1, "../other"}));
  expect_refused();
}

TEST(Frame, EveryFlippedBitIsSeen) {
  const auto payload = encode(Two{1, 2});
  std::vector<std::byte> frame(kHeaderSize);
  Header header{Type::resize, 0, 0, 3, 0, 9};
  store_header(frame.data(), header, payload);
  frame.insert(frame.end(), payload.begin(), payload.end());
  for (std::size_t bit = 0; bit < frame.size() * 8; ++bit) {
    auto damaged = frame;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_THROW(
        {
          const Header got = load_header(damaged.data());
          if (got.payload != payload.size()) throw ProtocolError("another length");
          check_sum(damaged.data(), ConstBytes(damaged).subspan(kHeaderSize));
        },
        ProtocolError)
        << bit;
  }
}

}  // namespace
}  // namespace r3::sync
