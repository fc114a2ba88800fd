// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_frame_reader.hpp"

#include <algorithm>
#include <cstring>

#include "libcommon/base/error.hpp"

namespace r3::wire {

namespace {

constexpr std::size_t kFirstBuffer = 16 * KiB;
constexpr std::uint32_t kLongPayload = 32 * KiB;
constexpr std::size_t kBatchBuffer = 256 * KiB;  // a busy connection's: many frames with one call

}  // namespace

FrameReader::FrameReader(Side receiver, bool sums, std::uint32_t max_transfer)
    : side_(receiver),
      prelude_(sums ? kMaxPrelude : kHeaderSize),
      max_transfer_(max_transfer),
      buffer_(new std::byte[kFirstBuffer]),
      capacity_(kFirstBuffer) {}

Bytes FrameReader::space() {
  const auto have = end_ - begin_;
  if (begin_ > 0 && (have == 0 || capacity_ - end_ < capacity_ / 2)) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, have);
    begin_ = 0;
    end_ = have;
  }
  if (end_ == capacity_) {
    auto grown = std::unique_ptr<std::byte[]>(new std::byte[capacity_ * 2]);
    std::memcpy(grown.get(), buffer_.get(), end_);
    buffer_ = std::move(grown);
    capacity_ *= 2;
  }
  return {buffer_.get() + end_, std::min(capacity_ - end_, wanted())};
}

// Behind a long payload nothing but the next prelude is taken, so that little has to be moved.
std::size_t FrameReader::wanted() const {
  if (!header_ || header_->payload < kLongPayload) return SIZE_MAX;
  const auto whole = prelude_ + header_->payload;
  const auto have = end_ - begin_;
  return have < whole ? whole - have + prelude_ : SIZE_MAX;
}

void FrameReader::received(std::size_t bytes) {
  // A buffer that was filled belongs to a busy connection.
  end_ += bytes;
  if (end_ == capacity_ && capacity_ < kBatchBuffer) space();
}

const Header* FrameReader::header() {
  if (header_) return &*header_;
  if (end_ - begin_ < prelude_) return nullptr;
  const std::byte* at = buffer_.get() + begin_;
  if (prelude_ == kMaxPrelude) payload_sum_ = check_prelude(at, sequence_);
  const Header header = load(at);
  if (header.payload > payload_limit(header, side_, max_transfer_))
    throw ProtocolError("a frame promises " + std::to_string(header.payload) + " bytes of payload");
  header_ = header;
  return &*header_;
}

std::optional<ConstBytes> FrameReader::payload() {
  const Header* current = header();
  if (!current || end_ - begin_ - prelude_ < current->payload) return std::nullopt;
  const ConstBytes whole(buffer_.get() + begin_ + prelude_, current->payload);
  check_payload(whole);
  return whole;
}

void FrameReader::pop() { advance(prelude_ + header_->payload); }

std::size_t FrameReader::take(Bytes into) {
  const auto bytes = std::min(into.size(), end_ - begin_ - prelude_);
  if (bytes > 0) std::memcpy(into.data(), buffer_.get() + begin_ + prelude_, bytes);
  begin_ += bytes;
  return bytes;
}

Bytes FrameReader::behind_taken() { return space().first(prelude_); }

void FrameReader::pop_taken(ConstBytes payload) {
  check_payload(payload);
  advance(prelude_);
}

void FrameReader::check_payload(ConstBytes payload) const {
  if (prelude_ == kMaxPrelude && !payload.empty() && checksum(payload) != payload_sum_)
    throw ProtocolError("a payload fails its checksum");
}

void FrameReader::advance(std::size_t bytes) {
  begin_ += bytes;
  header_.reset();
  ++sequence_;
}

}  // namespace r3::wire
