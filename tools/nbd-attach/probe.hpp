// SPDX-License-Identifier: Apache-2.0
// Whether a block device answers, asked in a way that a dead one cannot hold up.
#pragma once

#include <chrono>
#include <string>

namespace r3 {

enum class Life { alive, failing, silent };  // it was read; the read failed; no answer before the deadline

// Reads the first page past the page cache. A read that is not answered is left to the kernel, which ends it
// when the device ends.
Life probe_device(const std::string& path, std::chrono::milliseconds deadline);

const char* to_text(Life life);

}  // namespace r3
