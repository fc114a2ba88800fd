// SPDX-License-Identifier: Apache-2.0
// Owned file descriptors and whole transfers over them. EINTR is retried here and nowhere else.
// Functions that borrow a descriptor take int, those that own it take Fd. Everything made here is
// close-on-exec. Knows descriptors, not what is behind them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libcommon/base/bytes.hpp"

namespace r3 {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~Fd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept;

 private:
  int fd_ = -1;
};

struct SocketPair {
  Fd ours;
  Fd theirs;
};

struct Pipe {
  Fd read_end;
  Fd write_end;
};

// open(2) with O_CLOEXEC; throws with the path in the text.
Fd open_file(const std::string& path, int flags, unsigned mode = 0666);
Fd duplicate(int fd);
SocketPair make_socket_pair();  // AF_UNIX, SOCK_STREAM
Pipe make_pipe();

// Reads until `into` is full or the stream ends; returns the bytes read. Throws on errors.
std::size_t read_full(int fd, Bytes into, std::string_view what = "read");
void write_full(int fd, ConstBytes from, std::string_view what = "write");
// The same at an offset; a short pread (end of file) returns less.
std::size_t pread_full(int fd, Bytes into, std::uint64_t offset, std::string_view what = "read");
void pwrite_full(int fd, ConstBytes from, std::uint64_t offset, std::string_view what = "write");

// The whole of a small file (at most `limit` bytes, else EFBIG).
std::string read_small_file(const std::string& path, std::size_t limit = 1 << 20);

// SCM_RIGHTS over a UNIX socket: the bytes and the descriptors in one message.
void send_with_fds(int socket, ConstBytes bytes, const std::vector<int>& fds);
// Receives at most into.size() bytes; appends the descriptors that came along (at most 16) to `fds`.
std::size_t receive_with_fds(int socket, Bytes into, std::vector<Fd>& fds);

void set_nonblocking(int fd, bool on);
bool is_open(int fd);

// For servers, whose clients cost a descriptor each: this process may open as many as the system allows it.
void raise_descriptor_limit() noexcept;

}  // namespace r3
