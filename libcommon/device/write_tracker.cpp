// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/write_tracker.hpp"

#include <fcntl.h>
#include <sys/uio.h>

#include <algorithm>
#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/base/still.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kPiece = 256 * KiB;
constexpr int kTries = 4;
constexpr std::size_t kFound = 1024;

// A page that is written to all the time cannot be read as it was at one moment.
class Busy : public std::system_error {
 public:
  Busy(pid_t process, std::uint64_t address, const std::error_code& why)
      : system_error(why, "process " + std::to_string(process) + " writes all the time to the page at " + address_text(address) +
                              ", and cannot be stopped for the moment of the copy") {}
};

Fd open_pagemap(const ClientMemory& memory, pid_t process) {
  if ((memory.features() & uffd_kernel::kFeatureWriteAsync) == 0) return {};
  return open_file("/proc/" + std::to_string(process) + "/pagemap", O_RDONLY);
}

}  // namespace

WriteTracker::WriteTracker(Backend& region, std::shared_ptr<ClientMemory> memory, pid_t process,
                           std::function<void(std::uint64_t, std::uint64_t)> on_pushed)
    : region_(region), memory_(std::move(memory)), process_(process), on_pushed_(std::move(on_pushed)),
      pagemap_(open_pagemap(*memory_, process)), buffer_(Mapping::anonymous(2 * MiB)) {
  if (process_ <= 0) fail(ESRCH, "the process whose writes are to be tracked is not visible from here");
}

// Calls `found` for each row of pages written since the last time, which begin a new time in the same step.
// Only pages that exist count; the shared zero page is one that was never written to.
void WriteTracker::scan(std::uint64_t from, std::uint64_t to,
                        const std::function<void(std::uint64_t, std::uint64_t)>& found) {
  using namespace uffd_kernel;
  std::vector<PageRegion> rows(kFound);
  while (from < to) {
    ScanArguments scan{};
    scan.size = sizeof scan;
    scan.flags = kProtectMatching | kCheckAsync;
    scan.start = from;
    scan.end = to;
    scan.vec = reinterpret_cast<std::uint64_t>(rows.data());
    scan.vec_len = rows.size();
    scan.category_inverted = kZeroPage;
    scan.category_mask = kWritten | kZeroPage;
    scan.category_anyof_mask = kPresent | kSwapped;
    scan.return_mask = kWritten;
    const auto count = ::ioctl(pagemap_.get(), R3_PAGEMAP_SCAN, &scan);
    if (count < 0 && errno == ESRCH) return;  // the process has ended
    check(count, "PAGEMAP_SCAN");
    for (const PageRegion& row : std::span(rows).first(static_cast<std::size_t>(count))) found(row.start, row.end);
    if (static_cast<std::size_t>(count) < rows.size() || scan.walk_end <= from) return;
    from = scan.walk_end;
  }
}

void WriteTracker::add(std::vector<Dirty>& dirty, std::uint64_t from, std::uint64_t to) {
  while (from < to) {
    const auto found = memory_->spot(from);
    if (!found) return;
    const auto length = std::min(found->left, to - from);
    dirty.push_back({found->place, (length + found->page_size - 1) / found->page_size});
    from += length;
  }
}

void WriteTracker::take_faulted(std::vector<Dirty>& dirty) {
  Addresses written;
  {
    std::lock_guard lock(mutex_);
    written.swap(written_);
  }
  for (const auto address : written) add(dirty, address, address + 1);
}

void WriteTracker::find(std::vector<Dirty>& dirty) {
  if (!asynchronous()) return take_faulted(dirty);
  for (const auto& stretch : memory_->stretches())
    scan(stretch.address, stretch.address + stretch.length,
         [&](std::uint64_t from, std::uint64_t to) { add(dirty, from, to); });
}

bool WriteTracker::read(std::uint64_t address, Bytes into) {
  const iovec ours{into.data(), into.size()};
  const iovec theirs{reinterpret_cast<void*>(address), into.size()};
  const auto got = ::process_vm_readv(process_, &ours, 1, &theirs, 1, 0);
  // Whoever has the number now, if the process has ended or become another program, was not meant.
  return got == static_cast<ssize_t>(into.size()) && memory_->uffd().alive();
}

// For the thread that pushes: another one reads the messages meanwhile.
Uffd::Filled::End WriteTracker::set_protection(std::uint64_t address, std::uint64_t length, bool on) {
  for (;;) {
    const auto end = memory_->uffd().protect(address, length, on);
    if (end != Uffd::Filled::End::changing) return end;
    std::this_thread::yield();
  }
}

void WriteTracker::hold(std::uint64_t address, std::uint64_t length, std::uint64_t page) {
  {
    std::lock_guard lock(mutex_);
    held_from_ = address;
    held_to_ = address + length;
  }
  if (set_protection(address, length, true) == Uffd::Filled::End::no_memory_there)
    for (std::uint64_t at = 0; at < length; at += page) set_protection(address + at, page, true);
}

void WriteTracker::let_go(std::uint64_t page) {
  Addresses waiting;
  {
    std::lock_guard lock(mutex_);
    held_from_ = held_to_ = 0;
    waiting.swap(waiting_);
    written_.insert(waiting.begin(), waiting.end());
  }
  for (const auto address : waiting) set_protection(address, page, false);
}

