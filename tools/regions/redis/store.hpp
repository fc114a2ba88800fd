// SPDX-License-Identifier: Apache-2.0
// The objects of a region as keys of a Redis server (region-redis(1) has the layout). A server that goes away is
// dialled again; one that comes back as another process may have lost what it had not made durable, so this
// process then ends, and who started it sends again what was not flushed (r3-region-helper(7)).
#pragma once

#include <mutex>
#include <vector>

#include "tools/regions/object_region.hpp"
#include "tools/regions/redis/connection.hpp"

namespace r3 {

struct RedisWhere {
  Address server;
  std::string user, password;  // empty: none
  std::string database = "0";
  std::string name;            // of the region
  bool offset_keys = false;    // keys are NAME and the decimal offset: the layout of r3map
  std::chrono::milliseconds io_timeout{0};  // 0: for ever
  unsigned replicas = 0;       // that have to have it too when flush returns
};

class RedisStore final : public ObjectStore {
 public:
  // Connects once; throws when the server is not there, or refuses.
  // `chunk`: what offset keys are counted by.
  RedisStore(RedisWhere where, std::uint64_t chunk, const Stop& stop);

  void get(std::span<Get> parts) override;
  void put(std::span<const Put> parts) override;
  void remove(std::span<const std::uint64_t> indices) override;
  void flush() override;
  std::optional<std::string> get_label() override;
  bool make_label(const std::string& text) override;
  void abandon() noexcept override { gone_.request(); }

 private:
  using Connection = std::unique_ptr<RedisConnection>;
  Connection dial();
  void log_in(RedisConnection& connection);
  void recognise(RedisConnection& connection);
  void learn_durability(RedisConnection& connection);
  Connection borrow();
  void give_back(Connection connection);
  // Calls action(connection) until it did not fail for the connection's sake, on fresh connections.
  template <class Action>
  void with_connection(Action action);
  std::string key_of(std::uint64_t index) const;
  [[noreturn]] void refuse(const RedisReply& reply, const std::string& key) const;

  const RedisWhere where_;
  const std::uint64_t chunk_;
  const std::string text_;  // of the server, for messages
  const std::string label_key_;
  Stop gone_;
  std::mutex mutex_;
  std::vector<Connection> idle_;  // guarded by mutex_
  std::string run_;               // guarded by mutex_: which process the server is
  bool waits_for_disk_ = false;   // guarded by mutex_: it knows WAITAOF, and needs it
};

}  // namespace r3
