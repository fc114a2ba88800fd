// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <iostream>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/cli/help.hpp"
#include "libcommon/cli/parse.hpp"
#include "libcommon/cli/session.hpp"
#include "libcommon/cli/tool.hpp"

namespace r3 {

namespace {

// A standard descriptor that is closed would be the next file that is opened. It becomes one that
// answers EBADF instead, so that writing to a closed stdout still fails.
void fill_standard_descriptors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    const int mode = fd == STDOUT_FILENO ? O_RDONLY : O_WRONLY;
    if (::open("/dev/null", mode) != fd) ::_exit(kFailed);
  }
}

// What was written to stdout has arrived, or the tool has failed.
void finish_stdout(int event_error) {
  std::cout.flush();
  if (std::fflush(stdout) != 0) fail(errno, "stdout");
  if (std::ferror(stdout) != 0 || std::cout.bad()) fail(EIO, "stdout");
  if (event_error != 0) fail(event_error, "stdout");
}

int status_of_current_exception() {
  try {
    throw;
  } catch (const std::invalid_argument&) {
    return kUsage;
  } catch (...) {
    return kFailed;
  }
}

// The answer decides the status: an error is 1, a plain no is 3.
int ask(Tool& tool, const std::string& word, const std::string& address) {
  const std::string answer = ask_control(parse_address(address), word);
  tool.print(answer);
  if (answer.starts_with("{\"error\":")) return kFailed;
  return answer.starts_with("{\"answer\":\"no\"") ? kNo : kDone;
}

}  // namespace

int Tool::answer(const Arguments& arguments) {
  switch (arguments.ask) {
    case Arguments::Ask::control: return ask(*this, arguments.options[0], arguments.options[1]);
    case Arguments::Ask::version: print(about_.name + std::string(" ") + kVersion); break;
    case Arguments::Ask::print_options: print(option_table(options_.parser())); break;
    default: print(help_text(options_.parser(), about_.examples)); break;
  }
  return kDone;
}

// False when the options themselves ask for the help or the version ("-vh").
bool Tool::parse(Arguments& arguments) {
  options_.parse(arguments.options);
  if (help_) arguments.ask = Arguments::Ask::help;
  if (version_) arguments.ask = Arguments::Ask::version;
  if (arguments.ask != Arguments::Ask::run) return false;
  command_ = arguments.command;
  set_log(about_.name, quiet_     ? Verbosity::quiet
                       : verbose_ ? Verbosity::debug
                                  : Verbosity::normal);
  std::vector<int> sinks;
  if (json_) sinks.push_back(STDOUT_FILENO);
  if (events_fd_ >= 0) sinks.push_back(events_fd_);
  events_ = std::make_unique<Events>(sinks);
  readiness_.emplace(ready_fd_);
  return true;
}

void Tool::say_stopped(int status) {
  const int signal = stop_signal_;
  Json stopped = Json().add("event", "stopped").add("status", status);
  if (signal != 0) stopped.add("signal", ::sigabbrev_np(signal));
  events_->send(stopped);
}

// Once there are events, the last of them says how it ended.
int Tool::work(const std::function<int(Tool&)>& body) {
  int status = kFailed;
  try {
    const Session session(*this);
    status = body(*this);
    stop_.request();
    readiness_->stopping();
  } catch (...) {
    events_->send(Json().add("event", "error").add("text", text_of_current_exception()));
    say_stopped(status_of_current_exception());
    throw;
  }
  say_stopped(status);
  finish_stdout(events_->error_of(STDOUT_FILENO));
  return status;
}

int run(int argc, char** argv, const About& about, const std::function<void(Tool&)>& declare,
        const std::function<int(Tool&)>& body) {
  fill_standard_descriptors();
  set_log(about.name, Verbosity::normal);
  try {
    Tool tool(about);
    tool.declare_common();
    declare(tool);
    Arguments arguments = split_arguments(argc, argv, tool.takes_command_);
    try {
      if (arguments.ask != Arguments::Ask::run || !tool.parse(arguments))
        return tool.answer(arguments);
    } catch (const CLI::ParseError& error) {
      log_error(text_of(error, tool.options_.parser()));
      log_hint("try " + std::string(about.name) + " --help");
      return kUsage;
    }
    return tool.work(body);
  } catch (...) {
    log_error(text_of_current_exception());
    return status_of_current_exception();
  }
}

}  // namespace r3
