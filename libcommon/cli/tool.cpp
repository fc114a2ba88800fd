// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/tool.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/cli/child.hpp"
#include "libcommon/cli/parse.hpp"

namespace r3 {

namespace {

// An option whose text `take` turns into a value; what that refuses gets the option's name.
CLI::Option* add_parsed(CLI::App& app, const std::string& names, const char* type,
                        const std::string& help, std::function<void(const std::string&)> take) {
  auto named = [name = spoken_name(names), take = std::move(take)](const std::string& text) {
    try {
      take(text);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(name + ": " + error.what());
    }
  };
  return app.add_option_function<std::string>(names, named, help)->type_name(type);
}

// A descriptor that the caller has opened for writing; children do not inherit it.
int take_descriptor(const std::string& text) {
  const int fd = static_cast<int>(parse_number(text, 1'000'000));
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
    throw std::invalid_argument(text + " is not a descriptor that is open for writing");
  if (fd > STDERR_FILENO) check(::fcntl(fd, F_SETFD, FD_CLOEXEC), "FD_CLOEXEC");
  return fd;
}

}  // namespace

Tool::Tool(const About& about) : about_(about), app_(about.purpose, about.name) {
  app_.set_help_flag();  // split_arguments() sees to it
}

CLI::Option* Tool::size_option(const std::string& names, std::uint64_t& value,
                               const std::string& help) {
  return add_parsed(app_, names, "SIZE", help,
                    [&value](const std::string& text) { value = parse_size(text); });
}

CLI::Option* Tool::duration_option(const std::string& names, std::chrono::milliseconds& value,
                                   const std::string& help) {
  return add_parsed(app_, names, "TIME", help,
                    [&value](const std::string& text) { value = parse_duration(text); });
}

CLI::Option* Tool::number_option(const std::string& names, unsigned& value, unsigned least,
                                 unsigned most, const std::string& help) {
  return add_parsed(app_, names, "N", help, [&value, least, most](const std::string& text) {
    unsigned number = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc{} || stop != end || number < least || number > most)
      throw std::invalid_argument("\"" + text + "\" is not a number from " +
                                  std::to_string(least) + " to " + std::to_string(most));
    value = number;
  });
}

void Tool::run_option() {
  takes_command_ = true;
  add_parsed(app_, "--run", "CMD...", "run CMD when ready, stop when it ends, exit with its status",
             [](const std::string&) {
               throw std::invalid_argument("takes the rest of the command line: --run CMD ARG...");
             });
}

void Tool::declare_common() {
  app_.option_defaults()->group("Common options");
  app_.add_flag("-h,--help", help_, "show this and exit");
  app_.add_flag("-V,--version", version_, "show the version and exit");
  auto* verbose = app_.add_flag("-v,--verbose", verbose_, "say more on stderr; twice: every request");
  app_.add_flag("-q,--quiet", quiet_, "no warnings, hints or progress")->excludes(verbose);
  app_.add_flag("--json", json_, "events on stdout, a JSON object a line");
  add_parsed(app_, "--events-fd", "N", "events on descriptor N as well",
             [this](const std::string& text) { events_fd_ = take_descriptor(text); });
  add_parsed(app_, "--ready-fd", "N", "write a newline to descriptor N when ready, then close it",
             [this](const std::string& text) { ready_fd_ = take_descriptor(text); });
  app_.add_option("--control", control_address_, "answer questions (status, stop, ...) at unix:PATH")
      ->type_name("ADDR");
  app_.add_option("--metrics", metrics_address_, "serve the status as OpenMetrics over HTTP at ADDR")
      ->type_name("ADDR");
  add_parsed(app_, "--ask", "WORD ADDR", "ask the tool at ADDR a question, print its answer",
             [](const std::string&) {
               throw std::invalid_argument("has to come first: --ask WORD ADDR");
             });
  app_.option_defaults()->group("Options");
}

void Tool::print(std::string_view line) {
  write_full(STDOUT_FILENO, as_bytes(std::string(line) + "\n"), "stdout");
}

void Tool::ready() {
  control_.expect();
  state_ = "ready";
  events_->send(Json().add("event", "ready"));
  readiness_->ready();
}

int Tool::serve_until_stopped(const std::vector<std::string>& environment) {
  const Control::Opened opened(control_);
  if (command_.empty()) {
    stop_.wait();
    return kDone;
  }
  Child child(command_, environment);
  const int status = child.wait(stop_);
  stop_.request();
  return status;
}

void Tool::on_forced_exit(std::function<void()> last_words) {
  std::lock_guard lock(mutex_);
  last_words_ = std::move(last_words);
}

void Tool::on_hang_up(std::function<void()> action) {
  std::lock_guard lock(hang_up_mutex_);
  hang_up_ = std::move(action);
}

void require_local_or_plain(const Address& address, bool plain) {
  if (plain || is_local(address)) return;
  throw std::invalid_argument(to_text(address) +
                              " can be reached from other machines, unencrypted: --plain allows it");
}

}  // namespace r3
