// SPDX-License-Identifier: Apache-2.0
// What killed ram-dl processes left: a swap area whose device nobody serves.
#pragma once

#include <string>

#include "libcommon/base/stop.hpp"
#include "tools/ram-dl/record.hpp"
#include "tools/ram-dl/usher.hpp"

namespace r3 {

// Ends this process with the status of a failure, and its device as a kill would: a device that is still swap must
// not be taken away, for then nothing could turn swap off any more. The next start finds it.
[[noreturn]] void leave_as_killed(const std::string& why);

// Ends the swap area, whose pages are lost with their server, and its device; says so. Where memory is short it
// tries for half a minute, or until the stop; then it leaves as killed.
void clean(Record& record, SwapUsher& usher, const Stop& stop);
// The same for all of them; returns how many there were.
unsigned clean_all(SwapUsher& usher, const Stop& stop);

}  // namespace r3
