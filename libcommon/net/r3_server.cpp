// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_server.hpp"

#include <sys/random.h>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_connection.hpp"

namespace r3 {

R3Server::R3Server(std::vector<R3Export> exports, R3ServerOptions options)
    : exports_(std::move(exports)), fences_(exports_.size()), options_(options) {
  options_.max_bytes = std::max(options_.max_bytes, options_.max_transfer);
  if (::getrandom(&verifier_, sizeof verifier_, 0) != sizeof verifier_) fail(errno, "getrandom");
}

void R3Server::serve(Link& link, bool sums, const R3Peer& peer, const Stop& stop) {
  ++counters_.connections;
  struct Count {
    std::atomic<std::uint64_t>& of;
    explicit Count(std::atomic<std::uint64_t>& n) : of(n) { ++of; }
    ~Count() { --of; }
  } count(counters_.connected);
  R3Connection(*this, link, sums, peer, stop).run();
}

const R3Export* R3Server::find(const std::string& name) const {
  for (const R3Export& exported : exports_)
    if (exported.name == name) return &exported;
  return nullptr;
}

bool R3Server::take_seat(const SlotName& name, std::uint32_t generation, Link& link,
                         const Stop& stop) {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto [seat, is_new] = seats_.try_emplace(name, Seat{generation, &link});
    if (is_new) return true;
    if (seat->second.generation >= generation) return false;
    seat->second.link->shut_down();
    // The old connection leaves once its workers are done; a request to stop reaches it as well.
    seat_left_.wait_for(lock, std::chrono::milliseconds(100));
    if (stop.requested()) return false;
  }
}

void R3Server::leave_seat(const SlotName& name, Link& link) {
  std::lock_guard lock(mutex_);
  const auto seat = seats_.find(name);
  if (seat != seats_.end() && seat->second.link == &link) seats_.erase(seat);
  seat_left_.notify_all();
}

}  // namespace r3
