// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/pager.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3 {

namespace {

constexpr int kLookForEnd = 1000;  // milliseconds

}  // namespace

Pager::Pager(Backend& region, ClientMemory& memory, PagerOptions options)
    : region_(region), memory_(memory), options_(std::move(options)),
      streams_(options_.chunk, options_.most), buffer_(Mapping::anonymous(options_.most)) {}

Pager::~Pager() {
  close();
}

void Pager::close() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  tasks_.stop().request();
  wanted_.notify_all();
  pull_.notify_all();
}

void Pager::read_messages() {
  memory_.read_messages(faults_, [this](Fd child) {
    if (options_.on_fork) options_.on_fork(std::make_unique<ClientMemory>(std::move(child), memory_));
  });
}

Pager::End Pager::run(const Stop& stop, int ended) {
  stop_ = &stop;
  memory_.set_reader([this] { read_messages(); });
  memory_.wake_all();  // an earlier server may have taken faults that it did not answer
  tasks_.spawn([this] { zeroes_.survey(region_, tasks_.stop()); });
  if (options_.order != nullptr) add_prefetcher();
  const struct Closing {
    Pager& pager;
    ~Closing() { pager.close(); }
  } closing{*this};
  pollfd watched[] = {{memory_.uffd().fd(), POLLIN, 0}, {stop.fd(), POLLIN, 0}, {ended, POLLIN, 0}};
  for (;;) {
    const int ready = ::poll(watched, 3, ended < 0 ? kLookForEnd : kForever);
    if (ready < 0 && errno != EINTR) fail(errno, "poll");
    if (watched[1].revents != 0) return End::stopped;
    if (watched[2].revents != 0 || (ready == 0 && !memory_.uffd().alive())) return End::gone;
    if (ready <= 0 || watched[0].revents == 0) continue;
    read_messages();
    while (!faults_.empty()) {
      const auto fault = faults_.front();
      faults_.pop_front();
      if (answer(fault) == Brought::gone) return End::gone;
    }
  }
}

Pager::Brought Pager::answer(const ClientMemory::Message& fault) {
  counters_.faults.fetch_add(1, std::memory_order_relaxed);
  if (fault.flags & UFFD_PAGEFAULT_FLAG_MINOR) {
    resume(fault);
    return Brought::done;
  }
  if (fault.flags & UFFD_PAGEFAULT_FLAG_WP) {
    let_write(fault);
    return Brought::done;
  }
  const auto length = streams_.length_for(fault.address, slow_.exchange(false, std::memory_order_relaxed));
  Claim claim;
  switch (memory_.touch(fault.address, options_.chunk, length, claim)) {
    case ClientMemory::Touched::taken_care_of: return Brought::done;
    case ClientMemory::Touched::unknown:
      log_warning("a page fault outside of what was handed over cannot be answered");
      memory_.uffd().poison(round_down(fault.address, 4 * KiB), 4 * KiB, 4 * KiB);
      return Brought::done;
    case ClientMemory::Touched::claimed: break;
  }
  const auto page = claim.length / claim.pages;
  streams_.brought(round_down(fault.address, page) + (claim.first.page + claim.pages - claim.asked) * page);
  if (options_.recording != nullptr) options_.recording->touched(claim.offset, claim.length);
  if (options_.order != nullptr && options_.order->demanded(claim.offset, claim.length, true)) more_to_bring();
  const auto brought = bring_or_poison(claim, buffer_.bytes(), Waits::no, true, fault);
  if (brought == Brought::must_wait) hand_over(claim, fault);
  return brought;
}

// The file behind the memory has the page already: it only has to be mapped.
void Pager::resume(const ClientMemory::Message& fault) {
  counters_.minor_faults.fetch_add(1, std::memory_order_relaxed);
  const auto spot = memory_.spot(fault.address);
  const auto page = spot ? spot->page_size : 4 * KiB;
  const auto address = round_down(fault.address, page);
  const auto length = std::max(page, std::min(streams_.length_for(address, false), spot ? spot->left : page));
  try {
    const auto filled = memory_.uffd().resume(address, length, page);
    streams_.brought(address + std::max(page, filled.done));
    if (filled.done > 0) return;
  } catch (const std::system_error&) {
    // Some of it is not there yet.
  }
  memory_.uffd().resume(address, page, page);
}

