// SPDX-License-Identifier: Apache-2.0
// A pager for the memory of another process: one that forks, and one that never stops writing.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/base/mapping.hpp"
#include "libcommon/device/pager.hpp"
#include "libcommon/device/write_tracker.hpp"
#include "libcommon/storage/memory.hpp"
#include "libcommon/storage/pattern.hpp"

namespace r3::test {

namespace {

constexpr std::uint64_t P = 4096;
constexpr std::uint64_t kPages = 64;
constexpr std::uint64_t kWords = P / 8;

using Words = volatile std::uint64_t;

// A process that hands its memory over and then runs `program`; its status is what that returns.
class Client {
 public:
  Client(std::uint64_t features, bool track, const std::function<int(Words*)>& program) {
    auto sockets = make_socket_pair();
    process = check(::fork(), "fork");
    if (process == 0) ::_exit(run(sockets.theirs.get(), features, track, program));
    sockets.theirs.reset();
    std::vector<Fd> fds;
    if (receive_with_fds(sockets.ours.get(), std::as_writable_bytes(std::span(&address, 1)), fds) == 0) return;
    features_granted = Uffd(duplicate(fds[0].get())).features();
    memory = std::make_shared<ClientMemory>(std::move(fds[0]), std::vector<UffdRange>{{address, kPages * P, 0, P}}, track);
  }
  ~Client() {
    if (process <= 0) return;
    ::kill(process, SIGKILL);
    ::waitpid(process, nullptr, 0);
  }
  int wait() {
    int status = 0;
    ::waitpid(process, &status, 0);
    process = 0;
    return status;
  }

  pid_t process = 0;
  std::uint64_t address = 0;
  std::uint64_t features_granted = 0;
  std::shared_ptr<ClientMemory> memory;  // none if the kernel refused

 private:
  static int run(int socket, std::uint64_t features, bool track, const std::function<int(Words*)>& program) try {
    const Mapping mapping = Mapping::anonymous(kPages * P);
    auto opened = open_uffd(features);
    const auto at = reinterpret_cast<std::uint64_t>(mapping.bytes().data());
    uffdio_register request{{at, kPages * P}, UFFDIO_REGISTER_MODE_MISSING, 0};
    if (track) request.mode |= UFFDIO_REGISTER_MODE_WP;
    check(::ioctl(opened.descriptor.get(), UFFDIO_REGISTER, &request), "register");
    send_with_fds(socket, std::as_bytes(std::span(&at, 1)), {opened.descriptor.get()});
    return program(reinterpret_cast<Words*>(at));
  } catch (const std::exception&) {
    return 99;
  }
};

bool is_pattern(Words* words, std::uint64_t from, std::uint64_t to) {
  for (std::uint64_t i = from * kWords; i < to * kWords; ++i)
    if (words[i] != i * 8) return false;
  return true;
}

TEST(PagerOfAProcessThatForks, ChildAndParentBothHaveEveryByte) {
  // The parent looks at a part, the child at all of it, and then the parent at the rest.
  Client client(UFFD_FEATURE_EVENT_FORK, false, [](Words* words) {
    if (!is_pattern(words, 3, 20)) return 1;
    words[5 * kWords] = 77;  // is the child's as well, from before the fork
    const pid_t child = ::fork();
    if (child == 0) {
      if (words[5 * kWords] != 77) ::_exit(2);
      words[5 * kWords] = 5 * P;
      ::_exit(is_pattern(words, 0, kPages) ? 0 : 3);
    }
    int status = 0;
    if (::waitpid(child, &status, 0) < 0 || status != 0) return 4;
    if (words[5 * kWords] != 77) return 5;  // the child's write is not the parent's
    return is_pattern(words, 6, kPages) && is_pattern(words, 0, 5) ? 0 : 6;
  });
  if (!client.memory || (client.features_granted & UFFD_FEATURE_EVENT_FORK) == 0)
    GTEST_SKIP() << "events of forks need CAP_SYS_PTRACE";
  PatternBackend region(kPages * P);
  Stop stop;
  std::atomic<int> children{0};
  TaskGroup tasks;
  PagerOptions options;
  options.most = P;
  options.on_fork = [&](std::unique_ptr<ClientMemory> memory) {
    tasks.spawn([&, child = std::shared_ptr<ClientMemory>(std::move(memory))] {
      Pager pager(region, *child, {});
      if (pager.run(stop, -1) == Pager::End::gone) ++children;
    });
  };
  Pager pager(region, *client.memory, options);
  std::thread thread([&] { pager.run(stop, -1); });
  EXPECT_EQ(client.wait(), 0);
  thread.join();
  tasks.join();
  EXPECT_EQ(children, 1);
}

// What a page that is filled with n + 1 from its start, having been filled with n, is at any one moment:
// some n + 1, then only n. A page put together from two moments ends with more than it begins with.
bool is_of_one_moment(const std::vector<std::byte>& page) {
  const auto first = load_le<std::uint64_t>(&page[0]);
  auto last = first;
  for (std::uint64_t i = 1; i < kWords; ++i) {
    const auto word = load_le<std::uint64_t>(&page[i * 8]);
    if (word > last || first - word > 1) return false;
    last = word;
  }
  return true;
}

class NeverStillTest : public testing::TestWithParam<bool> {
 protected:
  void start() {
    std::uint64_t features = UFFD_FEATURE_PAGEFAULT_FLAG_WP;
    if (GetParam()) features |= uffd_kernel::kFeatureWriteAsync;
    client = std::make_unique<Client>(features, true, [](Words* words) -> int {
      for (std::uint64_t n = 1;; ++n)
        for (std::uint64_t i = 0; i < 2 * kWords; ++i) words[3 * kWords + i] = n;
    });
    if (!client->memory) GTEST_SKIP() << "no userfaultfd with write protection";
    if (GetParam() && (client->features_granted & uffd_kernel::kFeatureWriteAsync) == 0)
      GTEST_SKIP() << "needs a kernel with asynchronous tracking";
    tracker = std::make_unique<WriteTracker>(region, client->memory, client->process, nullptr);
    PagerOptions options;
    options.on_write = [this](auto at) { return tracker->written(at); };
    pager = std::make_unique<Pager>(region, *client->memory, options);
    thread = std::thread([this] { pager->run(stop, -1); });
  }
  void TearDown() override {
    stop.request();
    if (thread.joinable()) thread.join();
  }
  std::uint64_t first_word() {
    std::byte bytes[8];
    region.read_at(bytes, 3 * P);
    return load_le<std::uint64_t>(bytes);
  }

