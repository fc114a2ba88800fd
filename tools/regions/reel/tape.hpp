// SPDX-License-Identifier: Apache-2.0
// A tape as a drive shows it: records and filemarks one after the other, counted alike from 0; to write is to cut off
// all that follows. A drive (tape_drive.hpp) and a file (tape_file.hpp) have it. Knows nothing of what is in a record.
//
// For one thread at a time, but for abandon(). Everything throws std::system_error that names the tape: ENOSPC at the
// end of the medium, EROFS for one that is write-protected, ENOMEDIUM for none, EIO for a place that cannot be read or
// written. After an error the position is unknown until the next seek.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "libcommon/base/bytes.hpp"

namespace r3 {

class Tape {
 public:
  enum class Met { record, filemark, end };
  struct Got {
    Met met = Met::end;
    std::size_t length = 0;  // of a record; with fixed blocks: of as many as there were, and fit
  };

  explicit Tape(std::string name) : name_(std::move(name)) {}
  virtual ~Tape() = default;
  const std::string& name() const { return name_; }
  virtual bool read_only() const = 0;

  // Goes past what it met, but for the end. ENOMEM: the record is longer than `into`.
  virtual Got read(Bytes into) = 0;
  // One record, or with fixed blocks as many blocks as it is long (a multiple of their size).
  virtual void write(ConstBytes bytes) = 0;
  // What was written before is on the medium when it returns.
  virtual void write_filemark() = 0;
  virtual void seek(std::uint64_t position) = 0;
  // The last position that seek() takes: what is behind it could not be read again.
  virtual std::uint64_t furthest() const { return ~std::uint64_t{0}; }
  // To where the next record would be added; returns that position.
  virtual std::uint64_t seek_end() = 0;

  // The size of all blocks in bytes; 0: each record is as long as it was written.
  std::uint32_t block() const { return block_; }
  virtual void set_block(std::uint32_t size) { block_ = size; }

  // Waits that this side makes end with ESHUTDOWN; what the drive does goes on. Any thread.
  virtual void abandon() noexcept {}

 protected:
  std::uint32_t block_ = 0;

 private:
  const std::string name_;
};

}  // namespace r3
