// SPDX-License-Identifier: Apache-2.0
// Both ends together: whatever the destination holds at first, it holds the source's bytes afterwards.
#include "tests/unit/hashsync_doubles.hpp"

#include <fcntl.h>

#include "tools/mmap-hashsync/journal.hpp"

namespace r3::sync {
namespace {

class SessionTest : public testing::TestWithParam<Keep> {
 protected:
  DestinationOptions options() {
    DestinationOptions made;
    made.keep = GetParam();
    made.threads = 2;
    return made;
  }
  void expect_same(const std::string& name) {
    EXPECT_TRUE(read_file(source.path(name)) == read_file(target.path(name))) << name;
  }
  TemporaryDirectory source, target;
};

TEST_P(SessionTest, AnyOldContentBecomesTheNew) {
  const std::string text = random_text(2'500'000, 1);
  const std::string old[] = {"", text, text.substr(0, 1'000'000), text + random_text(700'000, 2),
                             random_text(2'500'000, 3), std::string(3'000'000, '\0')};
  write_file(source.path("file"), text);
  for (const std::string& before : old) {
    write_file(target.path("file"), before);
    Destination destination(target.path(), options());
    send_once(destination, {{"file", source.path("file")}}, {});
    expect_same("file");
  }
}

TEST_P(SessionTest, RandomHistories) {
  std::mt19937 random(7);
  std::string text = random_text(900'000, 8);
  Destination destination(target.path(), options());
  for (unsigned step = 0; step < 25; ++step) {
    const std::size_t at = text.empty() ? 0 : random() % text.size();
    switch (random() % 6) {
      case 0: text.resize(random() % 1'500'000); break;
      case 1: text += random_text(random() % 300'000, step); break;
      case 2: text.replace(at, std::min<std::size_t>(text.size() - at, 50'000), std::string(10'000, '\0')); break;
      case 3: std::fill(text.begin() + static_cast<std::ptrdiff_t>(at), text.end(), '\0'); break;
      default: for (int i = 0; i < 20 && !text.empty(); ++i) text[random() % text.size()] ^= 1;
    }
    write_file(source.path("file"), text);
    SendOptions send;
    send.threads = 1 + step % 2;
    send.verify = step % 3 == 0;
    send.settle = step % 4 == 1 ? 2 : 0;
    send.chunk = kLeastChunk << (step % 5);
    send_once(destination, {{"file", source.path("file")}}, send, step);
    ASSERT_EQ(read_file(target.path("file")), text) << step;
  }
}

TEST_P(SessionTest, ManyFilesAtOnce) {
  std::vector<SourceSpec> files;
  for (unsigned i = 0; i < 70; ++i) {
    const std::string name = "file" + std::to_string(i);
    write_file(source.path(name), random_text(i * 1000, i));
    if (i % 3 == 0) write_file(target.path(name), random_text(i * 900, i));
    files.push_back({name, source.path(name)});
  }
  Destination destination(target.path(), options());
  send_once(destination, files, {});
  for (const SourceSpec& file : files) expect_same(file.name);
}

TEST_P(SessionTest, ADryRunChangesNothing) {
  write_file(source.path("file"), "new");
  write_file(target.path("file"), "old");
  Destination destination(target.path(), options());
  SendOptions send;
  send.dry_run = true;
  send_once(destination, {{"file", source.path("file")}, {"none", source.path("file")}}, send);
  EXPECT_EQ(read_file(target.path("file")), "old");
  EXPECT_FALSE(exists(target.path("none")));
}

std::string name_of(const testing::TestParamInfo<Keep>& tested) {
  if (tested.param == Keep::journal) return "journal";
  return tested.param == Keep::snapshot ? "snapshot" : "in_place";
}
INSTANTIATE_TEST_SUITE_P(Ways, SessionTest, testing::Values(Keep::in_place, Keep::journal, Keep::snapshot),
                         name_of);

// What an epoch writes into a journal, cut anywhere: all of it or nothing reaches the files.
TEST(Journal, CutAnywhereItIsAllOrNothing) {
  TemporaryDirectory made;
  const std::string before = random_text(9000, 1), after = random_text(12'345, 2);
  std::string whole;
  {
    const Directory directory(made.path());
    JournaledEpoch epoch(directory, 5);
    const Geometry geometry{after.size(), kLeastChunk};
    std::vector<Entry> entries;
    for (std::uint64_t i = 0; i < geometry.chunks(); ++i) entries.push_back({i, {}});
    epoch.write(epoch.file("file", kLeastChunk), geometry, {entries, as_bytes(after), Frame{}});
    epoch.decide({{0, after.size()}});
    whole = read_file(made.path(".mmap-hashsync.journal-0000000000000005"));
    epoch.forget();
  }
  ASSERT_GT(whole.size(), after.size());
  for (std::size_t length = 0; length <= whole.size(); length += length + 200 < whole.size() ? 97 : 1) {
    write_file(made.path("file"), before);
    write_file(made.path(".mmap-hashsync.journal-1"), whole.substr(0, length));
    recover_journals(Directory(made.path()));
    ASSERT_EQ(read_file(made.path("file")), length == whole.size() ? after : before) << length;
    ASSERT_FALSE(exists(made.path(".mmap-hashsync.journal-1")));
  }
}

// A disk that had written some sectors of the journal and not others when the power went.
TEST(Journal, SectorsThatWereLostAreSeen) {
  TemporaryDirectory made;
  std::string whole;
  {
    const Directory directory(made.path());
    JournaledEpoch epoch(directory, 5);
    const std::string text = random_text(20'000, 4);
    const Geometry geometry{text.size(), kLeastChunk};
    std::vector<Entry> entries;
    for (std::uint64_t i = 0; i < geometry.chunks(); ++i) entries.push_back({i, {}});
    epoch.write(epoch.file("file", kLeastChunk), geometry, {entries, as_bytes(text), Frame{}});
    epoch.decide({{0, text.size()}});
    whole = read_file(made.path(".mmap-hashsync.journal-0000000000000005"));
    epoch.forget();
  }
  std::mt19937 random(11);
  for (int power_cut = 0; power_cut < 300; ++power_cut) {
    std::string torn = whole;
    bool lost = false;
    for (std::size_t sector = 0; sector < torn.size(); sector += 512)
      if (random() % 8 == 0) {
        const auto length = std::min<std::size_t>(512, torn.size() - sector);
        const std::string zeroes(length, '\0');
        lost |= torn.compare(sector, length, zeroes) != 0;
        torn.replace(sector, length, zeroes);
      }
    EXPECT_EQ(read_journal(as_bytes(torn)).whole, !lost) << power_cut;
  }
}

// A connection that breaks off in the middle of an epoch: what the journal has is not sent again.
TEST(Journal, AnEpochGoesOnWhereItWas) {
  install_sigbus_guard();
  TemporaryDirectory source, target;
  write_file(source.path("file"), random_text(4'000'000, 9));
  DestinationOptions options;
  options.keep = Keep::journal;
  Destination destination(target.path(), options);
  const Hasher hasher(draw_secret());
  {
    const auto inbox = destination.inbox(1, {});
    const Geometry geometry{4'000'000, kLeastChunk};
    inbox->open(0, {geometry, 1, "file"});
    std::vector<Entry> entries;
    for (std::uint64_t i = 0; i < 500; ++i) entries.push_back({i, {}});
    const std::string text = read_file(source.path("file"));
    inbox->write(0, {entries, as_bytes(text).first(500 * 4096), Frame{}});
  }
  EXPECT_FALSE(exists(target.path("file")));
  const auto inbox = destination.inbox(1, {});
  inbox->open(0, {{4'000'000, kLeastChunk}, 1, "file"});
  const HashTable table = inbox->hash(0, hasher);
  const std::string text = read_file(source.path("file"));
  EXPECT_EQ(table.at(499), hasher.of(as_bytes(text).subspan(499 * 4096, 4096)));
  EXPECT_EQ(table.at(500), Hash{});
}

}  // namespace
}  // namespace r3::sync