  MemoryBackend region{kPages * P};
  std::unique_ptr<Client> client;
  std::unique_ptr<WriteTracker> tracker;
  std::unique_ptr<Pager> pager;
  Stop stop;
  std::thread thread;
};

TEST_P(NeverStillTest, EveryPushIsOfOneMomentAndTheWriterGoesOn) {
  start();
  if (!pager) return;
  std::uint64_t before = 0;
  std::vector<std::byte> page(P);
  for (int i = 0; i < 40 || (GetParam() && tracker->stops() < 40); ++i) {
    do tracker->push();
    while (first_word() == before);  // it goes on: there is something new some time
    before = first_word();
    for (const std::uint64_t at : {3, 4}) {
      region.read_at(page, at * P);
      ASSERT_TRUE(is_of_one_moment(page)) << "push " << i << ", page " << at;
    }
  }
}

// Under a debugger it cannot be stopped by us: then the page stays as it was, and the push says so.
// (Without asynchronous tracking nobody is stopped.)
TEST_P(NeverStillTest, WhoIsBeingDebuggedIsNotPushedTorn) {
  start();
  if (!pager) return;
  while (first_word() == 0) tracker->push();
  std::atomic<bool> traced{false};
  Stop done;
  std::thread debugger([&] {
    traced = ::ptrace(PTRACE_SEIZE, client->process, nullptr, nullptr) == 0;
    wait_for(done.fd(), POLLIN, done);
    ::ptrace(PTRACE_INTERRUPT, client->process, nullptr, nullptr);
    ::waitpid(client->process, nullptr, __WALL);
    ::ptrace(PTRACE_DETACH, client->process, nullptr, nullptr);
  });
  while (!traced) std::this_thread::yield();
  std::vector<std::byte> page(P);
  for (int i = 0; i < 2000 && tracker->stops() < 20; ++i) {
    try {
      tracker->push();
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code().value(), EPERM);
      EXPECT_TRUE(GetParam());
    }
    region.read_at(page, 3 * P);
    ASSERT_TRUE(is_of_one_moment(page));
  }
  done.request();
  debugger.join();
  const auto before = first_word();
  do tracker->push();
  while (first_word() == before);
}

INSTANTIATE_TEST_SUITE_P(Both, NeverStillTest, testing::Bool(), [](const auto& given) {
  return std::string(given.param ? "asynchronous" : "synchronous");
});

}  // namespace

}  // namespace r3::test
