// SPDX-License-Identifier: Apache-2.0
// A hub as the source of one destination: brings it up by hashes, then sends what changes, as it came if the
// destination keeps up, as the newest bytes if it does not.
#pragma once

#include "libcommon/base/stop.hpp"
#include "tools/mmap-hashsync/hub_store.hpp"
#include "tools/mmap-hashsync/pusher.hpp"
#include "tools/mmap-hashsync/report.hpp"

namespace r3::sync {

class HubFeed {
 public:
  using MayRead = std::function<bool(const std::string& name)>;
  // `input`: the descriptor that becomes readable when the destination hangs up.
  HubFeed(HubStore& store, Link& link, int input, const Hasher& hasher, MayRead may_read, Report& report);
  ~HubFeed() { store_.leave(lack_); }
  HubFeed(const HubFeed&) = delete;
  HubFeed& operator=(const HubFeed&) = delete;

  // Until the stop is requested.
  void run(const Stop& stop);

 private:
  bool introduce();
  bool round();
  void send_on(const HubEpoch& epoch);
  void send_chunks(const std::string& name, const Geometry& geometry);
  void resize(const std::string& name, std::uint64_t size);
  bool wait(const Stop& stop);

  HubStore& store_;
  Link& link_;
  const int input_;
  Pusher pusher_;
  const MayRead may_read_;
  Report& report_;
  const std::shared_ptr<Lack> lack_;
  std::map<std::string, std::uint32_t> ids_;
  std::map<std::string, std::uint64_t> told_;  // sizes
};

}  // namespace r3::sync
