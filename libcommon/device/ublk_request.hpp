// SPDX-License-Identifier: Apache-2.0
// What one request of a ublk queue asks for, and the answer that a Backend gives. Knows no queue.
#pragma once

#include <linux/ublk_cmd.h>

#include <cstdint>
#include <optional>

#include "libcommon/storage/backend.hpp"

namespace r3 {

struct UblkRequest {
  unsigned operation = 0;  // UBLK_IO_OP_*
  std::uint32_t flags = 0; // UBLK_IO_F_*
  std::uint64_t offset = 0;
  std::uint64_t length = 0;

  bool has(std::uint32_t flag) const { return (flags & flag) != 0; }
  bool has_data() const { return operation == UBLK_IO_OP_READ || operation == UBLK_IO_OP_WRITE; }
};

UblkRequest parse_ublk_request(const ublksrv_io_desc& descriptor);

// The result for the kernel: bytes of a read or write, 0 for the others, or a negative errno. `buffer` is where
// the data goes or is. May wait, as the backend does.
int answer_ublk_request(Backend& backend, const UblkRequest& request, Bytes buffer) noexcept;
// The same, or nothing if it would have to wait.
std::optional<int> try_answer_ublk_request(Backend& backend, const UblkRequest& request, Bytes buffer) noexcept;

}  // namespace r3
