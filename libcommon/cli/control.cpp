// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/control.hpp"

#include "libcommon/base/error.hpp"

namespace r3 {

void Control::on(const std::string& word, Answer answer) {
  answers_[word] = std::move(answer);
}

std::string Control::reply_to(std::string_view line) const {
  const auto found = answers_.find(line);
  if (found == answers_.end()) return Json().add("error", "unknown word").text();
  try {
    return found->second().text();
  } catch (...) {
    return Json().add("error", text_of_current_exception()).text();
  }
}

}  // namespace r3
