// SPDX-License-Identifier: Apache-2.0
// An io_uring of one's own (io_uring_setup(2)).
#pragma once

#include <liburing.h>

#include "libcommon/base/error.hpp"

namespace r3 {

class Uring {
 public:
  // `flags`: IORING_SETUP_*.
  Uring(unsigned entries, unsigned flags) {
    const int result = ::io_uring_queue_init(entries, &ring_, flags);
    if (result < 0) fail(-result, "io_uring");
  }
  ~Uring() { ::io_uring_queue_exit(&ring_); }
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  io_uring* get() { return &ring_; }

 private:
  io_uring ring_{};
};

}  // namespace r3
