// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-mount/mount.hpp"

#include "libcommon/base/log.hpp"
#include "libcommon/device/watchdog.hpp"

namespace r3 {
namespace {

std::unique_ptr<Device> attach(const std::string& driver, Backend& backend, DeviceOptions& options,
                               Tool& tool) {
  options.on_ended = [&tool] { tool.stop().request(); };
  return attach_device(driver, backend, options);
}

}  // namespace

Mount::Mount(Backend& backend, Managed* managed, const std::string& driver, DeviceOptions options,
             Hooks& hooks, Tool& tool)
    : backend_(backend), managed_(managed), hooks_(hooks), tool_(tool), grace_(options.grace),
      device_(attach(driver, backend, options, tool)),
      last_words_(tool, [this] { say_last_words(); }) {
  hooks_.set_path(path());
}

Json Mount::status() const {
  const DeviceCounters now = device_->counters();
  Json status;
  status.add("path", path()).add("driver", device_->driver()).add("adopted", device_->adopted()).add("size", backend_.size())
      .add("reads", now.reads).add("read_bytes", now.read_bytes)
      .add("writes", now.writes).add("written_bytes", now.written_bytes)
      .add("waiting", now.waiting).add("lost_bytes", now.lost_bytes);
  if (managed_) status.add_all(managed_->status());
  return status;
}

void Mount::flush() {
  const EndAfterStop limit(tool_.stop(), grace_, [this] { give_up(backend_, grace_); });
  device_->flush();
  if (managed_) managed_->push();
}

void Mount::announce() {
  if (!tool_.json()) tool_.print(path());
  tool_.events().send(
      Json().add("event", "attached").add("path", path()).add("size", backend_.size())
          .add("driver", device_->driver()).add("adopted", device_->adopted()));
}

void Mount::end() {
  // While the device can still be used.
  try {
    hooks_.before_close();
  } catch (const std::runtime_error& error) {
    log_error(error.what());
  }
  if (managed_) managed_->push_at_end(grace_);
  try {
    device_->detach();
  } catch (const std::system_error& error) {
    if (!managed_ || managed_->unpushed() == 0) throw;
    log_error(error.what());
  }
  if (managed_) managed_->close();
}

void Mount::say_last_words() const {
  log_warning(path() + ": " +
              (managed_ ? managed_->last_words() : std::string("what was not flushed is lost")));
}

}  // namespace r3
