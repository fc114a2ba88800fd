// SPDX-License-Identifier: Apache-2.0
// uffd-serve as a client: maps the region of another uffd-serve in its own memory, and copies it out or
// touches it. What comes is what is written: a page that cannot be had ends it with its place.
#pragma once

#include <string>

#include "libcommon/cli/tool.hpp"
#include "libcommon/device/remote_memory.hpp"

namespace r3 {

struct ClientOptions {
  std::string address;
  std::string output = "-";  // a file, or standard output
  std::string touch;         // "", "sequential" or "random"
  bool bench = false;
  std::string input;         // a file whose bytes are written into the memory and pushed
  bool force = false;        // overwrite an output file that is not empty
  RemoteMemory::Kind kind = RemoteMemory::Kind::anonymous;
};

// Returns the exit status.
int run_client(Tool& tool, const ClientOptions& options);

}  // namespace r3
