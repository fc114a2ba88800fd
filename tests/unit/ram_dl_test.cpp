// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <random>
#include <thread>

#include "libcommon/storage/memory.hpp"
#include "tests/unit/backend_suite.hpp"
#include "tests/unit/doubles.hpp"
#include "tools/ram-dl/direct_file.hpp"
#include "tools/ram-dl/inspect.hpp"
#include "tools/ram-dl/mirror.hpp"
#include "tools/ram-dl/record.hpp"
#include "tools/ram-dl/swap_area.hpp"
#include "tools/ram-dl/swaps.hpp"

namespace r3::test {
namespace {

constexpr std::uint64_t kPage = 4096;

// A remote that can be told to be dead: every call fails, until it is opened anew, empty.
struct World {
  std::atomic<bool> dead{false};
  std::atomic<unsigned> opened{0};
  std::uint64_t size;
  MemoryBackend* last = nullptr;
  explicit World(std::uint64_t bytes) : size(bytes) {}

  class Remote : public PassingBackend {
   public:
    Remote(World& world, std::unique_ptr<Backend> below) : PassingBackend(std::move(below)), world_(world) {}
    void before(Call, std::uint64_t, std::uint64_t) override {
      if (world_.dead) fail(ETIMEDOUT, "remote");
    }

   private:
    World& world_;
  };

