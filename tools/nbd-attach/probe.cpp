// SPDX-License-Identifier: Apache-2.0
#include "tools/nbd-attach/probe.hpp"

#include <fcntl.h>
#include <liburing.h>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/base/mapping.hpp"

namespace r3 {

namespace {

constexpr unsigned kLength = 4096;

struct Ring {
  io_uring ring;
  Ring() {
    const int error = ::io_uring_queue_init(1, &ring, 0);
    if (error < 0) fail(-error, "io_uring");
  }
  ~Ring() { ::io_uring_queue_exit(&ring); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
};

}  // namespace

Life probe_device(const std::string& path, std::chrono::milliseconds deadline) {
  // Opening does not reach the server; a mapping that goes away while a read is under way stays with the read.
  const Fd device = open_file(path, O_RDONLY | O_DIRECT | O_NONBLOCK);
  const Mapping page = Mapping::anonymous(kLength);
  Ring ring;
  io_uring_sqe* const request = ::io_uring_get_sqe(&ring.ring);
  ::io_uring_prep_read(request, device.get(), page.bytes().data(), kLength, 0);
  // Never inside this call: a thread of the kernel's waits.
  ::io_uring_sqe_set_flags(request, IOSQE_ASYNC);
  check(::io_uring_submit(&ring.ring), path);
  __kernel_timespec time{deadline.count() / 1000, deadline.count() % 1000 * 1'000'000};
  io_uring_cqe* answer = nullptr;
  const int waited = ::io_uring_wait_cqe_timeout(&ring.ring, &answer, &time);
  if (waited == -ETIME) return Life::silent;
  if (waited < 0) fail(-waited, path);
  return answer->res > 0 ? Life::alive : Life::failing;
}

const char* to_text(Life life) {
  switch (life) {
    case Life::alive: return "alive";
    case Life::failing: return "failing";
    default: return "silent";
  }
}

}  // namespace r3
