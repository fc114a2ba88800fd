// SPDX-License-Identifier: Apache-2.0
// Foreign bytes to everything that reads what a Cassandra server sends. The first byte says whether they come
// bare (version 4), in segments, or bare to be put into right segments, so that the fuzzer gets past the checksums.
#include <cstdlib>
#include <vector>

#include "libcommon/base/error.hpp"
#include "tools/regions/cql/frame.hpp"

namespace {

using namespace r3;

void take_apart(const CqlFrame& frame) {
  const auto parse = [](auto what) {
    try {
      what();
    } catch (const ProtocolError&) {
    }
  };
  parse([&] { parse_cql_error(frame.body); });
  parse([&] { parse_cql_prepared(frame.body, frame.version); });
  parse([&] {
    const auto row = parse_cql_row(frame.body);
    std::size_t bytes = 0;
    for (const auto& value : row.value_or(CqlRow{})) bytes += value ? value->size() : 0;
    if (bytes > frame.body.size()) std::abort();
  });
}

void read(ConstBytes bytes, bool segments) {
  CqlInbox in;
  if (segments) in.use_segments();
  for (std::size_t step = 1; !bytes.empty(); step = step * 5 % 377 + 1) {
    const auto piece = bytes.first(std::min(step, bytes.size()));
    bytes = bytes.subspan(piece.size());
    in.feed(piece);
    while (const auto frame = in.next()) take_apart(*frame);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const ConstBytes bytes = std::as_bytes(std::span(data, size)).subspan(1);
  try {
    if (data[0] % 3 == 2) {
      CqlOutbox out(0x85);
      CqlBody body;
      out.add(1, CqlOpcode::result, body.raw(bytes), true);
      read(out.take(), true);
    } else {
      read(bytes, data[0] % 3 == 1);
    }
  } catch (const ProtocolError&) {
  }
  return 0;
}
