// SPDX-License-Identifier: Apache-2.0
#include "tools/nbd-attach/proxy.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/mapping.hpp"

namespace r3 {

namespace {

constexpr std::size_t kBuffer = 256 * KiB;

}  // namespace

Proxy::Proxy(Channel far) : far_(std::move(far)) {
  SocketPair pair = make_socket_pair();
  ours_ = std::move(pair.ours);
  theirs_ = std::move(pair.theirs);
  threads_.spawn([this] { carry(ours_.get(), far_.output()); });
  threads_.spawn([this] { carry(far_.input(), ours_.get()); });
}

void Proxy::carry(int from, int to) noexcept {
  try {
    // Its own memory, taken at once: what waits for this may be the kernel's paging.
    const Mapping buffer = Mapping::anonymous(kBuffer);
    for (;;) {
      const ssize_t length = ::read(from, buffer.bytes().data(), kBuffer);
      if (length < 0 && errno == EINTR) continue;
      if (length <= 0) break;
      write_full(to, buffer.bytes().first(static_cast<std::size_t>(length)), "proxy");
    }
  } catch (...) {
    log_debug(text_of_current_exception());
  }
  cut();
}

void Proxy::cut() noexcept {
  ended_ = true;
  ::shutdown(ours_.get(), SHUT_RDWR);
  far_.shut_down();
}

}  // namespace r3
