// SPDX-License-Identifier: Apache-2.0
// A pager for memory of this very process: faults in user mode need no privilege.
#pragma once

#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>

#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/device/pager.hpp"
#include "libcommon/device/write_tracker.hpp"

namespace r3::test {

constexpr std::uint64_t P = 4096;

inline thread_local sigjmp_buf before_touch;
inline thread_local void* volatile failed_at;

inline void on_bus_error(int, siginfo_t* info, void*) {
  failed_at = info->si_code == SI_QUEUE ? info->si_value.sival_ptr : info->si_addr;
  ::siglongjmp(before_touch, 1);
}

inline std::uint64_t word(const std::byte* at) { return load_le<std::uint64_t>(at); }

// The byte there, or nothing and failed_at after a SIGBUS.
inline std::optional<std::byte> touch(const std::byte* at) {
  if (::sigsetjmp(before_touch, 1) != 0) return {};
  return *static_cast<const volatile std::byte*>(at);
}

// Memory of `pages` behind a pager, for as long as it lives.
class Paged {
 public:
  Paged(Backend& region, std::uint64_t pages, PagerOptions options = {}, std::uint64_t features = 0,
        bool track = false)
      : mapping_(Mapping::anonymous(pages * P)), opened_(open_uffd(features)) {
    struct sigaction action{};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGBUS, &action, nullptr);
    uffdio_register request{{address(), pages * P}, UFFDIO_REGISTER_MODE_MISSING, 0};
    if (track) request.mode |= UFFDIO_REGISTER_MODE_WP;
    check(::ioctl(opened_.descriptor.get(), UFFDIO_REGISTER, &request), "register");
    memory = std::make_shared<ClientMemory>(duplicate(opened_.descriptor.get()),
                                            std::vector<UffdRange>{{address(), pages * P, 0, P}}, track);
    if (track) {
      tracker = std::make_unique<WriteTracker>(region, memory, ::getpid(), nullptr);
      options.on_write = [this](auto at) { return tracker->written(at); };
    }
    pager = std::make_unique<Pager>(region, *memory, std::move(options));
    thread_ = std::thread([this] { end = pager->run(stop_, -1); });
  }
  ~Paged() {
    stop();
    uffdio_range range{address(), mapping_.bytes().size()};
    ::ioctl(opened_.descriptor.get(), UFFDIO_UNREGISTER, &range);
  }
  void stop() {
    stop_.request();
    if (thread_.joinable()) thread_.join();
    pager.reset();
  }
  std::byte* bytes() { return mapping_.bytes().data(); }
  std::uint64_t address() const { return reinterpret_cast<std::uint64_t>(mapping_.bytes().data()); }

  std::shared_ptr<ClientMemory> memory;
  std::unique_ptr<WriteTracker> tracker;
  std::unique_ptr<Pager> pager;
  Pager::End end = Pager::End::gone;

 private:
  Mapping mapping_;
  OpenedUffd opened_;
  Stop stop_;
  std::thread thread_;
};

class PagerTest : public testing::Test {
 protected:
  void SetUp() override {
    try {
      open_uffd(0);
    } catch (const std::system_error& error) {
      GTEST_SKIP() << error.what();
    }
  }
};

inline void expect_pattern(Paged& paged, std::uint64_t size) {
  for (std::uint64_t at = 0; at < size; at += 8) {
    if (word(paged.bytes() + at) != at) FAIL() << "at byte " << at;
  }
}

}  // namespace r3::test
