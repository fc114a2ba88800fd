// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/tool.hpp"

#include <unistd.h>

#include <csignal>
#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/sizes.hpp"

namespace r3 {

Tool::Tool(const About& about) : about_(about), app_(about.purpose, about.name) {}

CLI::Option* Tool::size_option(const std::string& names, std::uint64_t& value,
                               const std::string& help) {
  return app_.add_option_function<std::string>(
      names, [&value](const std::string& text) { value = parse_size(text); }, help);
}

CLI::Option* Tool::duration_option(const std::string& names, std::chrono::milliseconds& value,
                                   const std::string& help) {
  return app_.add_option_function<std::string>(
      names, [&value](const std::string& text) { value = parse_duration(text); }, help);
}

void Tool::run_option() {
  app_.add_option("--run", command_, "Run CMD when ready; stop when it ends")->type_name("CMD...");
}

void Tool::declare_common() {
  app_.add_flag("--json", json_, "Events as JSON on stdout");
}

void Tool::ready() {
  events_->send(Json().add("event", "ready"));
}

int Tool::serve_until_stopped(const std::vector<std::string>&) {
  stop_.wait();
  return kDone;
}

void Tool::on_forced_exit(std::function<void()> last_words) {
  last_words_ = std::move(last_words);
}

int run(int argc, char** argv, const About& about, const std::function<void(Tool&)>& declare,
        const std::function<int(Tool&)>& body) {
  Tool tool(about);
  set_log(about.name, Verbosity::normal);
  ::signal(SIGPIPE, SIG_IGN);
  try {
    tool.declare_common();
    declare(tool);
    tool.app_.parse(argc, argv);
    tool.events_ = std::make_unique<Events>(tool.json_ ? std::vector{STDOUT_FILENO}
                                                       : std::vector<int>{});
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    std::jthread signals([&tool, set](std::stop_token) {
      timespec wait{0, 100'000'000};
      while (!tool.stop_.requested())
        if (sigtimedwait(&set, nullptr, &wait) > 0) tool.stop_.request();
    });
    const int status = body(tool);
    tool.stop_.request();
    return status;
  } catch (const CLI::ParseError& error) {
    return tool.app_.exit(error) == 0 ? kDone : kUsage;
  } catch (const std::invalid_argument& error) {
    log_error(error.what());
    return kUsage;
  } catch (...) {
    log_error(text_of_current_exception());
    return kFailed;
  }
}

}  // namespace r3
