// SPDX-License-Identifier: Apache-2.0
// The tape and the index that a user names: "tape:PATH?...", or a path alone. A device is a drive, anything else a tape
// in a file. Also what is done with a whole tape: finding all that it holds, and copying it.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "tools/regions/reel/reel.hpp"
#include "tools/regions/reel/tape_region.hpp"

namespace r3 {

struct TapeChoice {
  std::string path;
  std::string index;                   // empty: beside the tape's file
  std::optional<std::uint64_t> size;   // of a new region
  std::uint64_t chunk = 0;             // likewise; 0: not given
  std::optional<std::uint32_t> block;  // of the tape: 0 for variable
  std::uint64_t capacity = 0, rate = 0;
  std::chrono::milliseconds seek{0};
  bool read_only = false;
  bool force = false;  // overwrite what is no tape of ours, or another region
};

inline constexpr std::uint64_t kDefaultTapeChunk = 256 * KiB;

// "tape:PATH?size=...&chunk=...&block=...&index=...&capacity=...&rate=...&seek=..."; without "tape:" the text is a
// path. Throws std::invalid_argument.
TapeChoice parse_tape(const std::string& text);
std::uint32_t parse_tape_block(const std::string& text);
// Throws std::invalid_argument for a drive for which none was given.
std::string index_path(const TapeChoice& choice);

std::unique_ptr<Tape> open_tape(const TapeChoice& choice);
// With the tape's index, taken up; a blank tape begins a region, if a size is given.
std::unique_ptr<TapeRegion> open_tape_region(const TapeChoice& choice);

// Makes the index anew from the tape alone. Replaces an index that is there once all is found.
ReelFound rebuild_index(const TapeChoice& choice);

struct TapeCopied {
  std::uint64_t blocks = 0, bytes = 0, damaged = 0;
};
// All that counts, in the order of the tape, to another one, which gets an index of its own. The copy counts once it is
// whole. Blocks that cannot be read end it, unless `force`. `progress`: after each block; false: stops (ECANCELED).
TapeCopied copy_tape(const TapeChoice& from, const TapeChoice& to, bool force,
                     const std::function<bool(const TapeCopied&)>& progress);

}  // namespace r3
