// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <mutex>

#include "tests/unit/hashsync_doubles.hpp"

namespace r3::sync {
namespace {

// Collects what a scan sends, as a copy of the file.
struct Copy final : Outlet {
  explicit Copy(std::size_t size) : text(size, '\0') {}
  void send(Batch& batch) override {
    std::lock_guard lock(mutex);
    std::size_t at = 0;
    for (const Entry& entry : batch.entries) {
      ++chunks;
      const auto offset = entry.index * kLeastChunk;
      const auto length = std::min<std::size_t>(kLeastChunk, text.size() - offset);
      if (batch.bytes.empty()) text.replace(offset, length, length, '\0');
      else text.replace(offset, length, reinterpret_cast<const char*>(batch.bytes.data()) + at, length);
      if (!batch.bytes.empty()) at += length;
    }
  }
  std::mutex mutex;
  std::string text;
  std::uint64_t chunks = 0;
};

class ScanTest : public testing::Test {
 protected:
  void SetUp() override { install_sigbus_guard(); }
  FileView view(const std::string& text) {
    write_file(directory.path("file"), text);
    FileView made(open_file(directory.path("file"), O_RDWR), "file");
    made.refresh();
    return made;
  }
  TemporaryDirectory directory;
  const Hasher hasher{draw_secret()};
};

TEST(Hasher, ZeroesAreZeroAndSecretsMatter) {
  const std::string zeroes(4096, '\0'), text(4096, 'x');
  const Hasher one(draw_secret()), other(draw_secret());
  EXPECT_EQ(one.of(as_bytes(zeroes)), Hash{});
  EXPECT_NE(one.of(as_bytes(text)), Hash{});
  EXPECT_EQ(one.of(as_bytes(text)), Hasher(one.secret()).of(as_bytes(text)));
  EXPECT_NE(one.of(as_bytes(text)), other.of(as_bytes(text)));
}

TEST(HashTable, ForgetsWhatIsCutOff) {
  HashTable table;
  table.resize({100 * 4096, 4096});
  table.set(50, {1, 2});
  table.set(99, {3, 4});
  table.resize({60 * 4096, 4096});
  table.resize({100 * 4096, 4096});
  EXPECT_EQ(table.at(50), (Hash{1, 2}));
  EXPECT_EQ(table.at(99), Hash{});
}

TEST(HashTable, HolesTakeNoMemoryAndHaveTheHashZero) {
  const Hasher hasher(draw_secret());
  HashTable table;
  table.resize({4ULL << 40, 4096});
  EXPECT_EQ(table.root(hasher), Hash{});
  table.set(123'456'789, {1, 1});
  EXPECT_NE(table.root(hasher), Hash{});
  EXPECT_EQ(table.group(0), nullptr);
}

TEST_F(ScanTest, FindsExactlyWhatChanged) {
  std::string text = random_text(5 * 1024 * 1024 + 77, 1);
  const FileView file = view(text);
  const Geometry geometry{text.size(), kLeastChunk};
  for (const unsigned threads : {1U, 4U}) {
    HashTable known;
    known.resize(geometry);
    hash_file({hasher, threads}, file, known);
    for (const std::size_t at : {std::size_t{0}, std::size_t{4095}, std::size_t{1'000'000}, text.size() - 1}) {
      ++text[at];
      pwrite_full(file.fd(), as_bytes(text), 0);
    }
    Copy copy(text.size());
    EXPECT_EQ(send_changes({hasher, threads}, file, runs_of(file, geometry), known, 0, copy), 3U);
    EXPECT_EQ(send_changes({hasher, threads}, file, runs_of(file, geometry), known, 0, copy), 0U);
  }
}

TEST_F(ScanTest, AFileThatShrinksUnderTheScanReadsAsZeroes) {
  const std::string text = random_text(3 * 1024 * 1024, 2);
  const FileView file = view(text);
  HashTable known;
  known.resize({text.size(), kLeastChunk});
  ASSERT_EQ(::truncate(directory.path("file").c_str(), 5000), 0);
  Copy copy(text.size());
  send_changes({hasher, 2}, file, {{{0, known.geometry().chunks(), false}}}, known, 0, copy);
  EXPECT_EQ(copy.text, text.substr(0, 5000) + std::string(text.size() - 5000, '\0'));
}

TEST_F(ScanTest, HolesAreNotTouched) {
  const Fd memory(::memfd_create("holes", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memory.get(), 64 << 20), 0);
  pwrite_full(memory.get(), as_bytes("data"), 10 << 20);
  FileView file(duplicate(memory.get()), "holes");
  file.refresh();
  HashTable known;
  known.resize({64 << 20, kLeastChunk});
  known.set(7, {9, 9});  // the destination has something where the hole is
  Copy copy(64 << 20);
  EXPECT_EQ(send_changes({hasher, 2}, file, runs_of(file, known.geometry()), known, 0, copy), 2U);
  struct stat found;
  ASSERT_EQ(::fstat(memory.get(), &found), 0);
  EXPECT_LE(found.st_blocks, 8);
  EXPECT_EQ(copy.text.substr(10 << 20, 4), "data");
}

TEST_F(ScanTest, AShadowTellsWhatChanged) {
  std::string text = random_text(300'000, 3);
  const FileView file = view(text);
  HashTable known;
  known.resize({text.size(), kLeastChunk});
  Shadow shadow{Mapping::anonymous(text.size())};
  Copy copy(text.size());
  const auto runs = runs_of(file, known.geometry());
  send_changes({hasher, 2}, file, runs, known, 0, copy, &shadow);
  EXPECT_EQ(copy.text, text);
  text[123'456] ^= 1;
  text.replace(0, 4096, 4096, '\0');
  pwrite_full(file.fd(), as_bytes(text), 0);
  EXPECT_EQ(send_changes({hasher, 2}, file, runs, known, 0, copy, &shadow), 2U);
  EXPECT_EQ(copy.text, text);
}

// A writer that turns a page A, B, A, B ...: whatever was sent last is what the table says.
TEST_F(ScanTest, TheTableHoldsTheHashOfWhatWasSent) {
  const FileView file = view(std::string(64 * 4096, 'A'));
  std::atomic<bool> done{false};
  std::thread writer([&] {
    const Mapping live = Mapping::of_file(file.fd(), 0, 64 * 4096, true);
    for (int i = 0; !done; ++i) std::fill(live.bytes().begin(), live.bytes().end(), std::byte(i & 1 ? 'A' : 'B'));
  });
  HashTable known;
  known.resize({64 * 4096, kLeastChunk});
  Copy copy(64 * 4096);
  for (int i = 0; i < 200; ++i)
    send_changes({hasher, 1}, file, {{{0, 64, false}}}, known, 0, copy);
  done = true;
  writer.join();
  for (std::uint64_t i = 0; i < 64; ++i)
    EXPECT_EQ(hasher.of(as_bytes(copy.text).subspan(i * 4096, 4096)), known.at(i)) << i;
}

}  // namespace
}  // namespace r3::sync