void Pager::let_write(const ClientMemory::Message& fault) {
  const auto page = std::max<std::uint64_t>(4 * KiB, memory_.page_size_at(fault.address));
  const bool done = options_.on_write
                        ? options_.on_write(fault.address)
                        : memory_.uffd().protect(round_down(fault.address, page), page, false) !=
                              Uffd::Filled::End::changing;
  if (done) return;
  faults_.push_back(fault);
  read_messages();
}

// Places `length` bytes, whole pages from the start of the claim.
Pager::Brought Pager::place(Claim& claim, std::uint64_t length, ClientMemory::Fill fill, ConstBytes bytes,
                            bool reads_messages) {
  const auto page = claim.length / claim.pages;
  Claim part = claim;
  part.pages = length / page;
  part.length = length;
  const auto left_before = part.pages;
  const auto move_on = [&] {
    const auto done = left_before - part.pages;
    claim.first.page += done, claim.pages -= done;
    claim.offset += done * page, claim.length -= done * page;
  };
  try {
    const auto placed = memory_.place(part, fill, bytes, reads_messages);
    move_on();
    if (placed == ClientMemory::Placed::gone) return Brought::gone;
    if (placed == ClientMemory::Placed::refused) fail(EOPNOTSUPP, "userfaultfd: fill");
  } catch (...) {
    move_on();
    throw;
  }
  return Brought::done;
}

Pager::Brought Pager::bring(Claim& claim, Bytes buffer, Waits waits, bool reads_messages) {
  using Fill = ClientMemory::Fill;
  while (claim.pages > 0) {
    const auto page = claim.length / claim.pages;
    auto row = claim.zeroed ? ZeroMap::Row{true, claim.length} : zeroes_.row(claim.offset, claim.length);
    // A row that ends within a page, or with the region, is zero as far as whole pages go.
    auto whole = claim.offset + row.length >= region_.size() ? claim.length : round_down(row.length, page);
    if (row.zero && whole > 0 && memory_.can_zero(page)) {
      const auto before = claim.length;
      if (const auto placed = place(claim, whole, Fill::zero, {}, reads_messages); placed == Brought::gone)
        return placed;
      counters_.zero_bytes.fetch_add(before - claim.length, std::memory_order_relaxed);
      continue;
    }
    if (row.zero && whole == 0) whole = page;
    if (!row.zero) whole = std::min(claim.length, round_up(row.length, page));
    const auto length = std::min(whole, std::max(page, round_down(buffer.size(), page)));
    if (const auto brought = bring_data(claim, length, buffer, waits, reads_messages); brought != Brought::done)
      return brought;
  }
  return Brought::done;
}

Pager::Brought Pager::bring_data(Claim& claim, std::uint64_t length, Bytes buffer, Waits waits,
                                 bool reads_messages) {
  using Fill = ClientMemory::Fill;
  Mapping larger;  // for huge pages that are longer than the buffer
  const auto page = claim.length / claim.pages;
  if (claim.zeroed) {
    larger = Mapping::anonymous(length);
    return place(claim, length, Fill::bytes, larger.bytes(), reads_messages);
  }
  const auto end = std::min(claim.offset + length, region_.size());
  const auto in_region = end > claim.offset ? end - claim.offset : 0;
  if (in_region == length) {
    const auto pages = claim.pages;
    if (const ConstBytes borrowed = region_.borrow(claim.offset, length); !borrowed.empty()) try {
        counters_.read_bytes.fetch_add(length, std::memory_order_relaxed);
        return place(claim, length, Fill::bytes, borrowed, reads_messages);
      } catch (const std::system_error& error) {
        // A file that has shrunk: reading it says what is wrong.
        if (error.code().value() != EFAULT) throw;
        if (claim.pages != pages) return Brought::done;
      }
  }
  if (length > buffer.size()) {
    larger = Mapping::anonymous(length);
    buffer = larger.bytes();
  }
  const Bytes bytes = buffer.first(length);
  std::memset(bytes.data() + in_region, 0, length - in_region);
  if (in_region > 0 && !region_.try_read_at(bytes.first(in_region), claim.offset)) {
    if (waits == Waits::no) return Brought::must_wait;
    if (waits == Waits::asked) region_.read_at(bytes.first(in_region), claim.offset);
    else region_.read_background(bytes.first(in_region), claim.offset);
  }
  counters_.read_bytes.fetch_add(in_region, std::memory_order_relaxed);
  const bool zero = memory_.can_zero(page) && all_zero(bytes);
  return place(claim, length, zero ? Fill::zero : Fill::bytes, zero ? ConstBytes{} : bytes, reads_messages);
}

