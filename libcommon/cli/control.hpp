// SPDX-License-Identifier: Apache-2.0
// The control socket (--control ADDR): one word a line in, one JSON object a line out. Which words there
// are is the tool's business; this knows only how they travel.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "libcommon/cli/events.hpp"

namespace r3 {

class Control {
 public:
  using Answer = std::function<Json()>;

  // What `word` does. Before serve(); the answer runs in a thread of the socket's, several may at once.
  // An answer that throws is reported as {"error":"..."}.
  void on(const std::string& word, Answer answer);
  // The words are known, the answers are asked for: the JSON line for one input line.
  std::string reply_to(std::string_view line) const;

 private:
  std::map<std::string, Answer, std::less<>> answers_;
};

}  // namespace r3
