// SPDX-License-Identifier: Apache-2.0
// A remote region with a local copy of all that was written to it: writes go to both, reads come from the remote,
// or from the copy while the remote is dead or does not have the newest bytes. A dead remote is opened anew until
// it is there, and gets everything again. The kernel's paging goes through here: no call allocates memory.
//
// A write is answered when the copy has it, and the remote too or the remote is given up; so an acknowledged byte
// is never only on a remote that can die. A write that the copy refuses fails, with the remote untouched: the
// kernel then keeps the page.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "libcommon/base/mapping.hpp"
#include "libcommon/base/tasks.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

struct MirrorNumbers {
  bool connected = false;       // the remote answers, as far as is known
  std::uint64_t stale = 0;      // bytes that only the copy has
  std::uint64_t outages = 0;
};

class Mirror : public Backend {
 public:
  // Opens the remote; what it throws is why it is not there. Bounded: the remote's calls end, with an error if
  // need be (--io-timeout), for a call that waits for ever would make the copy worth nothing.
  using Open = std::function<std::unique_ptr<Backend>()>;
  struct Options {
    bool copy_is_newer = false;  // everything is stale at first: a killed process left both
    std::chrono::milliseconds first_pause{500}, longest_pause{10'000};  // between tries to open it again
    std::function<void(bool connected, const std::string& why)> on_change = {};  // called by any thread
  };

  // `copy` has the remote's size. Without a `remote` it is opened in the background.
  Mirror(std::unique_ptr<Backend> remote, Open open, std::unique_ptr<Backend> copy, Options options);
  ~Mirror() override;

  MirrorNumbers numbers() const;

  std::uint64_t size() const override { return size_; }
  std::uint64_t block_size() const override { return kPage; }
  void read_at(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void flush() override;
  void discard_at(std::uint64_t offset, std::uint64_t length) override;
  void abandon() noexcept override;

 private:
  static constexpr std::uint64_t kPage = 4096;
  static constexpr std::uint64_t kStripe = MiB;  // what is copied to the remote at once, alone in its stripe
  static constexpr std::size_t kStripes = 32;

  // One bit a page, changed by many threads.
  class PageMap {
   public:
    explicit PageMap(std::uint64_t pages) : words_((pages + 63) / 64) {}
    void set(std::uint64_t first, std::uint64_t end);
    void clear(std::uint64_t first, std::uint64_t end);
    bool any(std::uint64_t first, std::uint64_t end) const;
    std::uint64_t count() const;
    void take_over(const PageMap& other);
    // The first run at or after `from`, of at most `most`; empty if there is none.
    std::pair<std::uint64_t, std::uint64_t> run(std::uint64_t from, std::uint64_t most) const;

   private:
    std::vector<std::atomic<std::uint64_t>> words_;
  };
  using Remote = std::shared_ptr<Backend>;
  class Stripes;  // holds those of a range

  Remote remote() const;
  void lost(const Remote& which, int error) noexcept;
  void keep_remote();
  bool take_leave(Remote& mine, std::string& said);
  void catch_up(const Remote& remote);
  bool pause(std::chrono::milliseconds time);
  Remote open_again();
  void tell(bool connected, const std::string& why) noexcept;

  const Open open_;
  const std::unique_ptr<Backend> copy_;
  const Options options_;
  std::uint64_t size_ = 0;
  PageMap written_;  // since the beginning, and not discarded
  PageMap stale_;    // of written_: what the remote does not have
  std::shared_mutex stripes_[kStripes];
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Remote remote_;               // guarded by mutex_; none: dead
  int error_ = 0;               // guarded by mutex_: why
  bool ending_ = false;         // guarded by mutex_
  std::atomic<std::uint64_t> outages_{0};
  Mapping buffer_;              // of the keeper
  TaskGroup keeper_;            // last: its thread uses what stands above
};

}  // namespace r3