Pager::Brought Pager::bring_or_poison(Claim& claim, Bytes buffer, Waits waits, bool reads_messages,
                                      const ClientMemory::Message& fault) {
  const auto asked = claim.asked;
  try {
    const auto brought = bring(claim, buffer, waits, reads_messages);
    if (brought == Brought::gone) memory_.release(claim);
    return brought;
  } catch (const std::exception&) {
    if (stop_->requested() || closing_) {
      memory_.release(claim);
      return Brought::done;
    }
  }
  // The page that was asked for is tried by itself; who waits for the others will ask for them.
  const auto page = claim.length / claim.pages;
  if (asked < claim.first.page || asked >= claim.first.page + claim.pages) {
    memory_.release(claim);
    return Brought::done;
  }
  const auto part = [&](std::uint64_t first, std::uint64_t pages) {
    Claim some = claim;
    some.first.page = first, some.pages = pages, some.length = pages * page;
    some.offset = claim.offset + (first - claim.first.page) * page;
    return some;
  };
  Claim before = part(claim.first.page, asked - claim.first.page);
  Claim after = part(asked + 1, claim.first.page + claim.pages - asked - 1);
  Claim one = part(asked, 1);
  memory_.release(before);
  memory_.release(after);
  claim = one;
  try {
    const auto brought = bring(claim, buffer, waits, reads_messages);
    if (brought == Brought::gone) memory_.release(claim);
    return brought;
  } catch (const std::exception&) {
    poison(claim, errno_of_current_exception(), reads_messages, fault);
    return Brought::done;
  }
}

void Pager::poison(Claim& claim, int error, bool reads_messages, const ClientMemory::Message& fault) {
  if (stop_->requested() || closing_) return memory_.release(claim);
  const auto offset = claim.offset;
  const auto length = claim.length;
  const auto placed = options_.use_poison ? memory_.place(claim, ClientMemory::Fill::poison, {}, reads_messages)
                                          : ClientMemory::Placed::refused;
  if (placed == ClientMemory::Placed::gone) return memory_.release(claim);
  counters_.poisoned_bytes.fetch_add(length, std::memory_order_relaxed);
  const bool signalled = placed == ClientMemory::Placed::refused;
  if (options_.on_poisoned) options_.on_poisoned(fault.address, offset, error, signalled);
  if (signalled) signal(fault);
  memory_.release(claim);
}

// Kernels before 6.6 cannot poison: the thread that waits gets the signal from us, with the address as
// its value; it stays where it is until it is handled, and asks again if it then goes on.
void Pager::signal(const ClientMemory::Message& fault) {
  if (options_.process <= 0) return;
  siginfo_t info{};
  info.si_signo = SIGBUS;
  info.si_code = SI_QUEUE;
  info.si_pid = ::getpid();
  info.si_uid = ::getuid();
  info.si_value.sival_ptr = reinterpret_cast<void*>(fault.address);
  const bool known = (memory_.features() & UFFD_FEATURE_THREAD_ID) != 0;
  const auto sent = known ? ::syscall(SYS_rt_tgsigqueueinfo, options_.process, fault.thread, SIGBUS, &info)
                          : ::syscall(SYS_rt_sigqueueinfo, options_.process, SIGBUS, &info);
  if (sent < 0) log_warning("process " + std::to_string(options_.process) +
                            " cannot be told that its page failed: " + std::strerror(errno));
}

}  // namespace r3
