// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-leech/outside.hpp"

#include "libcommon/base/log.hpp"
#include "libcommon/cli/hook.hpp"

namespace r3 {

void Outside::attach(Backend& region) {
  if (options_.driver == "none") return;
  options_.device.on_ended = [this] { tool_.stop().request(); };
  device_ = attach_device(options_.driver, region, options_.device);
  if (!tool_.json()) tool_.print(device_->path());
  tool_.events().send(Json().add("event", "attached").add("path", device_->path()).add("size", region.size()));
}

void Outside::detach() {
  if (device_) device_->detach();
  device_.reset();
}

void Outside::hook(const char* option, const std::string& command) const {
  try {
    run_hook({option, command}, environment(), options_.hook_timeout);
  } catch (const std::exception& error) {
    log_error(error.what());
    tool_.events().send(Json().add("event", "error").add("error", error.what()));
  }
}

SeederActions Outside::seeder_actions() {
  SeederActions actions;
  actions.suspend = [this] {
    run_hook({"--on-suspend", options_.on_suspend}, environment(), options_.hook_timeout);
  };
  actions.resume = [this] { hook("--on-resume", options_.on_resume); };
  actions.sync_device = [this] { if (device_) device_->flush(); };
  actions.tell = [this](const std::string& event, const std::string& why) {
    Json json;
    json.add("event", event);
    tool_.events().send(why.empty() ? json : json.add("why", why));
  };
  return actions;
}

void Outside::phase(const char* name, const Json& more) {
  phase_ = name;
  tool_.events().send(Json().add("event", name).add_all(more));
}

}  // namespace r3
