// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/proxy/lane.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <initializer_list>
#include <stdexcept>

namespace r3::fault {

namespace {

using Units = std::initializer_list<std::pair<const char*, double>>;

double parse_scaled(const std::string& text, Units units, const char* accepted) {
  std::size_t end = 0;
  double value = -1;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {  // the text below says it better
  }
  for (const auto& [unit, factor] : units)
    if (value >= 0 && value < 1e6 && text.substr(end) == unit) return value * factor;
  throw std::invalid_argument("\"" + text + "\" is not " + accepted);
}

}  // namespace

Nanoseconds parse_delay(const std::string& text) {
  return static_cast<Nanoseconds>(
      parse_scaled(text, {{"us", 1e3}, {"ms", 1e6}, {"s", 1e9}}, "a delay (0.5ms, 10ms, 1s)"));
}

double parse_rate(const std::string& text) {
  return parse_scaled(text, {{"", 1}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}},
                      "a rate in bits a second (64K, 100M, 1G)");
}

Lane::Lane(const Shape& shape, const FaultPlan& plan, std::uint64_t stream, FaultCounts& counts)
    : shape_(shape), faulty_(plan.any()), faults_(plan, stream, counts) {}

void Lane::push(ConstBytes bytes, Nanoseconds now) {
  std::vector<std::byte> seen;
  if (faulty_) {
    faults_.pass(bytes, seen);
  } else {
    seen.assign(bytes.begin(), bytes.end());
  }
  enqueue(std::move(seen), now);
}

void Lane::end(Nanoseconds now) {
  std::vector<std::byte> seen;
  faults_.finish(seen);
  enqueue(std::move(seen), now);
}

void Lane::enqueue(std::vector<std::byte> bytes, Nanoseconds now) {
  if (bytes.empty() || discarding_) return;
  next_free_ = std::max(next_free_, now);
  if (shape_.bits_per_second > 0)
    next_free_ += static_cast<Nanoseconds>(static_cast<double>(bytes.size()) * 8e9 /
                                           shape_.bits_per_second);
  queued_ += bytes.size();
  queue_.push_back({next_free_ + shape_.delay.load(std::memory_order_relaxed), std::move(bytes)});
}

Delivery Lane::deliver(int socket, Nanoseconds now) {
  while (!queue_.empty() && next_due() <= now) {
    Piece& piece = queue_.front();
    std::size_t size = piece.bytes.size() - sent_;
    if (shape_.segment != 0) size = std::min(size, shape_.segment);
    const ssize_t sent =
        ::send(socket, piece.bytes.data() + sent_, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) return errno == EAGAIN || errno == EINTR ? Delivery::blocked : Delivery::broken;
    sent_ += static_cast<std::size_t>(sent);
    queued_ -= static_cast<std::size_t>(sent);
    delivered_ += static_cast<std::uint64_t>(sent);
    if (shape_.pause > 0) not_before_ = now + shape_.pause;
    if (sent_ == piece.bytes.size()) {
      queue_.pop_front();
      sent_ = 0;
    }
  }
  return Delivery::done;
}

void Lane::discard() {
  discarding_ = true;
  queue_.clear();
  queued_ = sent_ = 0;
}

Nanoseconds Lane::next_due() const {
  return queue_.empty() ? kNever : std::max(queue_.front().due, not_before_);
}

// Twice what is under way on a busy link, so that the queue never limits the rate.
std::size_t Lane::limit() const {
  if (shape_.bits_per_second <= 0) return 64 * MiB;
  const double delay = static_cast<double>(shape_.delay.load(std::memory_order_relaxed));
  const double on_the_way = shape_.bits_per_second / 8e9 * delay;
  if (shape_.queue > 0) return static_cast<std::size_t>(on_the_way) + shape_.queue;
  return std::max<std::size_t>(256 * KiB, static_cast<std::size_t>(2 * on_the_way) + 64 * KiB);
}

}  // namespace r3::fault
