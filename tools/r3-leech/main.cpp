// SPDX-License-Identifier: Apache-2.0
// r3-leech: takes a region over from a seeder with the least downtime, and is the next seeder if wanted.
#include <poll.h>
#include <unistd.h>

#include "libcommon/base/error.hpp"
#include "tools/r3-leech/leech.hpp"

namespace {

using namespace r3;

constexpr About kAbout{
    "r3-leech",
    "Take a region that is in use over from an r3-seed",
    "r3-leech 'r3://old/?psk-file=psk' state.img /run/state --on-resume 'app &'\n"
    "r3-leech --finalize ask --control unix:/run/leech.sock \\\n"
    "  'r3://old-host/?psk-file=psk' disk.img /run/disk\n"
    "r3-leech --ask finalize unix:/run/leech.sock",
};

// False: it ended without one, or the stop came.
bool read_one_byte(int fd, const Stop& stop) {
  std::byte byte{};
  return wait_for(fd, POLLIN, stop) == Wait::ready && ::read(fd, &byte, 1) == 1;
}

// The move goes on in a thread of its own; this one answers questions and waits for the end.
int serve(Tool& tool, LeechOptions& options) {
  check_leech(options);
  Leech leech(tool, options);
  tool.control().on("status", [&] { return leech.status(); });
  tool.control().on("finalize", [&] {
    leech.ask_to_finalize();
    return Json().add("finalizing", true);
  });
  TaskGroup mover, listener;
  if (options.finalize_fd > 0)
    listener.spawn([&] {
      if (read_one_byte(static_cast<int>(options.finalize_fd), listener.stop())) leech.ask_to_finalize();
    });
  mover.spawn([&] {
    try {
      leech.run();
    } catch (...) {
      tool.stop().request();
      throw;
    }
  });
  int status = tool.serve_until_stopped({});
  try {
    mover.join();
  } catch (const std::exception&) {
    if (tool.stop_signal() == 0) {
      leech.end();
      throw;
    }
  }
  leech.end();
  if (!leech.here() && tool.stop_signal() != 0) status = 128 + tool.stop_signal();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  LeechOptions options;
  return r3::run(argc, argv, kAbout, [&](Tool& tool) { declare_leech(tool, options); },
                 [&](Tool& tool) { return serve(tool, options); });
}
