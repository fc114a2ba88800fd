// SPDX-License-Identifier: Apache-2.0
// The control socket (--control ADDR): one word a line in, one JSON object a line out. Which words there
// are is the tool's business; this knows only how they travel, and when they may be answered.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/stop.hpp"
#include "libcommon/cli/events.hpp"
#include "libcommon/net/address.hpp"

namespace r3 {

class Control {
 public:
  using Answer = std::function<Json()>;
  using AnswerTo = std::function<Json(const std::string& argument)>;

  // What `word` does, from Opened on until it ends. The answer runs in a thread of the socket's, several
  // may run at once; one that waits also waits on the tool's stop. One that throws is reported as
  // {"error":"..."}; one that begins with {"answer":"no" makes --ask end with 3. The members that
  // `status` answers follow those that every tool has.
  void on(const std::string& word, Answer answer);
  // The same for a word that takes the rest of its line as an argument: "delay 25ms".
  void on_with(const std::string& word, AnswerTo answer);

  // Opened is about to be made: questions wait for it from now on, so that who asks as soon as the tool
  // is ready gets the whole answer; for a moment, lest it never is.
  void expect();
  // No more of the tool's words; waits for the answers under way.
  void close() noexcept;

  // While one of these lives, the words given to on() are answered, so what they use must live at
  // least as long. Its end waits for the answers under way. serve_until_stopped() holds one; only a
  // tool that works without it makes its own.
  class Opened {
   public:
    explicit Opened(Control& control);
    ~Opened() { control_.close(); }
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;

   private:
    Control& control_;
  };

  // The words that every tool has; for run(), before any thread asks.
  void set_own(const std::string& word, Answer answer) { own_[word] = std::move(answer); }
  // The JSON object for one input line.
  Json answer_to(std::string_view line) noexcept;
  std::string reply_to(std::string_view line) noexcept { return answer_to(line).text(); }

 private:
  using Words = std::map<std::string, Answer, std::less<>>;
  Json find_answer(std::string_view word);
  Answer find_word(std::string_view line) const;  // with mutex_ held

  Words own_;
  enum class State { starting, expected, open, closed };
  std::shared_mutex mutex_;            // held, shared, while an answer of the tool's runs
  std::condition_variable_any changed_;
  Words words_;                        // guarded by mutex_
  std::map<std::string, AnswerTo, std::less<>> words_with_;  // guarded by mutex_
  State state_ = State::starting;      // guarded by mutex_
  std::atomic<bool> closing_{false};
};

// Answers the lines of one connection until its peer leaves or the stop is requested.
void serve_control(int socket, Control& control, const Stop& stop);

// The client: sends `word`, returns the line that comes back.
std::string ask_control(const Address& address, const std::string& word);

}  // namespace r3
