// SPDX-License-Identifier: Apache-2.0
// The objects of a region as objects of a Ceph pool (r3-regions(7) has the layout). What was answered is on the
// disks of all the pool's replicas. librados waits for a cluster that is not there by itself.
#pragma once

#include <rados/librados.h>

#include <memory>

#include "tools/regions/object_region.hpp"

namespace r3 {

struct RadosWhere {
  std::string pool, space, name;  // space: the namespace within the pool, or empty
};

// A handle that knows its configuration and has not connected. Throws std::system_error, naming what was refused.
using RadosCluster = std::unique_ptr<void, decltype(&rados_shutdown)>;
struct RadosAccess {
  std::string configuration;  // a file; empty: the usual places
  std::string user = "admin";
  std::string key;            // empty: from the keyring that the configuration names
  std::chrono::milliseconds io_timeout{0};  // 0: for ever
};
RadosCluster prepare_rados(const RadosAccess& access);

class RadosStore final : public ObjectStore {
 public:
  // Connects.
  RadosStore(RadosCluster cluster, RadosWhere where);
  ~RadosStore() override;

  void get(std::span<Get> parts) override;
  void put(std::span<const Put> parts) override;
  void remove(std::span<const std::uint64_t> indices) override;
  std::optional<std::string> get_label() override;
  bool make_label(const std::string& text) override;
  // What is under way inside of librados cannot be taken back: the process ends.
  void abandon() noexcept override;

 private:
  std::string object_of(std::uint64_t index) const;
  std::string spoken(const std::string& object) const;

  const RadosWhere where_;
  RadosCluster cluster_;
  rados_ioctx_t pool_ = nullptr;
};

}  // namespace r3
