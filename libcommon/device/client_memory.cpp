// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/client_memory.hpp"

#include <algorithm>
#include <cstring>
#include <thread>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

// Bytes that are placed while messages have to wait.
constexpr std::uint64_t kAtOnce = 256 * KiB;

}  // namespace

ClientMemory::ClientMemory(Fd uffd, std::vector<UffdRange> ranges, bool protect)
    : uffd_(std::move(uffd)), features_(uffd_.features()), protect_(protect),
      follows_changes_((features_ & uffd_kernel::kEvents) != 0), layout_(std::move(ranges)) {
  make_pages();
}

ClientMemory::ClientMemory(Fd uffd, const ClientMemory& parent)
    : uffd_(std::move(uffd)), features_(uffd_.features()), protect_(false),
      follows_changes_((features_ & uffd_kernel::kEvents) != 0), layout_(std::vector<UffdRange>()) {
  std::lock_guard lock(parent.mutex_);
  layout_ = parent.layout_;
  make_pages();
  // What was in flight may have come too late for the child; what was there, it has.
  for (std::size_t i = 0; i < pages_.size(); ++i) {
    const auto theirs = parent.pages_[i].all();
    std::transform(theirs.begin(), theirs.end(), pages_[i].all().begin(), [](unsigned char state) {
      return state == kClaimed ? kAbsent : state == kClaimedZeroed ? kZeroed : static_cast<State>(state);
    });
  }
  present_ = parent.present_;
}

void ClientMemory::make_pages() {
  for (const UffdRange& range : layout_.ranges()) {
    pages_.push_back({Mapping::anonymous(range.length / range.page_size)});
    size_ += range.length;
  }
}

std::uint64_t ClientMemory::present() const {
  std::lock_guard lock(mutex_);
  return present_;
}

std::uint64_t ClientMemory::page_size_at(std::uint64_t address) const {
  std::lock_guard lock(mutex_);
  const auto found = layout_.at(address);
  return found ? layout_.ranges()[found->place.range].page_size : 0;
}

std::vector<UffdLayout::Stretch> ClientMemory::stretches() const {
  std::lock_guard lock(mutex_);
  return layout_.stretches();
}

std::optional<ClientMemory::Spot> ClientMemory::spot(std::uint64_t address) const {
  std::lock_guard lock(mutex_);
  const auto found = layout_.at(address);
  if (!found) return {};
  const auto& range = layout_.ranges()[found->place.range];
  return Spot{found->place, round_down(address, range.page_size), range.offset + found->place.page * range.page_size,
              found->left, range.page_size};
}

std::optional<ClientMemory::Spot> ClientMemory::spot(const UffdLayout::Place& place) const {
  std::lock_guard lock(mutex_);
  const auto found = layout_.where(place);
  if (!found) return {};
  const auto& range = layout_.ranges()[place.range];
  return Spot{place, found->address, range.offset + place.page * range.page_size, found->length, range.page_size};
}

std::vector<PullRange> ClientMemory::take_removed() {
  // The process goes on as soon as its message has been read: what follows from it is waited for.
  std::shared_lock placing(placing_);
  std::lock_guard lock(mutex_);
  return std::exchange(removed_, {});
}

void ClientMemory::keep_removed(const std::vector<PullRange>& removed) {
  std::lock_guard lock(mutex_);
  removed_.insert(removed_.begin(), removed.begin(), removed.end());
}

// The row of pages like the one at `page` (absent, gone or zeroed) up to `end`.
void ClientMemory::claim_row(Claim& claim, std::uint64_t page, std::uint64_t end) {
  const auto states = pages_[claim.first.range].all();
  const auto& range = layout_.ranges()[claim.first.range];
  const unsigned char from = states[page];
  claim.zeroed = from == kZeroed;
  claim.first.page = page;
  while (page < end && states[page] == from) states[page++] = claim.zeroed ? kClaimedZeroed : kClaimed;
  claim.pages = page - claim.first.page;
  claim.offset = range.offset + claim.first.page * range.page_size;
  claim.length = claim.pages * range.page_size;
}

