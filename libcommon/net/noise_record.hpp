// SPDX-License-Identifier: Apache-2.0
// The records of r3-noise/1 (r3-protocol(7)) after the handshake: a length of two bytes, big-endian,
// then what ChaChaPoly made of up to 65519 bytes with the next counter and no additional data. A record
// without plaintext is the end of the stream. Each direction changes its key after every 65536 records.
// Bytes in, bytes out; no I/O.
#pragma once

#include "libcommon/net/noise_cipher.hpp"

namespace r3 {

inline constexpr std::size_t kRecordHeader = 2;
inline constexpr std::size_t kMostSealed = 65535;
inline constexpr std::size_t kMostPlaintext = kMostSealed - kTagSize;
inline constexpr std::size_t kRecordOverhead = kRecordHeader + kTagSize;
inline constexpr std::size_t kMostRecord = kRecordHeader + kMostSealed;
inline constexpr std::uint64_t kRecordsPerKey = 1 << 16;

class RecordSealer {
 public:
  explicit RecordSealer(CipherState cipher) : cipher_(std::move(cipher)) {}

  // Makes one record of at most kMostPlaintext bytes at `into`, which takes plaintext.size() +
  // kRecordOverhead bytes and may be kRecordHeader bytes before the plaintext. Returns its length.
  std::size_t seal(ConstBytes plaintext, std::byte* into);

 private:
  CipherState cipher_;
};

class RecordOpener {
 public:
  explicit RecordOpener(CipherState cipher) : cipher_(std::move(cipher)) {}

  // The length of the record, with its header, that `bytes` begin with; 0 if there are too few bytes
  // to tell. Throws ProtocolError if no record is that short.
  static std::size_t length_of(ConstBytes bytes);

  // Opens one whole record; the plaintext goes to `into` (record.size() - kRecordOverhead bytes), which
  // may be where the sealed bytes are. Throws ProtocolError, also for every record that follows, if it
  // is not the next one that the peer made.
  void open(ConstBytes record, std::byte* into);

 private:
  CipherState cipher_;
  bool broken_ = false;
};

}  // namespace r3
