// SPDX-License-Identifier: Apache-2.0
// Serves one queue of a ublk device from a Backend: the thread that takes a request answers it, unless it would
// have to wait; then a worker does, and the thread passes its answer on. Knows the queue by its port alone.
#pragma once

#include <mutex>
#include <vector>

#include "libcommon/base/mapping.hpp"
#include "libcommon/base/workers.hpp"
#include "libcommon/device/ublk_kernel.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

class UblkQueue {
 public:
  // Borrows both. All calls by one thread. `largest`: bytes of data that a request may have; `workers`: how many
  // requests may wait for the backend at once.
  UblkQueue(UblkQueuePort& port, Backend& backend, unsigned depth, std::size_t largest, unsigned workers);

  // The kernel has every tag when it returns, so that the device may be started.
  void begin();
  // Until the kernel has ended every tag: the device was stopped. What workers have been given is finished by then.
  void run();

 private:
  struct Answer {
    unsigned tag;
    int result;
  };
  Bytes buffer(unsigned tag) const;
  void take(const UblkEvent& event);
  void take_request(unsigned tag);
  void post(Answer answer);
  void pass_on();

  UblkQueuePort& port_;
  Backend& backend_;
  const unsigned depth_;
  const std::size_t largest_;
  unsigned live_;  // tags that have not come to their end
  Mapping buffers_;
  std::vector<Answer> passing_;

  std::mutex mutex_;
  std::vector<Answer> posted_;  // guarded by mutex_; by workers
  Workers workers_;             // last: they use the above
};

}  // namespace r3
