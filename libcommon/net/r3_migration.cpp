// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_migration.hpp"

#include <algorithm>

#include "libcommon/base/error.hpp"

namespace r3::wire {

namespace {

// Where each field lies; r3-protocol(7) has the same tables.
enum RequestAt : std::size_t { kLeecher = 0, kToken = 16, kRound = 24, kLease = 28, kFrom = 32,
                               kFlagsAt = 36, kRequestZero = 40 };
enum ReplyAt : std::size_t { kReplyToken = 0, kReplyRound = 8, kReplyLease = 12, kNext = 16,
                             kReplyZero = 20, kWritten = 24, kStopped = 32, kChanged = 40 };
static_assert(kRequestZero + 8 == kMigrationSize && kChanged + 8 == kMigrationSize);
static_assert(kLeecher + sizeof(LeecherId) == kToken);

}  // namespace

std::vector<std::byte> encode(const MigrationRequest& request) {
  std::vector<std::byte> out(kMigrationSize);
  std::ranges::copy(request.leecher, out.begin() + kLeecher);
  store_le(out.data() + kToken, request.token);
  store_le(out.data() + kRound, request.round);
  store_le(out.data() + kLease, request.lease);
  store_le(out.data() + kFrom, request.from);
  store_le(out.data() + kFlagsAt, request.flags);
  return out;
}

std::vector<std::byte> encode(const MigrationReply& reply) {
  std::vector<std::byte> out(kMigrationSize + reply.blocks.size() * kWrittenGroupSize);
  store_le(out.data() + kReplyToken, reply.token);
  store_le(out.data() + kReplyRound, reply.round);
  store_le(out.data() + kReplyLease, reply.lease);
  store_le(out.data() + kNext, reply.next);
  store_le(out.data() + kWritten, reply.written);
  store_le(out.data() + kStopped, reply.stopped);
  store_le(out.data() + kChanged, reply.changed);
  std::byte* at = out.data() + kMigrationSize;
  for (const WrittenGroup& one : reply.blocks) {
    store_le(at, one.group);
    store_le(at + 4, one.blocks);
    at += kWrittenGroupSize;
  }
  return out;
}

MigrationRequest decode_migration_request(ConstBytes payload) {
  if (payload.size() != kMigrationSize) throw ProtocolError("a migration request of the wrong length");
  MigrationRequest request;
  std::copy_n(payload.begin() + kLeecher, request.leecher.size(), request.leecher.begin());
  request.token = load_le<std::uint64_t>(payload.data() + kToken);
  request.round = load_le<std::uint32_t>(payload.data() + kRound);
  request.lease = load_le<std::uint32_t>(payload.data() + kLease);
  request.from = load_le<std::uint32_t>(payload.data() + kFrom);
  request.flags = load_le<std::uint32_t>(payload.data() + kFlagsAt);
  return request;
}

MigrationReply decode_migration_reply(ConstBytes payload) {
  if (payload.size() < kMigrationSize || (payload.size() - kMigrationSize) % kWrittenGroupSize != 0)
    throw ProtocolError("a migration reply of the wrong length");
  MigrationReply reply;
  reply.token = load_le<std::uint64_t>(payload.data() + kReplyToken);
  reply.round = load_le<std::uint32_t>(payload.data() + kReplyRound);
  reply.lease = load_le<std::uint32_t>(payload.data() + kReplyLease);
  reply.next = load_le<std::uint32_t>(payload.data() + kNext);
  reply.written = load_le<std::uint64_t>(payload.data() + kWritten);
  reply.stopped = load_le<std::uint64_t>(payload.data() + kStopped);
  reply.changed = load_le<std::uint64_t>(payload.data() + kChanged);
  reply.blocks.reserve((payload.size() - kMigrationSize) / kWrittenGroupSize);
  for (std::size_t at = kMigrationSize; at < payload.size(); at += kWrittenGroupSize) {
    const WrittenGroup one{load_le<std::uint32_t>(payload.data() + at),
                           load_le<std::uint64_t>(payload.data() + at + 4)};
    if (!reply.blocks.empty() && one.group <= reply.blocks.back().group)
      throw ProtocolError("written blocks out of order");
    reply.blocks.push_back(one);
  }
  if (reply.next != 0 && (reply.blocks.empty() || reply.next <= reply.blocks.back().group))
    throw ProtocolError("a page of written blocks that leads back");
  return reply;
}

}  // namespace r3::wire
