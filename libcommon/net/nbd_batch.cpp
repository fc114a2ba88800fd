// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_batch.hpp"

#include <limits.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace r3::nbd::server {

namespace {

constexpr std::size_t kUnits = IOV_MAX / 2;  // each has at most a head and data
constexpr std::size_t kFaultSlice = 64 * KiB;

iovec to_part(ConstBytes bytes) {
  return {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

}  // namespace

Batch::Batch(Session& session)
    : session_(session),
      heads_(Mapping::anonymous(kUnits * kLongestHead)),
      scratch_(Mapping::anonymous(kScratch)) {}

// Two more, as data may need an end unit of its own.
void Batch::reserve(std::size_t units) {
  if (units_.size() + units + 2 > kUnits) flush();
}

// Filled in where it lies: a copy made at once has to wait for the stores before it, and those are the
// payload's.
Batch::Unit& Batch::add(std::size_t head_size, bool ends_reply) {
  auto& unit = units_.emplace_back();
  unit.head_begin = head_end_;
  unit.head_size = head_size;
  unit.reply = reply_;
  head_end_ += head_size;
  if (ends_reply) ++reply_;
  return unit;
}

void Batch::add_end(const Request& request, WireError error) {
  reserve(0);
  add(put_end(head_end(), session_.rules.format, request, error), true);
}

void Batch::add_data(const Request& request, Chunk chunk, ConstBytes data, bool may_fault) {
  reserve(0);
  if (data.data() == scratch_.bytes().data() + scratch_end_) scratch_end_ += data.size();
  const bool end_later = may_fault && chunk.last && session_.rules.format != Format::simple;
  if (end_later) chunk.last = false;
  const auto size = put_data_head(head_end(), session_.rules.format, request, chunk);
  auto& unit = add(size, chunk.last);
  unit.data = data;
  unit.may_fault = may_fault;
  if (may_fault) {
    unit.chunk = chunk;
    unit.request = request;
  }
  if (end_later) add(put_end(head_end(), session_.rules.format, request, kOk), true);
}

void Batch::add_hole(const Request& request, const Chunk& chunk) {
  reserve(0);
  add(put_hole(head_end(), session_.rules.format, request, chunk), chunk.last);
}

void Batch::add_copy(ConstBytes message) {
  const auto copy = scratch(message.size());
  std::memcpy(copy.data(), message.data(), message.size());
  scratch_end_ += message.size();
  add(0, true).data = copy;
}

Bytes Batch::scratch(std::size_t size) {
  reserve(0);
  if (scratch_end_ + size > kScratch) flush();
  return scratch_.bytes().subspan(scratch_end_, size);
}

void Batch::flush() {
  if (units_.empty()) {
    scratch_end_ = 0;
    return;
  }
  parts_.clear();
  for (const auto& unit : units_) {
    const auto head = to_part(heads_.bytes().subspan(unit.head_begin, unit.head_size));
    const bool follows_head = !parts_.empty() && static_cast<std::byte*>(parts_.back().iov_base) +
                                                         parts_.back().iov_len == head.iov_base;
    if (follows_head)
      parts_.back().iov_len += head.iov_len;
    else if (head.iov_len > 0)
      parts_.push_back(head);
    if (!unit.data.empty()) parts_.push_back(to_part(unit.data));
  }
  std::uint64_t sent = 0;
  auto turn = std::unique_lock(session_.stream.sending());
  const auto outcome = session_.stream.send(parts_, sent);
  if (outcome == Stream::Sent::fault) send_one_by_one(sent, turn);
  turn.unlock();
  units_.clear();
  head_end_ = scratch_end_ = 0;
}

// Borrowed memory could not be read: everything after the first `sent` bytes is sent again, such
// memory through the backend, which tells errors. In the same turn: the first of it may be the rest of a
// message. No exception may end that, hence the memory on the stack.
void Batch::send_one_by_one(std::uint64_t sent, std::unique_lock<std::mutex>& turn) {
  std::array<std::byte, kFaultSlice> slice;
  std::optional<std::uint64_t> failed;
  for (const auto& unit : units_) {
    const auto size = unit.head_size + unit.data.size();
    const auto skip = std::min<std::uint64_t>(sent, size);
    sent -= skip;
    if (skip == size) continue;
    if (unit.reply == failed) continue;  // has been ended by an error
    if (unit.may_fault) {
      if (!send_chunk(session_, unit.request, unit.chunk, skip, slice, turn))
        failed = unit.reply;
      continue;
    }
    const auto head = heads_.bytes().subspan(unit.head_begin, unit.head_size);
    iovec parts[2] = {to_part(head), to_part(unit.data)};
    auto left = skip;
    for (auto& part : parts) {
      const auto gone = std::min<std::uint64_t>(left, part.iov_len);
      part.iov_base = static_cast<std::byte*>(part.iov_base) + gone;
      part.iov_len -= gone;
      left -= gone;
    }
    std::uint64_t ignored = 0;
    if (session_.stream.send(parts, ignored) != Stream::Sent::all) return;
  }
}

void Batch::release() {
  for (const auto* memory : {&heads_, &scratch_})
    ::madvise(memory->bytes().data(), memory->bytes().size(), MADV_DONTNEED);
}

}  // namespace r3::nbd::server
