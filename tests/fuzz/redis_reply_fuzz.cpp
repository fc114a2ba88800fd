// SPDX-License-Identifier: Apache-2.0
// Foreign bytes to what reads the replies of a Redis server, in pieces of any size; the first byte says how much room
// there is for a bulk string (256 bytes for each 1; from 128 on its head is read by itself).
#include <algorithm>
#include <cstdlib>

#include "libcommon/base/error.hpp"
#include "tools/regions/redis/reply.hpp"

namespace {

using namespace r3;

void require(bool holds) {
  if (!holds) std::abort();
}

std::size_t parts_of(const RedisReply& reply) {
  std::size_t parts = reply.parts.size();
  for (const auto& one : reply.parts) parts += parts_of(one);
  return parts;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::vector<std::byte> room(std::size_t{data[0]} * 256);
  ConstBytes left = std::as_bytes(std::span(data, size)).subspan(1);
  const auto all = left.size();
  RedisInbox in;
  try {
    for (std::size_t step = 1; !left.empty(); step = step * 5 % 377 + 1) {
      const auto place = in.room();
      require(!place.empty());
      const auto piece = left.first(std::min({step, left.size(), place.size()}));
      left = left.subspan(piece.size());
      std::ranges::copy(piece, place.begin());
      in.took(piece.size());
      while (const auto reply = in.next(room)) {
        require(reply->text.size() <= all && parts_of(*reply) <= all);
        require(reply->size <= all);
        require(reply->kind == RedisReply::Kind::text || reply->parts.empty());
      }
    }
  } catch (const ProtocolError&) {
  }
  return 0;
}
