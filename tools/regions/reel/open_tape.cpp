// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/reel/open_tape.hpp"

#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/net/uri.hpp"
#include "tools/regions/reel/tape_drive.hpp"
#include "tools/regions/reel/tape_file.hpp"

namespace r3 {

namespace {

std::uint64_t random_number() {
  std::uint64_t number = 0;
  while (number == 0)
    if (::getrandom(&number, sizeof number, 0) != sizeof number) fail(errno, "getrandom");
  return number;
}

void check_label(const TapeLabel& label, const TapeChoice& choice) {
  const auto refuse = [&](const char* what, std::uint64_t given, std::uint64_t has) {
    throw std::invalid_argument(choice.path + ": the tape was written with a " + std::string(what) + " of " +
                                std::to_string(has) + ", not " + std::to_string(given));
  };
  if (choice.size && *choice.size != label.size) refuse("size", *choice.size, label.size);
  if (choice.chunk != 0 && choice.chunk != label.chunk) refuse("chunk", choice.chunk, label.chunk);
  if (choice.block && *choice.block != label.block) refuse("block size", *choice.block, label.block);
}

// The label of the tape; none: it is to be begun. A region of ours is never begun anew: who wants that erases it.
std::optional<TapeLabel> look_at(Tape& tape, const TapeChoice& choice) {
  bool blank = false;
  auto label = read_label(tape, blank);
  if (!label && !blank && !choice.force)
    fail(EEXIST, choice.path + ": the tape has something that is not ours (--force overwrites it)");
  return label;
}

// What the drive is set to may be odd, and so may be a size.
void check_possible(const TapeLabel& label, const TapeChoice& choice) {
  if (!is_possible(label))
    throw std::invalid_argument(choice.path + ": a region of " + std::to_string(label.size) + " bytes on a tape with blocks of " +
                                std::to_string(label.block) + " cannot be begun (--tape-block 0, or 512 to 1M)");
}

TapeLabel new_label(const Tape& tape, const TapeChoice& choice) {
  if (!choice.size) throw std::invalid_argument(choice.path + ": the tape is blank: a size is needed");
  TapeLabel label;
  label.tape = random_number();
  label.region = random_number();
  label.size = *choice.size;
  label.chunk = choice.chunk != 0 ? choice.chunk : kDefaultTapeChunk;
  label.block = choice.block.value_or(tape.block());
  check_possible(label, choice);
  return label;
}

// An index of another tape is not thrown away without a word.
std::unique_ptr<TapeIndex> fresh_index(const std::string& path, const TapeKnown& known) {
  return std::make_unique<TapeIndex>(path, known);
}

void check_no_index(const TapeChoice& choice) {
  const auto path = index_path(choice);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored) || std::filesystem::file_size(path, ignored) == 0) return;
  if (!choice.force) fail(EEXIST, path + " is the index of another tape (--force replaces it)");
  std::filesystem::remove(path);
}

}  // namespace

TapeChoice parse_tape(const std::string& text) try {
  TapeChoice choice;
  if (!text.starts_with("tape:")) {
    choice.path = text;
    return choice;
  }
  std::string_view rest = text;
  rest.remove_prefix(5);
  const auto parameters = take_uri_parameters(rest, {"size", "chunk", "block", "index", "capacity", "rate", "seek"});
  choice.path = percent_decode(rest);
  if (choice.path.empty()) throw std::invalid_argument("tape:PATH is accepted");
  for (const auto& [name, value] : parameters) {
    if (name == "index") choice.index = value;
    else if (name == "seek") choice.seek = parse_duration(value);
    else if (name == "block") choice.block = parse_tape_block(value);
    else if (name == "size") choice.size = parse_size(value);
    else (name == "chunk" ? choice.chunk : name == "rate" ? choice.rate : choice.capacity) = parse_size(value);
  }
  if (choice.chunk != 0 && (!std::has_single_bit(choice.chunk) || choice.chunk < kLeastTapeChunk || choice.chunk > kMostTapeChunk))
    throw std::invalid_argument("chunk: a power of two from 4K to 1M is accepted");
  return choice;
} catch (const std::invalid_argument& error) {
  throw std::invalid_argument("region \"" + text + "\": " + error.what());
}

std::uint32_t parse_tape_block(const std::string& text) {
  const auto size = parse_size(text);
  if (size != 0 && (size < kLeastTapeBlock || size > kMostTapeBlock)) throw std::invalid_argument("0, or 512 to 1M is accepted");
  return static_cast<std::uint32_t>(size);
}

