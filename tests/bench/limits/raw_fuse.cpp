// SPDX-License-Identifier: Apache-2.0
// The limit for r3-mount's fuse driver: memory as one file, served by one thread straight over
// /dev/fuse, with nothing around it. raw_fuse SIZE PATH mounts on the file PATH (root), prints
// "ready", ends when it is unmounted.
#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/base/mapping.hpp"
#include "libcommon/base/sizes.hpp"

namespace {

using namespace r3;

class RawFuse {
 public:
  RawFuse(std::uint64_t size, const std::string& path)
      : memory_(Mapping::anonymous(size)), device_(open_file("/dev/fuse", O_RDWR)) {
    const std::string options = "fd=" + std::to_string(device_.get()) +
                                ",rootmode=100000,user_id=0,group_id=0,allow_other";
    check(::mount("raw", path.c_str(), "fuse.raw", MS_NOSUID | MS_NODEV, options.c_str()), path);
  }

  void serve() {
    std::vector<char> request(1 * MiB + 64 * KiB);
    for (;;) {
      const ssize_t length = ::read(device_.get(), request.data(), request.size());
      if (length < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN)) continue;
      if (length <= 0) return;
      answer(*reinterpret_cast<const fuse_in_header*>(request.data()),
             request.data() + sizeof(fuse_in_header));
    }
  }

 private:
  void reply(const fuse_in_header& to, int error, const void* body = nullptr,
             std::size_t size = 0) {
    fuse_out_header header{static_cast<std::uint32_t>(sizeof header + size), -error, to.unique};
    const iovec parts[] = {{&header, sizeof header}, {const_cast<void*>(body), size}};
    if (::writev(device_.get(), parts, size > 0 ? 2 : 1) < 0 && errno != ENOENT)
      std::perror("raw_fuse: reply");
  }

  template <class Struct>
  static const Struct& as(const char* arguments) {
    return *reinterpret_cast<const Struct*>(arguments);
  }

  void attributes(const fuse_in_header& header) {
    fuse_attr_out out{};
    out.attr_valid = 1u << 30;
    out.attr.ino = 1;
    out.attr.size = memory_.bytes().size();
    out.attr.mode = S_IFREG | 0600;
    out.attr.nlink = 1;
    out.attr.blksize = 4096;
    reply(header, 0, &out, sizeof out);
  }

  void init(const fuse_in_header& header, const fuse_init_in& in) {
    fuse_init_out out{};
    out.major = 7;
    out.minor = std::min<std::uint32_t>(in.minor, FUSE_KERNEL_MINOR_VERSION);
    out.max_readahead = in.max_readahead;
    out.flags = in.flags & (FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_ASYNC_DIO |
                            FUSE_NO_OPEN_SUPPORT);
    out.max_background = 64;
    out.congestion_threshold = 48;
    out.max_write = 1 * MiB;
    out.max_pages = 256;
    out.time_gran = 1;
    reply(header, 0, &out, sizeof out);
  }

  void answer(const fuse_in_header& header, const char* arguments) {
    std::byte* const bytes = memory_.bytes().data();
    switch (header.opcode) {
      case FUSE_INIT: return init(header, as<fuse_init_in>(arguments));
      case FUSE_GETATTR: return attributes(header);
      case FUSE_FSYNC: return reply(header, 0);
      case FUSE_FORGET: case FUSE_BATCH_FORGET: case FUSE_INTERRUPT: return;
      case FUSE_READ: {
        const auto& in = as<fuse_read_in>(arguments);
        const std::uint64_t size = memory_.bytes().size();
        const std::uint64_t end = std::min<std::uint64_t>(size, in.offset + in.size);
        return reply(header, 0, bytes + in.offset, end > in.offset ? end - in.offset : 0);
      }
      case FUSE_WRITE: {
        const auto& in = as<fuse_write_in>(arguments);
        if (in.offset + in.size > memory_.bytes().size()) return reply(header, ENOSPC);
        std::memcpy(bytes + in.offset, arguments + sizeof in, in.size);
        const fuse_write_out out{in.size, 0};
        return reply(header, 0, &out, sizeof out);
      }
      default: return reply(header, ENOSYS);
    }
  }

  Mapping memory_;
  Fd device_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fputs("usage: raw_fuse SIZE PATH\n", stderr), 2;
  RawFuse server(parse_size(argv[1]), argv[2]);
  std::puts("ready");
  std::fflush(stdout);
  server.serve();
}
