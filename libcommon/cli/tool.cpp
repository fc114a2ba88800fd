// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/tool.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/cli/child.hpp"
#include "libcommon/cli/parse.hpp"

namespace r3 {

namespace {

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

Tool::Tool(const About& about) : about_(about), options_(about.name, about.purpose) {}

void Tool::run_option() {
  takes_command_ = true;
  options_.parsed("--run", "CMD...", "run CMD when ready, stop when it ends, exit with its status",
             [](const std::string&) {
               throw std::invalid_argument("takes the rest of the command line: --run CMD ARG...");
             });
}

void Tool::declare_common() {
  options_.group("Common options");
  options_.flag("-h,--help", help_, "show this and exit");
  options_.flag("-V,--version", version_, "show the version and exit");
  options_.verbosity(verbose_, quiet_);
  options_.flag("--json", json_, "events on stdout, a JSON object a line");
  options_.parsed("--events-fd", "N", "events on descriptor N as well",
                  [this](const std::string& text) { events_fd_ = take_descriptor(text); });
  options_.parsed("--ready-fd", "N", "write a newline to descriptor N when ready, then close it",
                  [this](const std::string& text) { ready_fd_ = take_descriptor(text); });
  options_.text("--control", "ADDR", control_address_, "answer questions (status, stop, ...) at unix:PATH");
  options_.text("--metrics", "ADDR", metrics_address_, "serve the status as OpenMetrics over HTTP at ADDR");
  options_.parsed("--ask", "WORD ADDR", "ask the tool at ADDR a question, print its answer",
                  [](const std::string&) {
                    throw std::invalid_argument("has to come first: --ask WORD ADDR");
                  });
  options_.group("Options");
}

void Tool::print(std::string_view line) {
  write_full(STDOUT_FILENO, as_bytes(std::string(line) + "\n"), "stdout");
}

void Tool::stdout_carries_protocol() {
  if (!json_ && events_fd_ != STDOUT_FILENO) return;
  events_ = std::make_unique<Events>(std::vector<int>{});
  if (json_)
    throw std::invalid_argument(
        "--json: the standard output carries a protocol here; --events-fd N takes another descriptor");
  throw std::invalid_argument("--events-fd: 1 carries a protocol here");
}

void Tool::ready() {
  control_.expect();
  state_ = "ready";
  events_->send(Json().add("event", "ready"));
  readiness_->ready();
}

int Tool::serve_until_stopped(const std::vector<std::string>& environment, PassedFd passed,
                              const std::function<void()>& ending) {
  const Control::Opened opened(control_);
  int status = kDone;
  if (command_.empty()) {
    stop_.wait();
  } else {
    Child child(command_, environment, passed);
    passed.fd = Fd();  // it is the command's now
    status = child.wait(stop_);
  }
  stop_.request();
  if (ending) ending();
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
