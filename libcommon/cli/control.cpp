// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/control.hpp"

#include <poll.h>
#include <unistd.h>

#include "libcommon/base/error.hpp"
#include "libcommon/net/socket.hpp"

namespace r3 {

namespace {

constexpr auto kPatience = std::chrono::seconds(2);
constexpr std::size_t kLongestLine = 4096;
constexpr std::size_t kLongestAnswer = 16 * MiB;

// Reads what has come after waiting for it; false at the end of the stream or on the stop.
bool read_more(int fd, std::string& buffer, const Stop& stop) {
  if (wait_for(fd, POLLIN, stop) != Wait::ready) return false;
  char bytes[4096];
  const auto n = ::read(fd, bytes, sizeof bytes);
  if (n > 0) buffer.append(bytes, static_cast<std::size_t>(n));
  return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

}  // namespace

void Control::on(const std::string& word, Answer answer) {
  std::lock_guard lock(mutex_);
  words_[word] = std::move(answer);
}

void Control::on_with(const std::string& word, AnswerTo answer) {
  std::lock_guard lock(mutex_);
  words_with_[word] = std::move(answer);
}

Control::Answer Control::find_word(std::string_view line) const {
  if (const auto found = words_.find(line); found != words_.end()) return found->second;
  const auto blank = line.find(' ');
  const auto found = words_with_.find(line.substr(0, blank));
  if (blank == line.npos || found == words_with_.end()) return {};
  return [&answer = found->second, argument = std::string(line.substr(blank + 1))] {
    return answer(argument);
  };
}

void Control::expect() {
  std::lock_guard lock(mutex_);
  if (state_ == State::starting) state_ = State::expected;
}

Control::Opened::Opened(Control& control) : control_(control) {
  {
    std::lock_guard lock(control_.mutex_);
    control_.state_ = State::open;
  }
  control_.changed_.notify_all();
}

void Control::close() noexcept {
  closing_ = true;  // so that new questions do not hold up the lock for ever
  {
    std::lock_guard lock(mutex_);
    state_ = State::closed;
    words_.clear();
    words_with_.clear();
  }
  changed_.notify_all();
}

Json Control::find_answer(std::string_view word) {
  const auto own = own_.find(word);
  Json answer = own != own_.end() ? own->second() : Json();
  if (!closing_) {
    std::shared_lock lock(mutex_);
    changed_.wait_for(lock, kPatience, [this] { return state_ != State::expected; });
    const Answer found = find_word(word);
    if (found && state_ == State::open) return answer.add_all(found());
    if (found && own == own_.end()) return Json().add("error", "not ready");
  }
  if (own != own_.end()) return answer;
  return Json().add("error", closing_ ? "stopping" : "unknown word " + std::string(word));
}

Json Control::answer_to(std::string_view line) noexcept {
  try {
    return find_answer(line);
  } catch (...) {
    return Json().add("error", text_of_current_exception());
  }
}

void serve_control(int socket, Control& control, const Stop& stop) {
  std::string buffer;
  for (;;) {
    const auto end = buffer.find('\n');
    if (end != buffer.npos) {
      std::string_view word(buffer.data(), end);
      if (word.ends_with('\r')) word.remove_suffix(1);
      write_full(socket, as_bytes(control.reply_to(word) + "\n"), "control socket");
      buffer.erase(0, end + 1);
    } else if (buffer.size() > kLongestLine) {
      throw ProtocolError("control socket: a line is longer than 4096 bytes");
    } else if (!read_more(socket, buffer, stop)) {
      return;
    }
  }
}

std::string ask_control(const Address& address, const std::string& word) {
  const Stop never;
  Channel channel = connect_to(address, std::chrono::seconds(10), never);
  write_full(channel.output(), as_bytes(word + "\n"), to_text(address));
  std::string answer;
  while (answer.find('\n') == answer.npos) {
    if (!read_more(channel.input(), answer, never) || answer.size() > kLongestAnswer)
      throw ProtocolError(to_text(address) + ": no answer to " + word);
  }
  answer.resize(answer.find('\n'));
  return answer;
}

}  // namespace r3
