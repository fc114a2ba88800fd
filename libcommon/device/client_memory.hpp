// SPDX-License-Identifier: Apache-2.0
// The memory of one process behind a userfaultfd: which pages are there, which ones somebody is just
// bringing, and how bytes get into them while the process maps, moves and removes things. Every page is
// claimed by one thread before it is filled, so that nothing is asked for twice; a claim ends by being
// placed, poisoned or released, and each of them wakes who waits. Knows no region.
//
// Any thread may call anything, but read_messages(), which belongs to one thread.
#pragma once

#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <vector>

#include "libcommon/base/mapping.hpp"
#include "libcommon/device/uffd.hpp"
#include "libcommon/device/uffd_layout.hpp"
#include "libcommon/storage/pull_source.hpp"

namespace r3 {

class ClientMemory {
 public:
  // Pages in one row that one thread has claimed.
  struct Claim {
    UffdLayout::Place first;
    std::uint64_t pages = 0;
    std::uint64_t offset = 0;  // of the first in the region
    std::uint64_t length = 0;  // bytes
    std::uint64_t asked = 0;   // touch() only: the page that was touched
    bool zeroed = false;  // the process gave the pages back (madvise(2)): they read as zeroes now
  };
  enum class Touched { claimed, taken_care_of, unknown };
  // How a claim ended: `refused` leaves it as it is, for another try in another way.
  enum class Placed { done, refused, gone };
  enum class Fill { bytes, zero, poison, resume };

  struct Message {
    std::uint64_t address = 0;
    std::uint64_t flags = 0;   // UFFD_PAGEFAULT_FLAG_*
    std::uint32_t thread = 0;  // of the process, if the userfaultfd tells
  };

  // `protect`: pages come write-protected, so that writes can be noticed.
  ClientMemory(Fd uffd, std::vector<UffdRange> ranges, bool protect);
  // The copy that a forked child has.
  ClientMemory(Fd uffd, const ClientMemory& parent);

  Uffd& uffd() { return uffd_; }
  std::uint64_t features() const { return features_; }
  std::uint64_t size() const { return size_; }
  std::uint64_t present() const;  // bytes that are in place
  // Whether pages of this size can be made zero without bytes, and still be watched for writes.
  bool can_zero(std::uint64_t page_size) const { return page_size == 4 * KiB && !protect_; }
  std::uint64_t page_size_at(std::uint64_t address) const;

  // Claims what is absent around a touched page: from the last multiple of `unit` on, as far as
  // `length` bytes after that, in one row. What is there already is woken.
  Touched touch(std::uint64_t address, std::uint64_t unit, std::uint64_t length, Claim& claim);
  // Claims the first absent pages in one row that hold bytes of this range of the region.
  std::optional<Claim> claim_absent(std::uint64_t offset, std::uint64_t length);

  // Fills a claim. `bytes` has its length (Fill::bytes only). `reads_messages`: the caller is the
  // thread that does; nobody else could then make the process's changes end.
  Placed place(Claim& claim, Fill fill, ConstBytes bytes, bool reads_messages);
  // Gives a claim, or what is left of it, up: who waits will ask again.
  void release(const Claim& claim) noexcept;

  // Reads what the kernel says, and follows the changes; page faults come into `faults`. `on_fork` gets
  // the userfaultfd of the child.
  void read_messages(std::deque<Message>& faults, const std::function<void(Fd)>& on_fork);
  void set_reader(std::function<void()> read_messages) { reader_ = std::move(read_messages); }

  // All that is not there is poisoned, or as far as the kernel lets us; for the end without a successor.
  bool poison_absent();
  // Everybody who waits asks again.
  void wake_all() noexcept;
  // Where the memory is now.
  std::vector<UffdLayout::Stretch> stretches() const;
  // Where something is: in the process and in the region, and how many bytes follow in one piece.
  struct Spot {
    UffdLayout::Place place;
    std::uint64_t address = 0, offset = 0, left = 0, page_size = 0;
  };
  std::optional<Spot> spot(std::uint64_t address) const;
  std::optional<Spot> spot(const UffdLayout::Place& place) const;
  // What the process gave back since the last call, if writes are watched: ranges of the region.
  std::vector<PullRange> take_removed();
  void keep_removed(const std::vector<PullRange>& removed);  // for the next call

 private:
  enum State : unsigned char {
    kAbsent,
    kClaimed,
    kPresent,
    kDoubted,  // present; was touched nevertheless, which can happen once
    kZeroed,   // given back by the process
    kClaimedZeroed,
    kPoisoned,
    kGone      // there was no memory to put it in; not tried again unless touched
  };
  struct Pages {
    Mapping states;  // a State for each
    std::span<unsigned char> all() const {
      return {reinterpret_cast<unsigned char*>(states.bytes().data()), states.bytes().size()};
    }
  };

  void make_pages();
  void claim_row(Claim& claim, std::uint64_t page, std::uint64_t end);  // with mutex_ held
  void settle(const UffdLayout::Place& place, std::uint64_t pages, State state);
  Uffd::Filled fill_now(Fill fill, std::uint64_t address, ConstBytes bytes, std::uint64_t length,
                        std::uint64_t page);
  bool place_next(Claim& claim, Fill fill, ConstBytes& bytes, Placed& result, bool& changing);
  void drop_first(Claim& claim, ConstBytes& bytes, std::uint64_t pages) const;
  void follow(const uffd_msg& message, const std::function<void(Fd)>& on_fork);
  void removed(std::uint64_t from, std::uint64_t length);

  Uffd uffd_;
  const std::uint64_t features_;
  const bool protect_;
  const bool follows_changes_;  // whether the kernel tells of mappings that change
  std::uint64_t size_ = 0;
  // Held shared while bytes are put in place and exclusively while messages are read, so that no bytes
  // land on pages that the process has just removed.
  std::shared_mutex placing_;
  mutable std::mutex mutex_;
  UffdLayout layout_;         // guarded by mutex_
  std::vector<Pages> pages_;  // a State for each page of each range; guarded by mutex_
  std::uint64_t present_ = 0;  // guarded by mutex_
  std::vector<PullRange> removed_;  // guarded by mutex_
  std::function<void()> reader_;
};

}  // namespace r3
