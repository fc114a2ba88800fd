// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/receiver.hpp"

#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_frame.hpp"
#include "tools/mmap-hashsync/endpoint.hpp"

namespace r3::sync {

void say_error(Link& link, std::string_view text, bool may_retry) noexcept {
  try {
    Header header;
    header.type = Type::error;
    header.aux = may_retry ? kMayRetry : 0;
    link.send(header, as_bytes(text.substr(0, kMostText)));
  } catch (...) {
    // It is gone, and knows nothing.
  }
}

void Receiver::run() try {
  while (handle(link_.receive())) {
  }
} catch (const ConnectionLost&) {
  throw;
} catch (const ProtocolError& error) {
  say_error(link_, error.what(), true);
  throw;
} catch (const std::exception& error) {
  say_error(link_, error.what(), false);
  throw;
}

bool Receiver::handle(const Frame& frame) {
  switch (frame.header.type) {
    case Type::file: open(frame); return true;
    case Type::ask: answer(frame); return true;
    case Type::resize: resize(frame); return true;
    case Type::data: take(frame); return true;
    case Type::commit: commit(frame); return true;
    case Type::bye: break;
    default: throw ProtocolError("a message out of order");
  }
  if (frame.header.aux != kNothingDone) inbox_.finish();
  Header header;
  header.type = Type::bye;
  link_.send(header);
  return false;
}

Receiver::File& Receiver::file(const Frame& frame) {
  const auto found = files_.find(frame.header.file);
  if (found == files_.end()) throw ProtocolError("a message about a file that was not announced");
  return found->second;
}

void Receiver::open(const Frame& frame) {
  const auto id = frame.header.file;
  if (files_.contains(id)) throw ProtocolError("a file that was announced before");
  const Announcement announced = decode_announcement(frame.payload);
  inbox_.open(id, announced);
  files_[id].geometry = announced.geometry;
  send_hashes(id, 2, {0, 1});
}

void Receiver::answer(const Frame& frame) {
  const Geometry& geometry = file(frame).geometry;
  const Two range = decode_two(frame.payload);
  const auto size = frame.header.aux <= 2 ? level_size(geometry, frame.header.aux) : 0;
  if (range.second == 0 || range.second > kMostHashes || range.first >= size ||
      range.second > size - range.first)
    throw ProtocolError("a question about what is not there");
  send_hashes(frame.header.file, frame.header.aux, range);
}

// The table is kept until something changes: one question follows the other.
void Receiver::send_hashes(std::uint32_t id, unsigned level, const Two& range) {
  auto& table = files_[id].table;
  if (!table) table = inbox_.hash(id, hasher_);
  Header header;
  header.type = Type::hashes;
  header.file = id;
  header.aux = level;
  link_.send(header, encode(range.first, table->level(level, range.first, range.second, hasher_)));
}

void Receiver::resize(const Frame& frame) {
  File& one = file(frame);
  const Two size = decode_two(frame.payload);
  const Geometry geometry{size.first, one.geometry.chunk};
  if (!acceptable(geometry)) throw ProtocolError("a file of an impossible size");
  if (one.shrunk && geometry.size > one.geometry.size)
    throw ProtocolError("a file that grows where it was cut, in one epoch");
  one.shrunk |= geometry.size < one.geometry.size;
  one.geometry = geometry;
  one.table.reset();
  inbox_.resize(frame.header.file, geometry.size);
}

void Receiver::take(const Frame& frame) {
  File& one = file(frame);
  std::size_t length = 0;
  const auto entries = decode_entries(frame.header, frame.payload, one.geometry, length);
  const ConstBytes packed = ConstBytes(frame.payload).subspan(entries.size() * kEntrySize);
  if (frame.header.flags == wire::kZeroes) {
    if (!packed.empty()) throw ProtocolError("zeroes with a payload");
    length = 0;
  } else {
    if (unpacked_.size() < length) unpacked_.resize(length);
    unpacker_.unpack(frame.header.flags, packed, Bytes(unpacked_).first(length));
  }
  const ConstBytes bytes = ConstBytes(unpacked_).first(length);
  std::size_t at = 0;
  for (const Entry& entry : entries) {
    if (bytes.empty()) break;
    const auto size = one.geometry.length(entry.index);
    if (hasher_.of(bytes.subspan(at, size)) != entry.hash)
      throw ProtocolError("a chunk that does not have the hash that was sent with it");
    at += size;
  }
  one.table.reset();
  chunks_ += entries.size();
  inbox_.write(frame.header.file, {entries, bytes, frame});
}

void Receiver::commit(const Frame& frame) {
  if (frame.header.epoch != epoch_ || decode_two(frame.payload).first != chunks_)
    throw ProtocolError("an epoch that is not the one that was sent");
  inbox_.commit(epoch_);
  report_.chunks += chunks_;
  ++report_.epochs;
  for (auto& [id, one] : files_) {
    one.table.reset();
    one.shrunk = false;
  }
  Header header;
  header.type = Type::done;
  header.epoch = epoch_;
  link_.send(header);
  ++epoch_;
  chunks_ = 0;
}

}  // namespace r3::sync
