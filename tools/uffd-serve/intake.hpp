// SPDX-License-Identifier: Apache-2.0
// Takes one process's memory over from a connection, in whichever protocol it speaks. What makes no sense
// throws ProtocolError (and is told to a client that can be told); knows no region but its size.
#pragma once

#include <sys/types.h>

#include <optional>
#include <vector>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/stop.hpp"
#include "libcommon/device/uffd_handoff.hpp"

namespace r3 {

struct Handoff {
  uffd::Protocol protocol = uffd::Protocol::own;
  Fd uffd;
  uffd::Map map;
  pid_t process = 0;  // 0: not one of this PID namespace
  Fd ended;           // readable when the process has ended; may be invalid
};

struct IntakeOptions {
  std::optional<uffd::Protocol> only;  // none: whichever is spoken
  uffd::RegionInfo region;
  bool adopt = false;  // memory that another server began to answer is taken as well
};

// Waits for the hand-off at most ten seconds. Nothing if the stop was requested, or the peer left
// before it said anything.
std::optional<Handoff> take_over(int socket, const IntakeOptions& options, const Stop& stop);

// Tells a client that can be told, and throws ProtocolError.
[[noreturn]] void refuse(int socket, const Handoff& handoff, const std::string& why);

const char* name_of(uffd::Protocol protocol);

}  // namespace r3
