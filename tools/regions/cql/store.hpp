// SPDX-License-Identifier: Apache-2.0
// The objects of a region as rows of a table of Cassandra or Scylla (r3-regions(7) has the layout, which is that
// of r3map: a text `key` and a blob `data`).
//
// Which of two writes of a row counts is decided by their timestamps, which are given here, not by the servers,
// whose clocks differ: a write that is sent again has the one it had, and so changes nothing a second time. That
// those of this process are later than those of the one before, whatever its machine's clock said, a row sees to
// that holds a time before which all timestamps so far are.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "tools/regions/cql/connection.hpp"
#include "tools/regions/kept.hpp"
#include "tools/regions/object_region.hpp"

namespace r3 {

struct CqlWhere {
  Address server;
  CqlLogin login;
  std::string keyspace, table, name;
  std::uint16_t consistency = 0;
  std::uint8_t version = 5;  // of the protocol; 4 is taken too where the server does not know 5
  bool labelled = true;   // false: nothing but the chunks, as r3map has them
  bool make_table = false;  // if it is not there
  std::chrono::milliseconds io_timeout{0};  // 0: for ever
};

// The number of a consistency level ("QUORUM"); throws std::invalid_argument, naming those that there are.
std::uint16_t parse_cql_consistency(const std::string& name);

class CqlStore final : public ObjectStore {
 public:
  // Connects, and sees that the table is there and can be read.
  explicit CqlStore(CqlWhere where);

  void get(std::span<Get> parts) override;
  void put(std::span<const Put> parts) override;
  void remove(std::span<const std::uint64_t> indices) override;
  std::optional<std::string> get_label() override;
  bool make_label(const std::string& text) override;
  void set_chunk(std::uint64_t chunk) override { chunk_ = chunk; }
  void abandon() noexcept override { kept_.abandon(); }

 private:
  std::unique_ptr<CqlConnection> dial();
  std::string key_of(std::uint64_t index) const;
  std::string spoken(const std::string& key) const { return text_ + " key " + key; }
  std::optional<std::string> read_text(const std::string& key);
  void open_table();
  void learn_durability();
  std::int64_t next_timestamp();

  const CqlWhere where_;
  const std::string text_;   // of the server, for messages
  const std::string label_key_, clock_key_;
  const std::string select_, insert_, delete_;
  std::uint64_t chunk_ = 0;
  std::atomic<std::uint8_t> version_;
  Kept<CqlConnection> kept_;
  std::mutex mutex_;
  std::int64_t last_ = 0;      // guarded by mutex_: the timestamp given last
  std::int64_t reserved_ = 0;  // likewise: up to here they may be given
};

}  // namespace r3
