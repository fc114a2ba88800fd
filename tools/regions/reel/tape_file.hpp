// SPDX-License-Identifier: Apache-2.0
// A tape in a regular file, in the format of the SIMH simulators (.tap: each record between two lengths of 4 bytes,
// little-endian, padded to an even length; a filemark is a length of 0), so that other programs can read it. Takes the
// time that a drive would take, if told to. A tail that is torn is the end of the tape.
// Source: "SIMH Magtape Representation and Handling", B. Supnik.
#pragma once

#include <chrono>
#include <vector>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/stop.hpp"
#include "tools/regions/reel/tape.hpp"

namespace r3 {

struct TapeFileOptions {
  bool read_only = false;
  bool create = false;            // if it is not there
  std::uint64_t capacity = 0;     // bytes of records; 0: no end
  std::uint64_t rate = 0;         // bytes a second; 0: as fast as it goes
  std::chrono::milliseconds seek{0};  // over the whole tape (its capacity, or what is written)
};

class TapeFile final : public Tape {
 public:
  // EBUSY if another process has it open, ENOENT if it is not there.
  TapeFile(const std::string& path, const TapeFileOptions& options);

  bool read_only() const override { return options_.read_only; }
  Got read(Bytes into) override;
  void write(ConstBytes bytes) override;
  void write_filemark() override;
  void seek(std::uint64_t position) override;
  std::uint64_t seek_end() override;
  void abandon() noexcept override { halted_.request(); }

 private:
  using Clock = std::chrono::steady_clock;

  void find_records();
  std::uint64_t offset_of(std::uint64_t position) const;
  std::uint32_t length_at(std::uint64_t offset);
  Got read_one(Bytes into);
  void write_one(ConstBytes bytes);
  void write_parts(ConstBytes head, ConstBytes bytes, ConstBytes after);
  void cut();
  void stream(std::uint64_t bytes);
  void wait_until(Clock::time_point when);

  const TapeFileOptions options_;
  Fd file_;
  std::vector<std::uint64_t> offsets_;  // of each record and filemark in the file
  std::uint64_t end_ = 0;               // in the file, of the last of them
  std::uint64_t at_ = 0;                // position
  std::uint64_t written_ = 0;           // bytes of records
  bool torn_ = false;                   // the file goes on after end_
  Clock::time_point streamed_{};        // until when the medium moves for what was read or written
  Stop halted_;
};

}  // namespace r3