ClientMemory::Touched ClientMemory::touch(std::uint64_t address, std::uint64_t unit, std::uint64_t length,
                                          Claim& claim) {
  std::unique_lock lock(mutex_);
  const auto found = layout_.at(address);
  if (!found) return Touched::unknown;
  const auto& range = layout_.ranges()[found->place.range];
  const auto states = pages_[found->place.range].all();
  const auto page = found->place.page;
  const auto state = states[page];
  if (state == kClaimed || state == kClaimedZeroed) return Touched::taken_care_of;
  claim.first.range = found->place.range;
  claim.asked = page;
  if (state == kPresent) {  // it came after the fault; or the process dropped it, then it asks again
    states[page] = kDoubted;
    lock.unlock();
    uffd_.wake(round_down(address, range.page_size), range.page_size);
    return Touched::taken_care_of;
  }
  if (state == kDoubted || state == kPoisoned) {
    if (state == kDoubted) present_ -= range.page_size;
    states[page] = kAbsent;
    claim_row(claim, page, page + 1);
    return Touched::claimed;
  }
  const auto per_unit = std::max<std::uint64_t>(1, unit / range.page_size);
  auto first = page;
  while (first > round_down(page, per_unit) && states[first - 1] == state) --first;
  const auto wanted = std::max(per_unit, length / range.page_size);
  const auto end = std::min<std::uint64_t>(states.size(), round_down(page, per_unit) + wanted);
  claim_row(claim, first, std::max(end, page + 1));
  return Touched::claimed;
}

std::optional<ClientMemory::Claim> ClientMemory::claim_absent(std::uint64_t offset, std::uint64_t length) {
  std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < pages_.size(); ++i) {
    const auto& range = layout_.ranges()[i];
    const auto from = std::max(offset, range.offset);
    const auto to = std::min(offset + length, range.offset + range.length);
    if (from >= to) continue;
    const auto first = (from - range.offset) / range.page_size;
    const auto end = round_up(to - range.offset, range.page_size) / range.page_size;
    const auto states = pages_[i].all();
    const void* absent = std::memchr(&states[first], kAbsent, end - first);
    if (absent == nullptr) continue;
    Claim claim;
    claim.first.range = i;
    claim_row(claim, static_cast<std::uint64_t>(static_cast<const unsigned char*>(absent) - states.data()), end);
    return claim;
  }
  return {};
}

// Sets claimed pages; those that were removed meanwhile stay to be zeroed.
void ClientMemory::settle(const UffdLayout::Place& place, std::uint64_t pages, State state) {
  std::lock_guard lock(mutex_);
  const auto states = pages_[place.range].all().subspan(place.page, pages);
  for (unsigned char& page : states) {
    if (state == kAbsent && page == kClaimedZeroed) page = kZeroed;
    else page = state;
  }
  if (state == kPresent) present_ += pages * layout_.ranges()[place.range].page_size;
}

void ClientMemory::drop_first(Claim& claim, ConstBytes& bytes, std::uint64_t pages) const {
  const auto page_size = claim.length / claim.pages;
  claim.first.page += pages;
  claim.pages -= pages;
  claim.offset += pages * page_size;
  claim.length -= pages * page_size;
  if (!bytes.empty()) bytes = bytes.subspan(pages * page_size);
}

Uffd::Filled ClientMemory::fill_now(Fill fill, std::uint64_t address, ConstBytes bytes,
                                    std::uint64_t length, std::uint64_t page) {
  switch (fill) {
    case Fill::bytes: return uffd_.copy(address, bytes, page, protect_);
    case Fill::zero: return uffd_.zero(address, length, page);
    case Fill::resume: return uffd_.resume(address, length, page);
    case Fill::poison: break;
  }
  return uffd_.poison(address, length, page);
}

// Places the next pages of a claim; false when it has ended, or cannot go on for now.
bool ClientMemory::place_next(Claim& claim, Fill fill, ConstBytes& bytes, Placed& result, bool& changing) {
  std::shared_lock placing(placing_, std::defer_lock);
  if (follows_changes_) placing.lock();
  const auto page = claim.length / claim.pages;
  std::optional<UffdLayout::Stretch> where;
  auto count = claim.pages;
  bool removed = false;
  {
    std::lock_guard lock(mutex_);
    where = layout_.where(claim.first);
    const auto states = pages_[claim.first.range].all().subspan(claim.first.page, claim.pages);
    const auto row = std::find_if(states.begin(), states.end(), [&](auto s) { return s != states[0]; });
    count = static_cast<std::uint64_t>(row - states.begin());
    removed = states[0] == kClaimedZeroed;
  }
  if (!where) {  // unmapped: nobody can wait for it
    settle(claim.first, 1, kGone);
    drop_first(claim, bytes, 1);
    return claim.pages > 0;
  }
  // The process gave these pages back while their bytes were on the way.
  if (removed && !claim.zeroed) {
    Claim zeroed = claim;
    zeroed.zeroed = true, zeroed.pages = count, zeroed.length = count * page;
    settle(zeroed.first, count, kAbsent);
    uffd_.wake(where->address, std::min(where->length, zeroed.length));
    drop_first(claim, bytes, count);
    return claim.pages > 0;
  }
  auto length = std::min({count * page, where->length, std::max(page, follows_changes_ ? kAtOnce : claim.length)});
  auto filled = fill_now(fill, where->address, bytes.first(bytes.empty() ? 0 : length), length, page);
  // A mapping ends somewhere within: page by page as far as it goes.
  while (filled.end == Uffd::Filled::End::no_memory_there && filled.done == 0 && length > page) {
    length = std::max(page, round_down(length / 2, page));
    filled = fill_now(fill, where->address, bytes.first(bytes.empty() ? 0 : length), length, page);
  }
  const auto done = filled.done / page;
  if (done > 0) {
    settle(claim.first, done, fill == Fill::poison ? kPoisoned : kPresent);
    drop_first(claim, bytes, done);
    if (claim.pages == 0) return false;
  }
  switch (filled.end) {
    case Uffd::Filled::End::all: return true;
    case Uffd::Filled::End::changing: changing = true; return false;
    case Uffd::Filled::End::gone: result = Placed::gone; return false;
    case Uffd::Filled::End::refused: result = Placed::refused; return false;
    case Uffd::Filled::End::no_memory_there: break;
  }
  settle(claim.first, 1, kGone);
  drop_first(claim, bytes, 1);
  return claim.pages > 0;
}

