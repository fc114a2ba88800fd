// SPDX-License-Identifier: Apache-2.0
#include "tools/ram-dl/region.hpp"

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "tools/ram-dl/direct_file.hpp"
#include "tools/ram-dl/record.hpp"
#include "tools/ram-dl/swap_area.hpp"

namespace r3 {

namespace {

bool is_remote(const Region& region) { return region.scheme.starts_with("nbd") || region.scheme.starts_with("r3"); }

bool is_command(const Region& region) { return region.address.kind == Address::Kind::exec; }

bool is_encrypted(const Region& region, const DlOptions& options) {
  if (region.scheme.starts_with("nbd")) return false;
  for (const char* key : {"key-file", "psk-file", "server-key"})
    if (region.parameters.contains(key)) return true;
  return !options.open.key_file.empty() || !options.open.psk_file.empty();
}

}  // namespace

std::vector<std::string> warnings_for(const Region& region, const DlOptions& options) {
  std::vector<std::string> warnings;
  const bool local = is_local(region.address);
  if (is_remote(region) && !local && !is_encrypted(region, options))
    warnings.push_back("programs' memory crosses the network unencrypted");
  if (is_command(region))
    warnings.push_back("the command serves pages, and may itself be paged out: keep it in memory");
  else if (is_remote(region) && local)
    warnings.push_back("the server is on this machine: it has to be kept in memory (mlock) itself");
  if (is_helped(region))
    warnings.push_back("a region helper serves pages, and may itself be paged out: keep it in memory");
  if (region.scheme == "dir")
    warnings.push_back("a directory needs memory of the page cache just when there is none");
  const auto compress = region.parameters.find("compress");
  if (compress != region.parameters.end() && compress->second == "yes")
    warnings.push_back("compressing takes processor time and memory in the way of every page");
  return warnings;
}

SwapRegion::SwapRegion(const DlOptions& options, Tool& tool, const std::string& me, const std::string& left)
    : options_(options), tool_(tool), region_(region_of(options)), me_(me), left_(left) {
  try {
    remote_ = open(true);
    check_free(*remote_, options.region);
  } catch (const std::system_error& error) {
    // A killed process's place can be taken with the copy alone.
    if (left.empty() || options.fallback.empty() || remote_) throw;
    log_warning(error.what());
  }
  if (!options.fallback.empty())
    open_copy(left);
  else
    resumed_ = !left.empty() && SwapArea(*remote_, options.region).uuid() == left;
}

void SwapRegion::open_copy(const std::string& left) {
  const std::string& name = options_.fallback;
  auto copy = std::make_unique<DirectFile>(name, remote_ ? std::optional(remote_->size()) : std::nullopt);
  if (!copy->direct()) {
    const std::string text = name + ": has no direct I/O: it needs page cache just when there is no memory";
    if (options_.strict) fail(EOPNOTSUPP, text);
    log_warning(text);
  }
  check_free(*copy, name);
  resumed_ = !left.empty() && SwapArea(*copy, name).uuid() == left;
  if (!resumed_ && !remote_) fail(ENODATA, name + ": is not the copy of what was left");
  Mirror::Options how;
  how.copy_is_newer = resumed_;
  how.on_change = [this](bool connected, const std::string& why) {
    if (!connected) log_warning(options_.region + ": " + why + "; " + options_.fallback + " is used");
    tool_.events().send(Json().add("event", connected ? "reconnected" : "disconnected").add("reason", why));
  };
  mirror_ = std::make_unique<Mirror>(std::move(remote_), [this] { return open(false); }, std::move(copy), how);
}

std::unique_ptr<Backend> SwapRegion::open(bool first) {
  if (region_.scheme == "file") return std::make_unique<DirectFile>(region_.rest);
  RegionOptions how = options_.open;
  how.stop = first ? &tool_.stop() : nullptr;
  if (options_.fallback.empty())
    how.on_change = [this](bool connected) {
      connected_ = connected;
      tool_.events().send(Json().add("event", connected ? "reconnected" : "disconnected"));
    };
  auto region = open_region(region_, how);
  if (region->read_only()) fail(EROFS, options_.region);
  return region;
}

void SwapRegion::check_free(Backend& backend, const std::string& name) const {
  const SwapArea area(backend, name);
  // Also under another name, where --force is no excuse. Our own record has what was left.
  if (area.uuid().empty() || area.uuid() == left_) return check_owner(area);
  if (const std::string other = Record::living_with(area.uuid()); !other.empty())
    fail(EBUSY, name + ": process " + other + " swaps there already");
  check_owner(area);
}

void SwapRegion::check_owner(const SwapArea& area) const {
  if (!options_.force) area.check_free(me_);
}

std::string SwapRegion::claim() {
  SwapArea area(backend(), options_.region);
  area.write(me_);
  return area.uuid();
}

void SwapRegion::release() { SwapArea(backend(), options_.region).release(); }

void SwapRegion::add_status(Json& status) const {
  if (!mirror_) {
    status.add("connected", connected_.load());
    return;
  }
  const MirrorNumbers now = mirror_->numbers();
  status.add("connected", now.connected).add("stale", now.stale).add("outages", now.outages);
}

}  // namespace r3
