// SPDX-License-Identifier: Apache-2.0
// A userfaultfd: opening one for this process, and filling the memory behind one, whosever it is. Knows
// addresses and pages, not what belongs into them. Any thread may call anything but read(), which
// belongs to one thread. Source: userfaultfd(2), ioctl_userfaultfd(2).
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/device/uffd_kernel.hpp"

namespace r3 {

class Uffd {
 public:
  // What became of a request to fill a range; `done` bytes of it, from its start, are in place. Pages
  // that were there before count as done, and whoever waits for them is woken.
  struct Filled {
    enum class End {
      all,       // everything is in place
      no_memory_there,  // nothing is registered at the next page, or a mapping ends within the range
      changing,  // the process is changing its mappings: its events have to be read first
      gone,      // the process has ended
      refused    // the kernel does not do this there
    };
    End end = End::all;
    std::uint64_t done = 0;
  };

  explicit Uffd(Fd descriptor) : descriptor_(std::move(descriptor)) {}

  int fd() const { return descriptor_.get(); }
  // As the kernel knows them; 0 if the descriptor is no userfaultfd that is ready for use.
  std::uint64_t features() const;

  // Addresses and lengths are multiples of `page`. `protect`: the pages begin write-protected. A source
  // that cannot be read throws EFAULT, no memory left ENOMEM.
  Filled copy(std::uint64_t address, ConstBytes data, std::uint64_t page, bool protect);
  Filled zero(std::uint64_t address, std::uint64_t length, std::uint64_t page);
  // Whoever touches the pages gets SIGBUS. `refused` by kernels before 6.6.
  Filled poison(std::uint64_t address, std::uint64_t length, std::uint64_t page);
  // Maps what the file behind the memory holds there already (minor faults).
  Filled resume(std::uint64_t address, std::uint64_t length, std::uint64_t page);
  // Sets or lifts write protection, which wakes the writers that wait: all, or nothing.
  Filled::End protect(std::uint64_t address, std::uint64_t length, bool on);
  void wake(std::uint64_t address, std::uint64_t length) noexcept;

  // The messages that are waiting; none if there are none.
  std::size_t read(std::span<uffd_msg> into);
  // Whether the process still has its memory.
  bool alive();

 private:
  template <class Request>
  Filled fill(std::uint64_t address, std::uint64_t length, std::uint64_t page, Request request);

  Fd descriptor_;
};

struct OpenedUffd {
  Fd descriptor;
  std::uint64_t features = 0;  // that were asked for and that the kernel has
  std::string how;             // "/dev/userfaultfd", "userfaultfd(2)", "... user-mode faults only"
  bool user_mode_only = false;  // system calls that touch absent pages fail with EFAULT
};

// A userfaultfd for this process's memory, non-blocking; with those of `wanted` features that the kernel
// grants. Tries the device, the system call, and the system call for faults in user mode; throws, with
// what each of them said, if none works.
OpenedUffd open_uffd(std::uint64_t wanted);

}  // namespace r3