std::string index_path(const TapeChoice& choice) {
  if (!choice.index.empty()) return choice.index;
  if (is_tape_drive(choice.path))
    throw std::invalid_argument(choice.path + " is a drive: say where the index of its tape is to be (--index FILE)");
  return choice.path + ".index";
}

std::unique_ptr<Tape> open_tape(const TapeChoice& choice) {
  if (is_tape_drive(choice.path)) {
    auto drive = std::make_unique<TapeDrive>(choice.path, choice.read_only);
    if (choice.block) drive->set_block(*choice.block);
    return drive;
  }
  TapeFileOptions options;
  options.read_only = choice.read_only;
  options.create = choice.size.has_value() && !choice.read_only;
  options.capacity = choice.capacity;
  options.rate = choice.rate;
  options.seek = choice.seek;
  return std::make_unique<TapeFile>(choice.path, options);
}

std::unique_ptr<TapeRegion> open_tape_region(const TapeChoice& choice) {
  auto path = index_path(choice);
  auto tape = open_tape(choice);
  std::unique_ptr<TapeIndex> index;
  if (const auto label = look_at(*tape, choice)) {
    check_label(*label, choice);
    if (::access(path.c_str(), F_OK) != 0)
      fail(ENOENT, path + ": the tape's index is not there (tapisk --rebuild makes it from the tape)");
    index = std::make_unique<TapeIndex>(path, std::nullopt);
  } else {
    const auto fresh = new_label(*tape, choice);
    check_no_index(choice);
    index = fresh_index(path, begin_tape(*tape, fresh));
  }
  auto reel = std::make_unique<Reel>(std::move(tape), std::move(index));
  reel->settle(choice.force);
  return std::make_unique<TapeRegion>(std::move(reel));
}

ReelFound rebuild_index(const TapeChoice& choice) {
  const auto path = index_path(choice), temporary = path + ".new";
  auto tape = open_tape(choice);
  bool blank = false;
  const auto label = read_label(*tape, blank);
  if (!label) fail(EINVAL, choice.path + (blank ? ": the tape is blank" : ": the tape has no label of ours"));
  check_label(*label, choice);
  TapeKnown known;
  known.label = *label;
  known.end = (label->block == 0 ? 1 : encode_label(*label).size() / label->block) + 1;
  known.generation = label->copied == 0 ? 0 : label->copied - 1;
  std::filesystem::remove(temporary);
  ReelFound found;
  try {
    Reel reel(std::move(tape), fresh_index(temporary, known));
    found = reel.settle(choice.force);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw;
  }
  std::filesystem::rename(temporary, path);
  return found;
}

TapeCopied copy_tape(const TapeChoice& from, const TapeChoice& to, bool force,
                     const std::function<bool(const TapeCopied&)>& progress) {
  TapeChoice source = from;
  source.read_only = true;
  source.force = false;
  auto tape = open_tape(source);
  bool blank = false;
  const auto label = read_label(*tape, blank);
  if (!label) fail(EINVAL, from.path + ": the tape has no label of ours");
  Reel reel(std::move(tape), std::make_unique<TapeIndex>(index_path(from), std::nullopt));
  reel.settle(force);

  TapeChoice target = to;
  target.size = label->size;
  auto second = open_tape(target);
  if (look_at(*second, target) && !to.force) fail(EEXIST, to.path + ": the tape has a region already (--force overwrites it)");
  check_no_index(target);
  TapeLabel copy = *label;
  copy.tape = random_number();
  copy.block = to.block.value_or(second->block());
  copy.copied = std::max<std::uint64_t>(reel.known().generation, 1);
  check_possible(copy, to);
  auto index = fresh_index(index_path(target), begin_tape(*second, copy));
  Reel written(std::move(second), std::move(index));
  written.begin_copy();

  std::vector<std::pair<std::uint64_t, std::uint64_t>> places;
  reel.index().each([&](std::uint64_t block, const TapeEntry& entry) { places.emplace_back(entry.position, block); });
  std::ranges::sort(places);
  TapeCopied copied;
  std::vector<std::byte> bytes(label->chunk);
  for (const auto& [position, block] : places) {
    const Bytes part = Bytes(bytes).first(reel.length_of(block));
    bool readable = true;
    try {
      reel.read(block, *reel.find(block), part);
    } catch (const std::system_error& error) {
      if (!force || error.code().value() != EIO) throw;
      readable = false;
    }
    if (readable) written.write(block, part);
    else written.damage(block);
    if (readable) ++copied.blocks, copied.bytes += part.size();
    else ++copied.damaged;
    if (!progress(copied)) fail(ECANCELED, to.path + ": the copy is not whole");
  }
  written.finish_copy();
  return copied;
}

}  // namespace r3
