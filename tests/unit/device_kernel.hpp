// SPDX-License-Identifier: Apache-2.0
// The kernel's end of a FUSE connection, played by the test: no mount, no privileges. Each datagram
// of a socket pair is one request or one answer, as with /dev/fuse.
#pragma once

#include <linux/fuse.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/device/fuse_server.hpp"

namespace r3::test {

struct Answer {
  int error = 0;  // an errno, 0 for success
  std::uint64_t unique = 0;
  std::vector<std::byte> body;

  template <class Struct>
  Struct as() const {
    Struct value{};
    std::memcpy(&value, body.data(), std::min(sizeof value, body.size()));
    return value;
  }
};

class FakeKernel {
 public:
  FakeKernel(Backend& backend, const DeviceOptions& options) : server_(backend, options) {
    int ends[2];
    check(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), "socketpair");
    kernel_.reset(ends[0]);
    server_.start("/dev/fd/" + std::to_string(ends[1]), {});
    fuse_init_in init{};
    init.major = 7;
    init.minor = 38;
    init.max_readahead = 128 << 10;
    init.flags = ~0u & ~static_cast<unsigned>(FUSE_INIT_EXT);
    init_ = ask(FUSE_INIT, init).as<fuse_init_out>();
  }
  ~FakeKernel() { unmount(); }

  FuseServer& server() { return server_; }
  const fuse_init_out& init() const { return init_; }
  void unmount() { ::shutdown(kernel_.get(), SHUT_RDWR); }

  template <class Struct>
  std::uint64_t send(std::uint32_t opcode, const Struct& arguments, std::string_view data = {}) {
    fuse_in_header header{};
    header.len = static_cast<std::uint32_t>(sizeof header + sizeof arguments + data.size());
    header.opcode = opcode;
    header.unique = next_++;
    header.nodeid = FUSE_ROOT_ID;
    std::string packet(header.len, '\0');
    std::memcpy(packet.data(), &header, sizeof header);
    std::memcpy(packet.data() + sizeof header, &arguments, sizeof arguments);
    std::copy(data.begin(), data.end(), packet.begin() + sizeof header + sizeof arguments);
    check(::send(kernel_.get(), packet.data(), packet.size(), 0), "send");
    return header.unique;
  }

  // The next reply; what the server only tells the kernel (unique 0) is passed over.
  Answer receive() {
    for (;;) {
      std::vector<std::byte> packet(2 << 20);
      packet.resize(static_cast<std::size_t>(
          check(::recv(kernel_.get(), packet.data(), packet.size(), 0), "receive")));
      fuse_out_header header{};
      if (packet.size() < sizeof header) fail(EPROTO, "the server has gone");
      std::memcpy(&header, packet.data(), sizeof header);
      if (header.unique == 0) continue;
      return {-header.error, header.unique, {packet.begin() + sizeof header, packet.end()}};
    }
  }

  template <class Struct>
  Answer ask(std::uint32_t opcode, const Struct& arguments, std::string_view data = {}) {
    send(opcode, arguments, data);
    return receive();
  }

  Answer read(std::uint64_t offset, std::uint32_t size) {
    return ask(FUSE_READ, read_request(offset, size));
  }
  static fuse_read_in read_request(std::uint64_t offset, std::uint32_t size) {
    fuse_read_in request{};
    request.offset = offset;
    request.size = size;
    return request;
  }
  Answer write(std::uint64_t offset, std::string_view data) {
    fuse_write_in request{};
    request.offset = offset;
    request.size = static_cast<std::uint32_t>(data.size());
    return ask(FUSE_WRITE, request, data);
  }
  fuse_attr attributes() { return ask(FUSE_GETATTR, fuse_getattr_in{}).as<fuse_attr_out>().attr; }
  int truncate(std::uint64_t size) {
    fuse_setattr_in request{};
    request.valid = FATTR_SIZE;
    request.size = size;
    return ask(FUSE_SETATTR, request).error;
  }
  int fallocate(std::uint32_t mode, std::uint64_t offset, std::uint64_t length) {
    fuse_fallocate_in request{};
    request.mode = mode;
    request.offset = offset;
    request.length = length;
    return ask(FUSE_FALLOCATE, request).error;
  }
  Answer seek(std::uint64_t offset, int whence) {
    fuse_lseek_in request{};
    request.offset = offset;
    request.whence = static_cast<std::uint32_t>(whence);
    return ask(FUSE_LSEEK, request);
  }
  int fsync() { return ask(FUSE_FSYNC, fuse_fsync_in{}).error; }

 private:
  FuseServer server_;
  Fd kernel_;
  std::uint64_t next_ = 1;
  fuse_init_out init_{};
};

}  // namespace r3::test
