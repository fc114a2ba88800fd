// SPDX-License-Identifier: Apache-2.0
// What killed ram-dl processes left: a swap area whose device nobody serves.
#pragma once

#include "tools/ram-dl/record.hpp"
#include "tools/ram-dl/usher.hpp"

namespace r3 {

// Ends the swap area, whose pages are lost with their server, and its device; says so.
void clean(Record& record, SwapUsher& usher);
// The same for all of them; returns how many there were.
unsigned clean_all(SwapUsher& usher);

}  // namespace r3
