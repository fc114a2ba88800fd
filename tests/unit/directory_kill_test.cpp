// SPDX-License-Identifier: Apache-2.0
// A process that writes to a directory region is killed at a random point, many times over. What it had
// written and been told so is there, what it was writing is old or new, page by page, and nothing else
// has appeared. (What a power cut does beyond that is flush()'s business, and needs another disk.)
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <random>
#include <set>

#include "libcommon/base/error.hpp"
#include "libcommon/base/mapping.hpp"
#include "libcommon/storage/directory.hpp"
#include "tests/unit/backend_suite.hpp"

namespace r3::test {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kChunk = 4 * kPage;
constexpr std::uint64_t kPages = 64;

// In memory shared with the child: each page holds one repeated number, 0 at first.
struct Oracle {
  std::uint64_t done[kPages];   // the last number whose write returned
  std::uint64_t begun[kPages];  // the last number whose write was begun
  std::atomic<unsigned> operations;
};

void write_until_killed(const std::string& path, Oracle& oracle, unsigned seed) {
  DirectoryBackend region(path, {kPages * kPage, kChunk, false, std::make_shared<OpenFiles>(3)});
  std::mt19937_64 random(seed);
  for (std::uint64_t number = seed * 1'000'000ULL + 1;; ++number) {
    const auto first = random() % kPages;
    const auto count = std::min(1 + random() % 8, kPages - first);
    const bool zero = random() % 4 == 0;
    const std::uint64_t value = zero ? 0 : number;
    for (auto page = first; page < first + count; ++page) oracle.begun[page] = value;
    if (zero) {
      region.zero_at(first * kPage, count * kPage);
    } else {
      const std::vector<std::uint64_t> words(count * kPage / 8, value);
      region.write_at(std::as_bytes(std::span(words)), first * kPage);
    }
    for (auto page = first; page < first + count; ++page) oracle.done[page] = value;
    ++oracle.operations;
    if (random() % 300 == 0) region.flush();
  }
}

// Takes over what is there as the oracle of the next round.
void compare(const std::string& path, Oracle& oracle) {
  DirectoryBackend region(path, {});
  for (std::uint64_t page = 0; page < kPages; ++page) {
    const auto bytes = read_bytes(region, page * kPage, kPage);
    const auto value = load_le<std::uint64_t>(bytes.data());
    ASSERT_TRUE(std::equal(bytes.begin() + 8, bytes.end(), bytes.begin())) << "torn page " << page;
    ASSERT_TRUE(value == oracle.done[page] || value == oracle.begun[page])
        << "page " << page << ": " << value << " is neither " << oracle.done[page] << " nor "
        << oracle.begun[page];
    oracle.done[page] = oracle.begun[page] = value;
  }
  std::set<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    names.insert(fs::relative(entry.path(), path).string());
  for (const char* expected : {"region", "lock", "0000000000"}) names.erase(expected);
  for (const auto& name : names)
    EXPECT_TRUE(name.size() == 14 && name < "0000000000/010") << "left over: " << name;
}

// Starts a writer and kills it some time after it has done `operations`, wherever it is then.
void run_and_kill(const std::string& path, Oracle& oracle, unsigned seed, unsigned operations) {
  oracle.operations = 0;
  const pid_t child = check(::fork(), "fork");
  if (child == 0) {
    try {
      write_until_killed(path, oracle, seed);
    } catch (...) {
      ::_exit(1);
    }
  }
  int status = 0;
  while (oracle.operations < operations) {
    ASSERT_EQ(::waitpid(child, &status, WNOHANG), 0) << "the writer failed by itself";
    ::sched_yield();
  }
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << "the writer failed by itself";
}

TEST(DirectoryKill, AProcessKilledAtAnyPointLosesNothing) {
  TemporaryDirectory parent;
  const auto path = parent.path() + "/region";
  const Fd file(check(::memfd_create("oracle", MFD_CLOEXEC), "memfd"));
  check(::ftruncate(file.get(), sizeof(Oracle)), "memfd");
  const Mapping shared = Mapping::of_file(file.get(), 0, sizeof(Oracle), true);
  auto& oracle = *reinterpret_cast<Oracle*>(shared.bytes().data());
  std::mt19937_64 random(7);
  for (unsigned seed = 1; seed <= 20 && !testing::Test::HasFatalFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    run_and_kill(path, oracle, seed, static_cast<unsigned>(1 + random() % 300));
    if (!testing::Test::HasFatalFailure()) compare(path, oracle);
  }
  EXPECT_TRUE(std::ranges::any_of(oracle.done, [](auto value) { return value > 0; }));
}

// Killed while it is being made, too: the next one opens or makes it.
TEST(DirectoryKill, AHalfMadeRegionIsMadeAgain) {
  TemporaryDirectory parent;
  const auto path = parent.path() + "/region";
  fs::create_directory(path);
  open_file(path + "/region.new", O_RDWR | O_CREAT);
  open_file(path + "/lock", O_RDWR | O_CREAT);
  DirectoryBackend region(path, {4096, 4096});
  EXPECT_EQ(region.size(), 4096u);
  EXPECT_FALSE(fs::exists(path + "/region.new"));
}

}  // namespace
}  // namespace r3::test
