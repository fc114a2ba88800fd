// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/proxy/faults.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "libcommon/base/sizes.hpp"

namespace r3::fault {

namespace {

enum Kind : std::uint64_t { kFlip, kDrop, kDuplicate, kReorder, kFlipAt };

// A record longer than this is not kept in memory to be doubled or swapped.
constexpr std::uint64_t kMostKept = 64 * MiB;

// Spreads every bit of `value` over all the others (the finaliser of splitmix64).
std::uint64_t mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

void append(std::vector<std::byte>& to, ConstBytes from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

Framing parse_framing(std::string_view text) {
  if (text == "be16") return {.prefix = 2};
  if (text == "le16") return {.prefix = 2, .little_endian = true};
  if (text == "be32") return {.prefix = 4};
  if (text == "le32") return {.prefix = 4, .little_endian = true};
  const std::uint64_t block = parse_size(text);
  if (block == 0 || block > kMostKept)
    throw std::invalid_argument("\"" + std::string(text) + "\" is not a size from 1 to 64M");
  return {.block = static_cast<std::uint32_t>(block)};
}

FaultStream::FaultStream(const FaultPlan& plan, std::uint64_t stream, FaultCounts& counts)
    : plan_(plan), counts_(counts), key_(mix(mix(plan.seed) + stream)), skip_(plan.skip) {}

void FaultStream::pass(ConstBytes in, std::vector<std::byte>& out) {
  const std::size_t skipped = std::min<std::uint64_t>(skip_, in.size());
  append(out, in.first(skipped));
  in = in.subspan(skipped);
  skip_ -= skipped;
  while (!in.empty()) {
    if (length_ == 0) {
      in = take_prefix(in, out);
      continue;
    }
    const auto part = in.first(std::min<std::uint64_t>(length_ - done_, in.size()));
    in = in.subspan(part.size());
    add_to_record(part, out);
  }
}

void FaultStream::finish(std::vector<std::byte>& out) {
  append(out, ConstBytes(prefix_).first(prefix_seen_));
  append(out, held_);
  prefix_seen_ = 0;
  held_.clear();
}

// Begins a record, if its length is known by now; returns what is left of `in`.
ConstBytes FaultStream::take_prefix(ConstBytes in, std::vector<std::byte>& out) {
  const Framing& framing = plan_.framing;
  if (framing.prefix == 0) {
    begin_record(framing.block);
    return in;
  }
  while (prefix_seen_ < framing.prefix && !in.empty()) {
    prefix_[prefix_seen_++] = in[0];
    in = in.subspan(1);
  }
  if (prefix_seen_ < framing.prefix) return in;
  std::uint64_t length = 0;
  for (unsigned i = 0; i < framing.prefix; ++i) {
    const unsigned byte = framing.little_endian ? framing.prefix - 1 - i : i;
    length = length << 8 | static_cast<std::uint64_t>(prefix_[byte]);
  }
  prefix_seen_ = 0;
  begin_record(framing.prefix + length);
  add_to_record(ConstBytes(prefix_).first(framing.prefix), out);
  return in;
}

void FaultStream::begin_record(std::uint64_t length) {
  length_ = length;
  done_ = 0;
  dropping_ = happens(kDrop, plan_.drop);
  const bool kept = !dropping_ && length <= kMostKept;
  doubling_ = kept && happens(kDuplicate, plan_.duplicate);
  holding_ = kept && held_.empty() && happens(kReorder, plan_.reorder);
  flip_at_ = happens(kFlip, plan_.flip) ? draw(kFlipAt) % (8 * length) : 8 * length;
  if (dropping_) ++counts_.dropped;
  if (doubling_) ++counts_.duplicated;
}

void FaultStream::add_to_record(ConstBytes part, std::vector<std::byte>& out) {
  std::vector<std::byte>& to = holding_ ? held_ : out;
  if (!dropping_) {
    append(to, part);
    const std::uint64_t flipped = flip_at_ / 8;
    if (flipped >= done_ && flipped < done_ + part.size()) {
      to[to.size() - part.size() + (flipped - done_)] ^= std::byte(1 << flip_at_ % 8);
      ++counts_.flipped;
    }
    if (doubling_) append(copy_, ConstBytes(to).last(part.size()));
  }
  done_ += part.size();
  if (done_ == length_) end_record(out);
}

void FaultStream::end_record(std::vector<std::byte>& out) {
  append(holding_ ? held_ : out, copy_);
  copy_.clear();
  if (!holding_ && !held_.empty()) {
    append(out, held_);
    held_.clear();
    ++counts_.reordered;
  }
  ++record_;
  length_ = 0;
}

std::uint64_t FaultStream::draw(std::uint64_t kind) const {
  return mix(mix(key_ + kind) + record_);
}

bool FaultStream::happens(std::uint64_t kind, double probability) const {
  return static_cast<double>(draw(kind) >> 11) * 0x1p-53 < probability;
}

}  // namespace r3::fault