  std::unique_ptr<Backend> open() {
    if (dead) fail(ECONNREFUSED, "remote");
    ++opened;
    auto memory = std::make_unique<MemoryBackend>(size);
    last = memory.get();
    return std::make_unique<Remote>(*this, std::move(memory));
  }
};

Mirror::Options quick() {
  Mirror::Options options;
  options.first_pause = options.longest_pause = std::chrono::milliseconds(1);
  return options;
}

std::unique_ptr<Mirror> make_mirror(World& world) {
  return std::make_unique<Mirror>(world.open(), [&world] { return world.open(); },
                                  std::make_unique<MemoryBackend>(world.size), quick());
}

BackendUnderTest make_for_suite(std::uint64_t size) {
  auto world = std::make_shared<World>(size);
  auto mirror = make_mirror(*world);
  return {std::move(mirror), world};
}

void wait_until_whole(const Mirror& mirror) {
  while (!mirror.numbers().connected || mirror.numbers().stale > 0) std::this_thread::yield();
}

std::vector<std::byte> page_of(unsigned char fill) { return std::vector<std::byte>(kPage, std::byte{fill}); }

}  // namespace

INSTANTIATE_TEST_SUITE_P(Mirror, BackendSuite,
                         testing::Values(BackendCase{"mirror", make_for_suite, nullptr, kPage}), case_name);

TEST(Mirror, ADeadRemoteLosesNothing) {
  World world(64 * kPage);
  const auto mirror = make_mirror(world);
  mirror->write_at(page_of(1), 0);
  world.dead = true;
  mirror->write_at(page_of(2), kPage);
  EXPECT_EQ(read_bytes(*mirror, 0, kPage), page_of(1));
  EXPECT_EQ(read_bytes(*mirror, kPage, kPage), page_of(2));
  EXPECT_FALSE(mirror->numbers().connected);
  EXPECT_EQ(mirror->numbers().outages, 1u);
  EXPECT_EQ(mirror->numbers().stale, 2 * kPage);
}

TEST(Mirror, ARemoteThatComesBackEmptyGetsEverythingAgain) {
  World world(64 * kPage);
  const auto mirror = make_mirror(world);
  mirror->write_at(page_of(1), 3 * kPage);
  mirror->write_at(page_of(2), 7 * kPage);
  mirror->write_at(page_of(3), 63 * kPage);
  mirror->discard_at(7 * kPage, kPage);
  world.dead = true;
  EXPECT_EQ(read_bytes(*mirror, 3 * kPage, kPage), page_of(1));
  world.dead = false;
  wait_until_whole(*mirror);
  EXPECT_EQ(world.opened.load(), 2u);
  EXPECT_EQ(read_bytes(*world.last, 3 * kPage, kPage), page_of(1));
  EXPECT_EQ(read_bytes(*world.last, 63 * kPage, kPage), page_of(3));
  EXPECT_EQ(read_bytes(*world.last, 7 * kPage, kPage), page_of(0)) << "what was discarded is not sent";
}

TEST(Mirror, AWriteThatTheCopyRefusesFailsAndLeavesTheRemoteAlone) {
  class Full : public PassingBackend {
   public:
    using PassingBackend::PassingBackend;
    void before(Call call, std::uint64_t, std::uint64_t) override {
      if (call == Call::write) fail(ENOSPC, "copy");
    }
  };
  World world(4 * kPage);
  Mirror mirror(world.open(), [&world] { return world.open(); },
                std::make_unique<Full>(std::make_unique<MemoryBackend>(world.size)), quick());
  EXPECT_EQ(error_of([&] { mirror.write_at(page_of(1), 0); }), ENOSPC);
  EXPECT_EQ(read_bytes(*world.last, 0, kPage), page_of(0));
  EXPECT_TRUE(mirror.numbers().connected);
}

TEST(Mirror, TheCopyOfAKilledProcessCountsAsNewer) {
  World world(8 * kPage);
  auto copy = std::make_unique<MemoryBackend>(world.size);
  copy->write_at(page_of(9), 5 * kPage);
  auto options = quick();
  options.copy_is_newer = true;
  Mirror mirror(nullptr, [&world] { return world.open(); }, std::move(copy), options);
  EXPECT_EQ(read_bytes(mirror, 5 * kPage, kPage), page_of(9));
  wait_until_whole(mirror);
  EXPECT_EQ(read_bytes(*world.last, 5 * kPage, kPage), page_of(9));
}

// Each thread owns pages of its own, and knows what they hold, while the remote dies and comes back empty.
TEST(Mirror, NoWrongByteWhileTheRemoteComesAndGoes) {
  constexpr unsigned kThreads = 4, kPages = 64, kRounds = 400;
  World world(kThreads * kPages * kPage);
  const auto mirror = make_mirror(world);
  std::atomic<unsigned> running{kThreads}, wrong{0}, steps{0};
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      std::minstd_rand random(t + 1);
      std::vector<unsigned char> holds(kPages, 0);
      for (unsigned n = 0; n < kRounds || world.opened < 4; ++n) {
        ++steps;
        const unsigned page = static_cast<unsigned>(random() % kPages);
        const std::uint64_t offset = (page * kThreads + t) * kPage;
        if (random() % 2 == 0) {
          holds[page] = static_cast<unsigned char>(random());
          mirror->write_at(page_of(holds[page]), offset);
        } else if (holds[page] != 0 && read_bytes(*mirror, offset, kPage) != page_of(holds[page])) {
          ++wrong;
        }
      }
      --running;
    });
  std::minstd_rand random(7);
  const auto until = [&](const auto& condition) {
    while (running > 0 && !condition()) std::this_thread::yield();
  };
  while (running > 0) {
    world.dead = !world.dead;
    // Mostly long enough to be noticed, and for a few steps more.
    if (random() % 4 != 0) until([&] { return mirror->numbers().connected != world.dead; });
    until([&, end = steps + static_cast<unsigned>(random() % 256)] { return steps >= end; });
  }
  threads.clear();
  world.dead = false;
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_GT(world.opened.load(), 1u);
}

namespace {
BackendUnderTest make_direct(std::uint64_t size) {
  auto directory = std::make_shared<TemporaryDirectory>();
  return {std::make_unique<DirectFile>(directory->path() + "/file", size), directory};
}
}  // namespace

INSTANTIATE_TEST_SUITE_P(DirectFile, BackendSuite,
                         testing::Values(BackendCase{"direct", make_direct, nullptr, 512, 200}), case_name);

TEST(DirectFile, BelongsToOneAndHasAllItsSpace) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/file";
  const DirectFile one(path, 10 * kPage + 100);
  EXPECT_EQ(one.size(), 10 * kPage + 100);
  EXPECT_EQ(error_of([&] { DirectFile(path, kPage); }), EBUSY);
  EXPECT_EQ(error_of([&] { DirectFile(directory.path() + "/other"); }), ENOENT);
}

