// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/input.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "libcommon/base/error.hpp"

namespace r3 {
namespace {

constexpr int kPatienceMs = 2000;

void wait_for_more(int fd, const std::string& path, const Stop* stop) {
  const Stop never;
  switch (wait_for(fd, POLLIN, stop ? *stop : never, stop ? kForever : kPatienceMs)) {
    case Wait::ready: return;
    case Wait::stopped: fail(ECANCELED, path);
    case Wait::timed_out: fail(ETIMEDOUT, path);
  }
}

}  // namespace

Fd open_input(const std::string& path) {
  return open_file(path, O_RDONLY | O_NOCTTY | O_NONBLOCK);
}

std::size_t read_input(int fd, Bytes into, const std::string& path, const Stop* stop) {
  std::size_t length = 0;
  while (length < into.size()) {
    wait_for_more(fd, path, stop);
    const ssize_t n = ::read(fd, &into[length], into.size() - length);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (check(n, path) == 0) break;
    length += static_cast<std::size_t>(n);
  }
  return length;
}

}  // namespace r3
