// SPDX-License-Identifier: Apache-2.0
// Many pieces of memory, sent as one: as few sendmsg calls as the kernel's limit of pieces allows. Keeps
// pointers only: the bytes stay where they are until send() has returned.
#pragma once

#include <limits.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <vector>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/error.hpp"

namespace r3 {

class Gather {
 public:
  void add(ConstBytes bytes) {
    parts_.push_back({const_cast<std::byte*>(bytes.data()), bytes.size()});
  }
  bool empty() const { return parts_.empty(); }

  // Sends everything and forgets it.
  void send(int socket) {
    msghdr message{};
    for (std::size_t first = 0; first < parts_.size();) {
      message.msg_iov = &parts_[first];
      message.msg_iovlen = std::min<std::size_t>(parts_.size() - first, IOV_MAX);
      auto left = static_cast<std::size_t>(check(::sendmsg(socket, &message, MSG_NOSIGNAL), "send"));
      for (; first < parts_.size() && left >= parts_[first].iov_len; ++first)
        left -= parts_[first].iov_len;
      if (left == 0) continue;
      parts_[first].iov_base = static_cast<std::byte*>(parts_[first].iov_base) + left;
      parts_[first].iov_len -= left;
    }
    parts_.clear();
  }

 private:
  std::vector<iovec> parts_;
};

}  // namespace r3