TEST(SwapArea, HasWhatTheKernelWantsAndItsOwner) {
  MemoryBackend memory(MiB);
  SwapArea area(memory, "it");
  EXPECT_EQ(area.state(), AreaState::empty);
  area.check_free("me");
  area.write("me");
  const auto page = read_bytes(memory, 0, static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)));
  EXPECT_EQ(as_text(ConstBytes(page).last(10)), "SWAPSPACE2");
  std::uint32_t numbers[3];
  std::memcpy(numbers, page.data() + 1024, sizeof numbers);
  EXPECT_EQ(numbers[0], 1u);
  EXPECT_EQ(numbers[1], MiB / page.size() - 1);
  EXPECT_EQ(numbers[2], 0u);

  SwapArea again(memory, "it");
  EXPECT_EQ(again.state(), AreaState::swap);
  EXPECT_EQ(again.owner(), "me");
  EXPECT_EQ(again.uuid(), area.uuid());
  EXPECT_EQ(again.uuid().size(), 32u);
  again.check_free("me");
  EXPECT_EQ(error_of([&] { again.check_free("you"); }), EBUSY);
  again.release();
  EXPECT_EQ(SwapArea(memory, "it").owner(), "");
}

TEST(SwapArea, LeavesWhatIsThereAlone) {
  for (const std::uint64_t at : {std::uint64_t{1080}, std::uint64_t{0}, 4 * MiB - 1}) {
    MemoryBackend memory(4 * MiB);
    memory.write_at(as_bytes("x"), at);
    EXPECT_EQ(error_of([&] { SwapArea(memory, "it").check_free("me"); }), EEXIST) << at;
  }
  MemoryBackend memory(MiB);
  memory.write_at(as_bytes("S1SUSPEND"), static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) - 10);
  EXPECT_EQ(SwapArea(memory, "it").state(), AreaState::hibernation);
  MemoryBackend small(kPage);
  EXPECT_EQ(error_of([&] { SwapArea(small, "it"); }), EINVAL);
}

TEST(Swaps, TheTableIsRead) {
  const auto swaps = parse_swaps(
      "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
      "/dev/ublkb0                             partition\t262140\t\t0\t\t5\n"
      "/var/my\\040file                         file\t\t1024\t\t12\t\t-2\n"
      "nonsense\n");
  ASSERT_EQ(swaps.size(), 2u);
  EXPECT_EQ(swaps[0].path, "/dev/ublkb0");
  EXPECT_EQ(swaps[0].size, 262140 * KiB);
  EXPECT_EQ(swaps[1].path, "/var/my file");
  EXPECT_EQ(swaps[1].used, 12 * KiB);
  EXPECT_EQ(swaps[1].priority, -2);
  EXPECT_FALSE(find_swap(swaps, "/dev/ublkb1"));
  EXPECT_EQ(meminfo_value("MemTotal: 5 kB\nMemAvailable:     12 kB\n", "MemAvailable"), 12 * KiB);
  EXPECT_EQ(meminfo_value("MemAvailableX: 12 kB\n", "MemAvailable"), 0u);
}

TEST(HexDump, LinesThatRepeatAreLeftOut) {
  std::string bytes = "0123456789abcdef" + std::string(48, '\0') + "end";
  HexDump dump(0x1000);
  EXPECT_EQ(dump.lines(as_bytes(bytes)),
            "0000001000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|\n"
            "0000001010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n"
            "*\n"
            "0000001040  65 6e 64                                          |end|\n");
  EXPECT_EQ(dump.end(), "0000001043\n");
}

TEST(Record, OneForEachRegionAndWhatIsLeftIsFound) {
  const TemporaryDirectory directory;
  {
    Record mine("region", directory.path());
    mine.set_device("/dev/ublkb3", "abc");
    EXPECT_EQ(error_of([&] { Record("region", directory.path()); }), EBUSY);
    Record other("another", directory.path());
    EXPECT_TRUE(Record::left_behind(directory.path()).empty());
    EXPECT_EQ(Record::living_with("abc", directory.path()), std::to_string(::getpid()));
    EXPECT_EQ(Record::living_with("abd", directory.path()), "");
    other.remove();
  }
  const auto left = Record::left_behind(directory.path());
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].region(), "region");
  EXPECT_EQ(left[0].device(), "/dev/ublkb3");
  EXPECT_EQ(left[0].uuid(), "abc");
}

}  // namespace r3::test
