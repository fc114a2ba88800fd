// SPDX-License-Identifier: Apache-2.0
// The objects of a region as keys of a Redis server (region-redis(1) has the layout). A server that goes away is
// dialled again; one that comes back as another process may have lost what it had not made durable, and so may
// the one that takes over in a cluster: this process then ends, and who started it sends again what was not
// flushed (r3-region-helper(7)).
//
// Where there are several servers, one of which is the primary that the others have replicas of, the primary is looked
// for among them (ROLE), and again when it says that it is none any more (READONLY).
//
// In a cluster all keys of a region are in one slot, so on one node. Which one it is is learnt when the region is
// opened (MOVED); while the slot is on its way to another one, single keys are asked for there (ASK).
#pragma once

#include <mutex>
#include <optional>
#include <stdexcept>
#include <vector>

#include "tools/regions/object_region.hpp"
#include "tools/regions/kept.hpp"
#include "tools/regions/redis/connection.hpp"

namespace r3 {

struct RedisWhere {
  Address server;
  std::vector<Address> others;       // nodes of the same cluster, or replicas, for when that one is not there
  std::optional<TlsContext> tls;     // none: plain
  std::string user, password;  // empty: none
  std::string database = "0";
  std::string name;            // of the region
  bool read_only = false;      // a replica will do
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
  void abandon() noexcept override { kept_.abandon(); }

 private:
  struct Command {
    std::vector<ConstBytes> words;
    Bytes into = {};  // of its reply
  };
  struct Moved : std::runtime_error {
    Moved(const std::string& what, Address where) : std::runtime_error(what), to(std::move(where)) {}
    Address to;
  };
  std::unique_ptr<RedisConnection> dial();
  // Logged in. `recognised`: ends this process if it is another server than the one before.
  std::unique_ptr<RedisConnection> connect(const Address& node, bool recognised);
  void find_node();
  void recognise(const RedisReply& info, const RedisReply& role, const Address& node);
  void learn_durability();
  // The replies of all commands, none of which the server refused; on one connection, in order.
  std::vector<RedisReply> run(std::span<const Command> commands);
  std::vector<RedisReply> run_on(RedisConnection& connection, std::span<const Command> commands);
  RedisReply ask_elsewhere(const RedisReply& redirection, const Command& command);
  Address node_of(const RedisReply& redirection) const;
  void check_missing(const std::vector<std::string>& keys);
  std::string key_of(std::uint64_t index) const;
  [[noreturn]] void refuse(const RedisReply& reply, const std::string& key) const;

  const RedisWhere where_;
  const std::uint64_t chunk_;
  const std::string text_;  // of the server, for messages
  const std::string label_key_;
  Kept<RedisConnection> kept_;
  std::mutex mutex_;
  Address node_;                // guarded by mutex_: where the region is
  std::string run_;             // guarded by mutex_: which process the server is
  bool found_ = false;          // guarded by mutex_: node_ is settled
  bool waits_for_disk_ = false;  // guarded by mutex_: it knows WAITAOF, and needs it
};

}  // namespace r3