ClientMemory::Placed ClientMemory::place(Claim& claim, Fill fill, ConstBytes bytes, bool reads_messages) {
  Placed result = Placed::done;
  while (claim.pages > 0) {
    bool changing = false;
    if (place_next(claim, fill, bytes, result, changing)) continue;
    if (!changing) break;
    if (reads_messages && reader_) reader_();
    std::this_thread::yield();
  }
  return result;
}

void ClientMemory::release(const Claim& claim) noexcept {
  if (claim.pages == 0) return;
  settle(claim.first, claim.pages, kAbsent);
  auto place = claim.first;
  for (std::uint64_t left = claim.pages; left > 0;) {
    std::unique_lock lock(mutex_);
    const auto where = layout_.where(place);
    const auto page = layout_.ranges()[place.range].page_size;
    lock.unlock();
    const auto pages = where ? std::min(left, where->length / page) : 1;
    if (where) uffd_.wake(where->address, pages * page);
    place.page += pages;
    left -= pages;
  }
}

void ClientMemory::removed(std::uint64_t from, std::uint64_t length) {
  std::lock_guard lock(mutex_);
  while (length > 0) {
    const auto found = layout_.at(from);
    if (!found) break;
    const auto page = layout_.ranges()[found->place.range].page_size;
    const auto bytes = std::min(found->left, length);
    if (protect_) removed_.push_back({layout_.ranges()[found->place.range].offset + found->place.page * page, bytes});
    for (unsigned char& state : pages_[found->place.range].all().subspan(found->place.page, bytes / page)) {
      if (state == kPresent || state == kDoubted) present_ -= page;
      state = state == kClaimed || state == kClaimedZeroed ? kClaimedZeroed : kZeroed;
    }
    from += bytes;
    length -= bytes;
  }
}

void ClientMemory::follow(const uffd_msg& message, const std::function<void(Fd)>& on_fork) {
  const auto& arg = message.arg;
  if (message.event == UFFD_EVENT_FORK) return on_fork(Fd(static_cast<int>(arg.fork.ufd)));
  if (message.event == UFFD_EVENT_REMOVE) return removed(arg.remove.start, arg.remove.end - arg.remove.start);
  std::lock_guard lock(mutex_);
  if (message.event == UFFD_EVENT_REMAP) layout_.moved(arg.remap.from, arg.remap.to, arg.remap.len);
  if (message.event == UFFD_EVENT_UNMAP)
    layout_.unmapped(arg.remove.start, arg.remove.end - arg.remove.start);
}

void ClientMemory::read_messages(std::deque<Message>& faults, const std::function<void(Fd)>& on_fork) {
  uffd_msg messages[16];
  std::unique_lock placing(placing_, std::defer_lock);
  if (follows_changes_) placing.lock();
  const auto count = uffd_.read(messages);
  for (const uffd_msg& message : std::span(messages).first(count)) {
    if (message.event != UFFD_EVENT_PAGEFAULT) {
      follow(message, on_fork);
      continue;
    }
    const auto& fault = message.arg.pagefault;
    faults.push_back({fault.address, fault.flags, fault.feat.ptid});
  }
}

bool ClientMemory::poison_absent() {
  while (auto claim = claim_absent(0, ~std::uint64_t{0})) {
    const auto placed = place(*claim, Fill::poison, {}, true);
    if (placed == Placed::gone) return true;
    if (placed == Placed::refused) return false;
  }
  return true;
}

void ClientMemory::wake_all() noexcept {
  for (const auto& stretch : stretches()) uffd_.wake(stretch.address, stretch.length);
}

}  // namespace r3
