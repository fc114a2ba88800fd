// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/directory.hpp"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "libcommon/base/error.hpp"
#include "tests/unit/backend_suite.hpp"

namespace r3::test {
namespace {

namespace fs = std::filesystem;

auto make_with(std::uint64_t chunk, std::size_t most_open) {
  return [=](std::uint64_t size) -> BackendUnderTest {
    auto directory = std::make_shared<TemporaryDirectory>();
    const DirectoryOptions options{size, chunk, false, std::make_shared<OpenFiles>(most_open)};
    return {std::make_unique<DirectoryBackend>(directory->path(), options), directory};
  };
}

INSTANTIATE_TEST_SUITE_P(
    Directory, BackendSuite,
    testing::Values(BackendCase{"chunks_of_64K", make_with(64 * KiB, 0), nullptr, 1, kSteps / 2},
                    BackendCase{"chunks_of_4K_few_open", make_with(4 * KiB, 3), nullptr, 1, kSteps / 5}),
    case_name);

class Directory : public testing::Test {
 protected:
  std::unique_ptr<DirectoryBackend> open(DirectoryOptions options = {}) {
    return std::make_unique<DirectoryBackend>(path_, options);
  }
  std::unique_ptr<DirectoryBackend> make(std::uint64_t size, std::uint64_t chunk = 4096) {
    return open({size, chunk});
  }
  fs::path chunk(const char* leaf) const { return fs::path(path_) / "0000000000" / leaf; }
  std::string message_of(const DirectoryOptions& options) {
    try {
      open(options);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  }

  TemporaryDirectory parent_;
  std::string path_ = parent_.path() + "/region";
};

TEST_F(Directory, IsThereAgainWhenOpenedAgain) {
  make(100'000)->write_at(as_bytes("hello"), 50'000);
  auto again = open();
  EXPECT_EQ(again->size(), 100'000u);
  EXPECT_EQ(again->chunk_size(), 4096u);
  EXPECT_EQ(as_text(read_bytes(*again, 50'000, 5)), "hello");
}

TEST_F(Directory, KeepsAFileForEachChunkWrittenOnly) {
  auto region = make(100'000);
  region->write_at(as_bytes("hello"), 4096 * 3 - 2);
  EXPECT_EQ(fs::file_size(chunk("002")), 4096u);
  EXPECT_EQ(fs::file_size(chunk("003")), 4096u);
  region->write_at(as_bytes("x"), 99'999);
  EXPECT_EQ(fs::file_size(chunk("018")), 100'000u % 4096);
  EXPECT_EQ(std::distance(fs::directory_iterator(chunk("")), {}), 3);
  EXPECT_EQ(region->extents(0, 16384, 9),
            (std::vector<Extent>{{0, 8192, true, true}, {8192, 8192, false, false}}));
}

TEST_F(Directory, ZeroedAndDiscardedChunksVanish) {
  auto region = make(16'384);
  region->write_at(std::vector<std::byte>(16'384, std::byte{1}), 0);
  region->zero_at(4000, 5000);
  EXPECT_FALSE(fs::exists(chunk("001")));
  region->discard_at(8192, 8192);
  EXPECT_FALSE(fs::exists(chunk("002")));
  EXPECT_FALSE(fs::exists(chunk("003")));
  EXPECT_EQ(read_bytes(*region, 3999, 1).at(0), std::byte{1});
  EXPECT_TRUE(all_zero(read_bytes(*region, 4000, 12'384)));
}

TEST_F(Directory, FansOutAndAnswersForHugeEmptyRegions) {
  constexpr std::uint64_t TiB = 1024 * GiB;
  auto region = make(TiB, 64 * KiB);
  EXPECT_EQ(region->extents(0, TiB, 9), (std::vector<Extent>{{0, TiB, true, true}}));
  region->zero_at(0, TiB);
  region->write_at(as_bytes("x"), TiB - 1);
  EXPECT_TRUE(fs::exists(fs::path(path_) / "0000000fff" / "fff"));
  EXPECT_EQ(region->extents(0, TiB, 9),
            (std::vector<Extent>{{0, TiB - 64 * KiB, true, true},
                                 {TiB - 64 * KiB, 64 * KiB, false, false}}));
}

TEST_F(Directory, ChunksThatAreEmptyReadAsZeroesOthersOfWrongLengthFail) {
  auto region = make(16'384);
  region->write_at(std::vector<std::byte>(16'384, std::byte{1}), 0);
  region.reset();
  fs::resize_file(chunk("001"), 0);
  fs::resize_file(chunk("002"), 100);
  fs::resize_file(chunk("003"), 5000);
  region = open();
  EXPECT_TRUE(all_zero(read_bytes(*region, 4096, 4096)));
  EXPECT_EQ(error_of([&] { read_bytes(*region, 8192, 1); }), EIO);
  EXPECT_EQ(error_of([&] { region->write_at(as_bytes("x"), 8192); }), EIO);
  EXPECT_EQ(error_of([&] { read_bytes(*region, 12'288, 1); }), EIO);
  region->write_at(as_bytes("x"), 4096 + 4095);
  EXPECT_EQ(fs::file_size(chunk("001")), 4096u);
  region->zero_at(8192, 8192);  // removes the damage
  EXPECT_TRUE(all_zero(read_bytes(*region, 8192, 8192)));
}

TEST_F(Directory, FileShortenedWhileOpenFails) {
  auto region = make(16'384);
  region->write_at(std::vector<std::byte>(16'384, std::byte{1}), 0);
  fs::resize_file(chunk("001"), 100);
  EXPECT_EQ(error_of([&] { read_bytes(*region, 4096, 4096); }), EIO);
}

// A file that was removed while somebody was about to write to it must not be written to later.
TEST_F(Directory, WritesGoToTheFileThatIsThere) {
  auto region = make(4096);
  for (int round = 0; round < 100; ++round) {
    std::thread remover([&] {
      for (int i = 0; i < 5; ++i) region->zero_at(0, 4096);
    });
    for (int i = 0; i < 5; ++i) region->write_at(as_bytes("x"), 0);
    remover.join();
    const auto text = std::to_string(round);
    region->write_at(as_bytes(text), 100);
    ASSERT_EQ(read_small_file(chunk("000").string()).substr(100, text.size()), text);
  }
}

TEST_F(Directory, NeverFollowsLinksOrWaitsForFifos) {
  auto region = make(16'384);
  region->write_at(as_bytes("x"), 0);
  std::ofstream(parent_.path() + "/outside") << std::string(4096, 's');
  fs::create_symlink(parent_.path() + "/outside", chunk("001"));
  ASSERT_EQ(::mkfifo(chunk("002").c_str(), 0600), 0);
  EXPECT_EQ(error_of([&] { read_bytes(*region, 4096, 4096); }), ELOOP);
  EXPECT_EQ(error_of([&] { region->write_at(as_bytes("x"), 4096); }), ELOOP);
  EXPECT_EQ(error_of([&] { read_bytes(*region, 8192, 1); }), EIO);
}

TEST_F(Directory, ASecondWriterIsRefused) {
  auto first = make(4096);
  EXPECT_EQ(error_of([&] { open(); }), EBUSY);
  EXPECT_EQ(error_of([&] { open({{}, {}, true}); }), EBUSY);
  first.reset();
  auto reader = open({{}, {}, true});
  auto another = open({{}, {}, true});
  EXPECT_EQ(error_of([&] { open(); }), EBUSY);
  EXPECT_EQ(error_of([&] { reader->write_at(as_bytes("x"), 0); }), EPERM);
  EXPECT_EQ(error_of([&] { reader->zero_at(0, 1); }), EPERM);
  EXPECT_EQ(error_of([&] { reader->discard_at(0, 1); }), EPERM);
}

TEST_F(Directory, RefusesAnotherShapeThanItHas) {
  make(100'000);
  open({100'000, 4096});
  EXPECT_NE(message_of({100'001, {}}).find("its size is 100000, not 100001"), std::string::npos);
  EXPECT_NE(message_of({{}, 8192}).find("its chunk size is 4096, not 8192"), std::string::npos);
}

TEST_F(Directory, RefusesImpossibleShapes) {
  EXPECT_NE(message_of({}), "");
  for (const std::uint64_t chunk : {std::uint64_t{0}, std::uint64_t{5000}, 2 * KiB, 128 * MiB})
    EXPECT_NE(message_of({4096, chunk}), "") << chunk;
  EXPECT_NE(message_of({1ULL << 63, {}}), "");
  EXPECT_FALSE(fs::exists(path_)) << "made in spite of the error";
}

TEST_F(Directory, LeavesOtherDirectoriesAlone) {
  fs::create_directory(path_);
  std::ofstream(path_ + "/thesis.txt") << "important";
  EXPECT_EQ(error_of([&] { make(4096); }), ENOTEMPTY);
  EXPECT_EQ(std::distance(fs::directory_iterator(path_), {}), 1);
  EXPECT_EQ(error_of([&] { DirectoryBackend("/proc/self/cmdline", {4096, 4096}); }), ENOTDIR);
}

TEST_F(Directory, RefusesADamagedDescription) {
  make(100'000);
  for (const char* text : {"", "something else", "r3 directory region 1\n",
                           "r3 directory region 1\nsize 100000\nchunk 4096",
                           "r3 directory region 2\nsize 100000\nchunk 4096\n"}) {
    std::ofstream(path_ + "/region") << text;
    EXPECT_EQ(error_of([&] { open(); }), EINVAL) << text;
  }
  std::ofstream(path_ + "/region") << "r3 directory region 1\nsize 100000\nchunk 5\n";
  EXPECT_THROW(open(), std::invalid_argument);
}

TEST_F(Directory, KeepsAsManyFilesOpenAsItMay) {
  auto region = open({MiB, 4096, false, std::make_shared<OpenFiles>(10)});
  for (std::uint64_t at = 0; at < MiB; at += 4096) region->write_at(as_bytes("x"), at);
  EXPECT_EQ(region->open_now(), 10u);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{100, before.rlim_max};
  region.reset();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  region = open();
  for (std::uint64_t at = 0; at < MiB; at += 4096) read_bytes(*region, at, 1);
  EXPECT_EQ(region->open_now(), 50u);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(Directory, RegionsKeepFilesOpenTogether) {
  const auto files = std::make_shared<OpenFiles>(12);
  const auto touch_all = [](DirectoryBackend& region) {
    for (std::uint64_t at = 0; at < region.size(); at += 4096) region.write_at(as_bytes("x"), at);
  };
  auto first = open({MiB, 4096, false, files});
  touch_all(*first);
  EXPECT_EQ(first->open_now(), 12u);
  std::optional<DirectoryBackend> second(std::in_place, path_ + ".2", DirectoryOptions{MiB, 4096, false, files});
  DirectoryBackend third(path_ + ".3", {MiB, 4096, false, files});
  touch_all(*second);
  touch_all(third);
  EXPECT_EQ(first->open_now(), 4u);
  EXPECT_EQ(second->open_now(), 4u);
  EXPECT_EQ(third.open_now(), 4u);
  second.reset();
  touch_all(*first);
  EXPECT_EQ(first->open_now() + third.open_now(), 12u);
}

TEST_F(Directory, NoRoomIsReportedAndHarmsNothing) {
  auto region = make(MiB, 64 * KiB);
  region->write_at(as_bytes("kept"), 0);
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{4096, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_EQ(error_of([&] { region->write_at(as_bytes("x"), 64 * KiB); }), EFBIG);
  EXPECT_EQ(error_of([&] { region->write_at(as_bytes("x"), 32 * KiB); }), EFBIG);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(as_text(read_bytes(*region, 0, 4)), "kept");
  EXPECT_TRUE(all_zero(read_bytes(*region, 64 * KiB, 64 * KiB)));
  region->write_at(as_bytes("x"), 64 * KiB);
  EXPECT_EQ(as_text(read_bytes(*region, 64 * KiB, 1)), "x");
}

}  // namespace
}  // namespace r3::test
