// SPDX-License-Identifier: Apache-2.0
// How data are made smaller on the wire, and back: all zero, 8 bytes that repeat, zstd when it pays. Knows
// nothing of frames but the three flags that say which form was taken.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "libcommon/base/bytes.hpp"

namespace r3::wire {

// How fast a link carries bytes while it is what holds the sender up. Used by one thread.
class LinkRate {
 public:
  using Clock = std::chrono::steady_clock;

  // After each try to send: how many bytes the link took, and whether there were more. The time from a
  // try that left some to the next one is time that the link took for the bytes of this one.
  void tried(std::size_t taken, bool some_left, Clock::time_point now = Clock::now());
  // Bytes a second; 0: it has never been the limit. Grows as long as it is not, so that who compresses
  // because it was finds out whether it still would be.
  double bytes_per_second() const { return rate_; }

 private:
  double rate_ = 0;
  Clock::time_point waiting_since_{};     // none: the last try left nothing
  std::chrono::duration<double> waited_{};  // of the window, with
  std::uint64_t carried_ = 0;               // bytes
  std::uint64_t free_bytes_ = 0;            // since it last held us up
};

// Whether compressing pays, from what it brought and cost lately, and from how fast the link carries bytes.
// Used by one thread.
class Thrift {
 public:
  using Seconds = std::chrono::duration<double>;

  // `wire_rate` is LinkRate's.
  bool worth_trying(double wire_rate);
  void compressed(std::size_t from, std::size_t to, Seconds took);

 private:
  double seconds_per_byte_ = 0;  // of compressing
  double ratio_ = 1;             // bytes after, a byte before
  unsigned skipped_ = 0;         // pieces since the last try
  unsigned patience_ = 0;        // pieces until the next: doubles while it does not pay
};

struct Packed {
  std::uint8_t flags = 0;
  ConstBytes bytes;  // in `data` itself or in the packer
};

// One direction's compressor; used by one thread.
class Packer {
 public:
  Packer();
  ~Packer();
  // `data` in its smallest form that pays. The result lives until the next call.
  Packed pack(ConstBytes data, bool may_compress, double wire_rate);

 private:
  struct Zstd;
  Thrift thrift_;
  std::unique_ptr<Zstd> zstd_;
};

class Unpacker {
 public:
  Unpacker();
  ~Unpacker();
  // Fills the whole of `into`, or throws ProtocolError: never more, whatever the payload promises.
  void unpack(std::uint8_t flags, ConstBytes payload, Bytes into);

 private:
  struct Zstd;
  std::unique_ptr<Zstd> zstd_;
};

}  // namespace r3::wire
