// SPDX-License-Identifier: Apache-2.0
// Backend: the one interface between the application and the bytes. Leaves (memory, files, remote
// ends) and decorators (Chunked, Cached, ...) all have it; a tool is a chain of them.
//
// The contract, for every implementation (tests/unit/backend_suite.hpp holds each one to it):
// - Reads and writes are whole, or they throw std::system_error (errno: EINVAL for a read, trim or
//   question past the end, ENOSPC for a write past the end, EPERM for a write to what is read-only,
//   EIO and the like from below). A call that throws may have changed any byte of its own range and
//   no byte outside it. Zero length is allowed anywhere up to size() and does nothing.
// - Every function may be called by any thread at any time, concurrently. Overlapping concurrent
//   calls see each byte either old or new.
// - A write that returned is visible to every read that starts later.
// - Calls may wait (for a disk, a network) unless their contract says otherwise.
#pragma once

#include <cstdint>
#include <vector>

#include "libcommon/base/bytes.hpp"

namespace r3 {

struct Extent {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool hole = false;  // no storage is allocated
  bool zero = false;  // reads as zeroes
  friend bool operator==(const Extent&, const Extent&) = default;
};

// How zero_at may do its work.
struct ZeroHow {
  bool keep_allocated = false;  // do not make a hole
  bool only_if_fast = false;    // throw EOPNOTSUPP if it takes as long as writing zeroes
};

class Backend {
 public:
  virtual ~Backend() = default;

  // Bytes; the same as long as the backend is open.
  virtual std::uint64_t size() const = 0;
  // Fills the whole of `into` from `offset` on.
  virtual void read_at(Bytes into, std::uint64_t offset) = 0;
  virtual void write_at(ConstBytes from, std::uint64_t offset) = 0;
  // Every write, zero and discard that returned before the call is durable when it returns.
  virtual void flush() = 0;

  // The granularity (a power of two, 1 to 64 MiB) below which I/O costs a read-modify-write.
  virtual std::uint64_t block_size() const { return 1; }
  virtual bool read_only() const { return false; }

  // The range reads as zeroes afterwards. Default: writes zeroes.
  virtual void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {});
  // The range is no longer needed; what it reads as afterwards is up to the backend. Default: nothing.
  virtual void discard_at(std::uint64_t offset, std::uint64_t length);
  // The range will be read soon. Default: nothing.
  virtual void prefetch(std::uint64_t offset, std::uint64_t length);
  // A read that gives way to all others on its way, where the way knows ranks. Default: read_at.
  virtual void read_background(Bytes into, std::uint64_t offset);

  // What is where: adjoining extents from `offset` on, at least one (unless length is 0), at most
  // `most`, none past offset + length; fewer than the whole range when `most` is reached.
  // Default: one extent of data.
  virtual std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length, std::size_t most);

  // Whether no function of this backend ever waits for a disk, a network or another process.
  virtual bool never_waits() const { return false; }

  // The three that never wait: they let a server answer from the thread that received the request,
  // and hand over to another thread only what really has to wait.
  //
  // Does the read, true; or would have to wait, false (what is in `into` is then undefined).
  virtual bool try_read_at(Bytes into, std::uint64_t offset);
  virtual bool try_write_at(ConstBytes from, std::uint64_t offset);
  // Bytes of the range that already are in this process's address space, or an empty span. They stay
  // mapped as long as the backend lives and change with later writes. They are for the kernel to copy
  // (send, write) only: a file that shrinks makes the kernel say EFAULT, but would kill a thread that
  // touched them. What never_waits() is memory, which may be touched, too.
  virtual ConstBytes borrow(std::uint64_t offset, std::uint64_t length);

  // From now on calls that wait for a remote end fail with ESHUTDOWN, those in progress too, at once;
  // decorators pass it on. Used to end without hanging. Default: nothing, for what never waits long.
  virtual void abandon() noexcept;
};

// Throws EINVAL (reads and questions) unless the range lies within `size` bytes; safe near 2^64.
void check_read_range(std::uint64_t size, std::uint64_t offset, std::uint64_t length);
// Throws ENOSPC (writes) likewise.
void check_write_range(std::uint64_t size, std::uint64_t offset, std::uint64_t length);

// Adds `next` to adjoining extents, merging it with the last one when both are of a kind.
void append_extent(std::vector<Extent>& extents, const Extent& next);

}  // namespace r3
