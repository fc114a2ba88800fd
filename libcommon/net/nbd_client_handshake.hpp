// SPDX-License-Identifier: Apache-2.0
// The client's half of NBD's handshake (doc/proto.md, "Handshake phase"): fixed newstyle with GO, or
// EXPORT_NAME where GO is not known. Asks for structured replies, base:allocation and block sizes, and
// can do without any of them. Knows nothing of what comes after it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "libcommon/base/stop.hpp"
#include "libcommon/net/nbd_protocol.hpp"
#include "libcommon/net/socket.hpp"

namespace r3::nbd {

// What was agreed on.
struct Agreement {
  std::uint64_t size = 0;   // below 2^63
  std::uint16_t flags = 0;  // TransmissionFlag
  bool structured = false;  // replies
  std::optional<std::uint32_t> allocation;  // the id of base:allocation
  std::uint32_t minimum = 1;                // block sizes; powers of two but for the maximum
  std::uint32_t preferred = 4096;
  std::uint32_t maximum = kLongestPayload;
};

// The kernel's client understands simple ones only.
enum class Replies { structured_if_possible, simple };

// Throws ProtocolError for nonsense, and std::system_error, with `server` in its text, when the server
// refuses (ENOENT: no such export; EACCES: not for us; EPROTONOSUPPORT: only with TLS; ESHUTDOWN), goes
// away (ECONNRESET) or takes longer than `timeout` (ETIMEDOUT), or the stop is requested (ECANCELED).
Agreement shake_hands(const Channel& channel, const std::string& export_name,
                      const std::string& server, std::chrono::milliseconds timeout,
                      const Stop& stop, Replies replies = Replies::structured_if_possible);

}  // namespace r3::nbd
