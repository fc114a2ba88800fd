// SPDX-License-Identifier: Apache-2.0
// A tape drive of the kernel (st(4): /dev/nst0; one that rewinds at the close will do as well). What it says about a
// failure is in the text: no tape, write protection, wanted cleaning, the end of the medium.
// Source: st(4) and linux/mtio.h.
#pragma once

#include <optional>

#include "libcommon/base/fd.hpp"
#include "tools/regions/reel/tape.hpp"

namespace r3 {

class TapeDrive final : public Tape {
 public:
  // EROFS: its tape is write-protected, and `read_only` was not asked for. EBUSY: somebody else uses it.
  TapeDrive(const std::string& path, bool read_only);

  bool read_only() const override { return read_only_; }
  Got read(Bytes into) override;
  void write(ConstBytes bytes) override;
  void write_filemark() override;
  // Positions are those of MTIOCPOS; MTSEEK takes 32 bits of them: EOVERFLOW beyond.
  void seek(std::uint64_t position) override;
  std::uint64_t furthest() const override { return ~std::uint32_t{0}; }
  std::uint64_t seek_end() override;
  void set_block(std::uint32_t size) override;

 private:
  std::uint64_t position();
  void operate(short operation, std::uint64_t count, const char* what);
  [[noreturn]] void refuse(int error, const std::string& what);

  const bool read_only_;
  Fd drive_;
  std::optional<std::uint64_t> at_;  // where it is, if that is known without asking
};

// Whether the path is a character device, which only a drive is taken for.
bool is_tape_drive(const std::string& path);

}  // namespace r3
