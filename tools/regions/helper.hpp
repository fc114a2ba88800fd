// SPDX-License-Identifier: Apache-2.0
// What region helpers have in common (r3-region-helper(7)): the command line, the r3/1 connection on stdin and
// stdout, the confinement, the end. A helper's main() is one call of serve_helper(); what is special about the
// scheme is in the Backend that `open` gives.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "libcommon/base/stop.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

struct HelperOptions {
  std::string region;      // as the user wrote it
  bool read_only = false;
  std::chrono::milliseconds io_timeout{0};  // how long a server may be away before requests fail; 0: for ever
};

struct HelperAbout {
  const char* name;     // "region-redis"
  const char* purpose;  // one line
  const char* grammar;  // what follows "REGION is " in the help
  unsigned workers;     // requests that may wait at the same time
};

// A region in two steps, with the confinement in between: `Prepare` understands the text and opens files, what it
// returns makes connections. Both throw std::invalid_argument for what makes no sense (the helper then ends with
// status 2), anything else for what does not open (status 1). The stop outlives the backend.
struct Helped {
  std::unique_ptr<Backend> backend;
  std::uint64_t instance = 0;  // of the content: who comes back to another one gets ESTALE, not its bytes; 0: unknown
};
using Connect = std::function<Helped(const Stop&)>;
using Prepare = std::function<Connect(const HelperOptions&)>;

int serve_helper(int argc, char** argv, const HelperAbout& about, const Prepare& prepare);

}  // namespace r3