bool WriteTracker::written(std::uint64_t address) {
  const auto found = memory_->spot(address);
  const auto page = found ? found->page_size : 4 * KiB;
  address = round_down(address, page);
  // One step: a push in between would protect the page again, and not know that it is written to.
  std::lock_guard lock(mutex_);
  if (address >= held_from_ && address < held_to_) {
    waiting_.insert(address);
    return true;
  }
  written_.insert(address);
  return memory_->uffd().protect(address, page, false) != Uffd::Filled::End::changing;
}

// Reads pages so that none is torn; throws Busy if that cannot be.
void WriteTracker::read_still(std::uint64_t address, Bytes into, std::uint64_t page) {
  if (!asynchronous()) {
    hold(address, into.size(), page);
    const bool done = read(address, into);
    let_go(page);
    if (!done) fail(EIO, "the memory of process " + std::to_string(process_));
    return;
  }
  read_or_throw(address, into);
  if (read_changed(address, into)) return;
  // Somebody writes there all the time, faster than we can look: he has to stand still for the moment.
  std::error_code why = std::make_error_code(std::errc::device_or_resource_busy);  // others write there, too
  bool still = false;
  ++stops_;
  try {
    while_still(process_, [&] { still = read_changed(address, into); });
  } catch (const std::system_error& error) {
    why = error.code();
  }
  if (!still) throw Busy(process_, address, why);
}

void WriteTracker::read_or_throw(std::uint64_t address, Bytes into) {
  if (!read(address, into)) fail(EIO, "the memory of process " + std::to_string(process_));
}

// Reads what was written to since the last look, until that is nothing; false if it never ends.
bool WriteTracker::read_changed(std::uint64_t address, Bytes into) {
  for (int i = 0; i < kTries; ++i) {
    bool changed = false;
    scan(address, address + into.size(), [&](auto from, auto to) {
      changed = true;
      read_or_throw(from, into.subspan(from - address, to - from));
    });
    if (!changed) return true;
  }
  return false;
}

std::uint64_t WriteTracker::push_piece(std::uint64_t address, std::uint64_t length) {
  const auto spot = memory_->spot(address);
  if (!spot || spot->offset >= region_.size()) return 0;
  if (length > buffer_.bytes().size()) buffer_ = Mapping::anonymous(length);
  const Bytes bytes = buffer_.bytes().first(length);
  read_still(address, bytes, spot->page_size);
  const auto count = std::min(length, region_.size() - spot->offset);
  region_.write_at(bytes.first(count), spot->offset);
  if (on_pushed_) on_pushed_(spot->offset, count);
  return count;
}

std::uint64_t WriteTracker::push_removed() {
  std::uint64_t pushed = 0;
  auto removed = memory_->take_removed();
  for (std::size_t i = 0; i < removed.size(); ++i) {
    const auto offset = removed[i].offset, length = removed[i].length;
    const auto count = offset < region_.size() ? std::min(length, region_.size() - offset) : 0;
    try {
      region_.zero_at(offset, count);
    } catch (...) {
      memory_->keep_removed({removed.begin() + static_cast<std::ptrdiff_t>(i), removed.end()});
      throw;
    }
    if (on_pushed_) on_pushed_(offset, count);
    pushed += count;
  }
  return pushed;
}

// Pushes from the end of the list; a piece that is Busy goes page by page, so that only what has to
// stays behind.
std::uint64_t WriteTracker::push_dirty(std::vector<Dirty>& dirty, std::exception_ptr& busy) {
  std::uint64_t pushed = 0;
  while (!dirty.empty()) {
    Dirty last = dirty.back();
    const auto where = memory_->spot(last.place);
    const auto page = where ? where->page_size : 0;
    const auto pages =
        where ? std::min({last.pages, where->left / page, std::max<std::uint64_t>(1, kPiece / page)}) : 1;  // unmapped since
    std::uint64_t again = 0;
    if (where) try {
        pushed += push_piece(where->address, pages * page);
      } catch (const Busy&) {
        again = pages;
        if (pages == 1) busy = std::current_exception();
      }
    dirty.pop_back();
    if (last.pages > pages) dirty.push_back({{last.place.range, last.place.page + pages}, last.pages - pages});
    for (std::uint64_t i = 0; i < again; ++i)
      (pages == 1 ? kept_ : dirty).push_back({{last.place.range, last.place.page + i}, 1});
  }
  return pushed;
}

std::uint64_t WriteTracker::push() {
  std::lock_guard lock(pushing_);
  std::uint64_t pushed = push_removed();
  unflushed_ |= pushed > 0;
  std::vector<Dirty> dirty;
  dirty.swap(kept_);
  std::exception_ptr busy;
  try {
    find(dirty);
    const auto count = push_dirty(dirty, busy);
    unflushed_ |= count > 0;
    pushed += count;
  } catch (...) {
    unflushed_ = true;
    kept_.insert(kept_.end(), dirty.begin(), dirty.end());
    throw;
  }
  if (unflushed_) region_.flush();
  unflushed_ = false;
  if (busy) std::rethrow_exception(busy);
  return pushed;
}

}  // namespace r3
