// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/ublk_queue.hpp"

#include "libcommon/base/log.hpp"
#include "libcommon/device/ublk_request.hpp"

namespace r3 {

UblkQueue::UblkQueue(UblkQueuePort& port, Backend& backend, unsigned depth, std::size_t largest,
                     unsigned workers)
    : port_(port),
      backend_(backend),
      depth_(depth),
      largest_(largest),
      live_(depth),
      buffers_(Mapping::anonymous(depth * largest)),  // taken from the system only where it is used
      workers_(workers) {
  passing_.reserve(depth);
  posted_.reserve(depth);
}

Bytes UblkQueue::buffer(unsigned tag) const { return buffers_.bytes().subspan(tag * largest_, largest_); }

void UblkQueue::begin() {
  for (unsigned tag = 0; tag < depth_; ++tag) port_.fetch(tag, buffer(tag));
  port_.submit();
}

void UblkQueue::run() {
  while (live_ > 0) {
    for (const UblkEvent& event : port_.wait()) take(event);
    pass_on();
  }
}

void UblkQueue::take(const UblkEvent& event) {
  if (event.result == UBLK_IO_RES_OK) return take_request(event.tag);
  --live_;
  if (event.result != UBLK_IO_RES_ABORT)
    log_debug("ublk: tag " + std::to_string(event.tag) + " ended with " + std::to_string(event.result));
}

void UblkQueue::take_request(unsigned tag) {
  const UblkRequest request = parse_ublk_request(port_.request(tag));
  if (const auto result = try_answer_ublk_request(backend_, request, buffer(tag)))
    return port_.commit(tag, *result, buffer(tag));
  workers_.hand_over(0, [this, tag, request] {
    post({tag, answer_ublk_request(backend_, request, buffer(tag))});
  });
}

void UblkQueue::post(Answer answer) {
  bool first = false;
  {
    std::lock_guard lock(mutex_);
    first = posted_.empty();
    posted_.push_back(answer);
  }
  if (first) port_.ring();
}

void UblkQueue::pass_on() {
  {
    std::lock_guard lock(mutex_);
    passing_.swap(posted_);
  }
  for (const Answer& answer : passing_) port_.commit(answer.tag, answer.result, buffer(answer.tag));
  passing_.clear();
}

}  // namespace r3
