// SPDX-License-Identifier: Apache-2.0
// What a second INT says before it leaves at once, for as long as what it speaks of lives.
#pragma once

#include "libcommon/cli/tool.hpp"

namespace r3 {

class LastWords {
 public:
  LastWords(Tool& tool, std::function<void()> say) : tool_(tool) {
    tool_.on_forced_exit(std::move(say));
  }
  ~LastWords() { tool_.on_forced_exit({}); }
  LastWords(const LastWords&) = delete;
  LastWords& operator=(const LastWords&) = delete;

 private:
  Tool& tool_;
};

}  // namespace r3
