// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/session.hpp"

#include <unistd.h>

#include <cstring>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/cli/metrics.hpp"

namespace r3 {

namespace {

Address parse_named(const char* option, const std::string& text) {
  try {
    return parse_address(text);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(std::string(option) + ": " + error.what());
  }
}

}  // namespace

Session::Session(Tool& tool) : tool_(tool) {
  tool_.control_.set_own("status", [this] { return own_status(); });
  tool_.control_.set_own("stop", [this] {
    log_debug("stopping: asked to by the control socket");
    tool_.readiness_->stopping();
    tool_.stop_.request();
    return Json().add("stopping", true);
  });
  if (!tool_.control_address_.empty()) listen_for_control();
  if (!tool_.metrics_address_.empty()) listen_for_metrics();
  signals_.start({[this](int signal) { on_signal(signal); }, [this] { leave(); },
                  [this] { say_status(); }, [this] { return on_hang_up(); }});
}

// First of all the questions end: some may wait for a body that has thrown.
Session::~Session() {
  tool_.control_.close();
  signals_.stop_reading();
}

Json Session::own_status() const {
  const std::chrono::duration<double> age = std::chrono::steady_clock::now() - begun_;
  return Json()
      .add("tool", tool_.about_.name)
      .add("version", kVersion)
      .add("pid", static_cast<int>(::getpid()))
      .add("state", tool_.stop_.requested() ? "stopping" : tool_.state_.load())
      .add("uptime", age.count());
}

void Session::on_signal(int signal) {
  log_debug(std::string("stopping: signal ") + ::sigabbrev_np(signal));
  tool_.stop_signal_ = signal;
  tool_.readiness_->stopping();
  tool_.stop_.request();
}

bool Session::on_hang_up() {
  std::lock_guard lock(tool_.hang_up_mutex_);
  if (!tool_.hang_up_) return false;
  try {
    tool_.hang_up_();
  } catch (const std::exception&) {
    log_error(text_of_current_exception());  // what was in force stays so
  }
  return true;
}

void Session::leave() {
  log_error("interrupted again: leaving at once");
  std::lock_guard lock(tool_.mutex_);  // what they speak of has to live meanwhile
  if (tool_.last_words_) tool_.last_words_();
  ::_exit(128 + SIGINT);
}

void Session::say_status() {
  std::string text;
  const Json status = tool_.control_.answer_to("status");
  for (const Json::Member& member : status.members())
    text += (text.empty() ? "" : ", ") + member.name + " " + member.value;
  log_error("status: " + text);
}

// Whoever can write to the control socket can stop the tool, so it is the user's alone: a file, which
// a listener makes with that mode, and no abstract name, which has none.
void Session::listen_for_control() {
  const Address address = parse_named("--control", tool_.control_address_);
  if (address.kind != Address::Kind::unix_socket || address.path.starts_with('@'))
    throw std::invalid_argument("--control: \"" + tool_.control_address_ +
                                "\" is not a UNIX socket with a path (unix:PATH)");
  control_ = std::make_unique<SideServer>(Listener(address), [this](int socket, const Stop& stop) {
    serve_control(socket, tool_.control_, stop);
  });
}

void Session::listen_for_metrics() {
  const Address address = parse_named("--metrics", tool_.metrics_address_);
  if (address.kind != Address::Kind::unix_socket && address.kind != Address::Kind::tcp)
    throw std::invalid_argument("--metrics: \"" + tool_.metrics_address_ +
                                "\" is not unix:PATH or tcp://HOST:PORT");
  require_local_or_plain(address, tool_.options_.given("--plain"));
  Listener listener(address);
  const std::string where = to_text(listener.address());
  tool_.events().send(Json().add("event", "metrics").add("address", where));
  if (address.port == 0 && address.kind == Address::Kind::tcp)
    log_hint("the metrics are at " + where);
  metrics_ = std::make_unique<SideServer>(
      std::move(listener), [this](int socket, const Stop& stop) {
        serve_metrics(socket, tool_.about_.name, [this] { return tool_.control_.answer_to("status"); },
                      stop);
      });
}

}  // namespace r3
