// SPDX-License-Identifier: Apache-2.0
// region-tape: a region on a tape, in a drive or in a file. tapisk(1) is made for it: here is no cache.
#include <stdexcept>

#include "libcommon/base/sizes.hpp"
#include "libcommon/storage/chunked.hpp"
#include "tools/regions/helper.hpp"
#include "tools/regions/reel/open_tape.hpp"

namespace {

constexpr r3::HelperAbout kAbout = {
    "region-tape", "a region on a tape, in a drive or in a file",
    "tape:PATH?size=SIZE&chunk=SIZE&block=SIZE&index=FILE&capacity=SIZE&rate=SIZE&seek=TIME", 16};

// The tape and its index are opened before the confinement, which forbids to open files for writing.
r3::Connect prepare(const r3::HelperOptions& options) {
  r3::TapeChoice choice = r3::parse_tape(options.region);
  choice.read_only = options.read_only;
  auto region = std::make_shared<std::unique_ptr<r3::TapeRegion>>(r3::open_tape_region(choice));
  return [region](const r3::Stop&) {
    const auto id = (*region)->label().region;
    const auto chunk = (*region)->label().chunk;
    return r3::Helped{std::make_unique<r3::Chunked>(std::move(*region), chunk), id};
  };
}

}  // namespace

int main(int argc, char** argv) { return r3::serve_helper(argc, argv, kAbout, prepare); }
