// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/cql/store.hpp"

#include <stdexcept>
#include <utility>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/sizes.hpp"

namespace r3 {

namespace {

constexpr std::chrono::milliseconds kConnectTime{10'000}, kOpenTime{30'000};
constexpr std::int64_t kReserve = 10'000'000;  // microseconds of timestamps at once
constexpr std::uint16_t kOne = 0x0001;

constexpr std::pair<const char*, std::uint16_t> kLevels[] = {
    {"ONE", 0x01}, {"TWO", 0x02}, {"THREE", 0x03}, {"QUORUM", 0x04}, {"ALL", 0x05}, {"LOCAL_QUORUM", 0x06},
    {"LOCAL_ONE", 0x0a}};

// A name in quotes is what it is, in any case and with any characters.
std::string quoted(const std::string& name) {
  std::string text = "\"";
  for (const char c : name) text += c == '"' ? "\"\"" : std::string(1, c);
  return text + "\"";
}

std::string table_of(const CqlWhere& where) { return quoted(where.keyspace) + "." + quoted(where.table); }

std::int64_t now_in_microseconds() {
  using namespace std::chrono;
  return duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
}

CqlBody query(const CqlConnection& connection, const std::string& text, std::uint16_t consistency,
              std::initializer_list<ConstBytes> values = {}) {
  CqlBody body;
  body.long_text(text).raw(cql_parameters(connection.version(), consistency, values).bytes());
  return body;
}

}  // namespace

std::uint16_t parse_cql_consistency(const std::string& name) {
  std::string all;
  for (const auto& [level, number] : kLevels) {
    if (name == level) return number;
    all += (all.empty() ? "" : ", ") + std::string(level);
  }
  throw std::invalid_argument("consistency=" + name + ": " + all + " are accepted");
}

CqlStore::CqlStore(CqlWhere where)
    : where_(std::move(where)),
      text_(to_text(where_.server)),
      label_key_(where_.name + "/region"),
      clock_key_(where_.name + "/clock"),
      select_("select key, data from " + table_of(where_) + " where key = ?"),
      insert_("insert into " + table_of(where_) + " (key, data) values (?, ?)"),
      delete_("delete from " + table_of(where_) + " where key = ?"),
      version_(where_.version),
      kept_(text_, where_.io_timeout, [this] { return dial(); }) {
  open_table();
  learn_durability();
  if (!where_.labelled) return;
  if (const auto clock = read_text(clock_key_)) {
    try {
      last_ = static_cast<std::int64_t>(parse_number(*clock, ~std::uint64_t{0} >> 2));
    } catch (const std::invalid_argument&) {
      fail(EILSEQ, spoken(clock_key_) + ": it holds no time");
    }
  }
}

// The version that the server knows is settled once.
std::unique_ptr<CqlConnection> CqlStore::dial() {
  try {
    return std::make_unique<CqlConnection>(where_.server, version_, where_.login, kConnectTime, kept_.gone());
  } catch (const CqlVersionUnknown& unknown) {
    if (version_ == 4) throw Refused(EPROTONOSUPPORT, unknown.what());
    version_ = 4;
    return dial();
  }
}

std::optional<std::string> CqlStore::read_text(const std::string& key) {
  std::optional<std::string> text;
  kept_.run_once([&](CqlConnection& connection) {
    const auto body = connection.ask(CqlOpcode::query, query(connection, select_, where_.consistency, {as_bytes(key)}));
    const auto row = parse_cql_row(body);
    if (row && row->size() == 2 && row->at(1)) text = std::string(as_text(*row->at(1)));
  }, kOpenTime);
  return text;
}

void CqlStore::open_table() {
  try {
    read_text(label_key_);
  } catch (const Refused& refused) {
    if (refused.code().value() != ENOENT || !where_.make_table) throw;
    kept_.run_once([&](CqlConnection& connection) {
      const auto text = "create table if not exists " + table_of(where_) + " (key text primary key, data blob)";
      connection.ask(CqlOpcode::query, query(connection, text, where_.consistency));
    }, kOpenTime);
    read_text(label_key_);
  }
}

// Only servers since Cassandra 4 tell; what cannot be learnt is not warned of.
void CqlStore::learn_durability() try {
  kept_.run_once([&](CqlConnection& connection) {
    const auto body = connection.ask(CqlOpcode::query, query(connection,
        "select value from system_views.settings where name = 'commitlog_sync'", kOne));
    const auto row = parse_cql_row(body);
    if (row && row->size() == 1 && row->at(0) && as_text(*row->at(0)) == "periodic")
      log_warning(text_ + ": a server whose machine crashes loses what it took in the last seconds (commitlog_sync: "
                          "periodic); what is flushed is safe as far as others of its replicas have it");
  }, kOpenTime);
} catch (const Refused&) {
}

std::string CqlStore::key_of(std::uint64_t index) const { return where_.name + "-" + std::to_string(index * chunk_); }

void CqlStore::get(std::span<Get> parts) {
  kept_.run([&](CqlConnection& connection) {
    std::vector<std::uint16_t> requests;
    for (const Get& part : parts)
      requests.push_back(connection.add_execute(
          select_, cql_parameters(connection.version(), where_.consistency, {as_bytes(key_of(part.index))})));
    connection.send();
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const auto body = connection.answer(requests[i]);
      const auto row = parse_cql_row(body);
      parts[i].found = row.has_value();
      if (!row) continue;
      const std::string key = key_of(parts[i].index);
      if (row->size() != 2 || !row->at(0) || as_text(*row->at(0)) != key)
        throw ProtocolError(spoken(key) + ": the server answers with another row");
      if (!row->at(1) || row->at(1)->size() < parts[i].offset + parts[i].into.size())
        throw Refused(EIO, spoken(key) + ": shorter than the chunk size says");
      const auto data = row->at(1)->subspan(parts[i].offset, parts[i].into.size());
      std::copy(data.begin(), data.end(), parts[i].into.begin());
    }
  });
}

void CqlStore::put(std::span<const Put> parts) {
  const auto timestamp = next_timestamp();
  kept_.run([&](CqlConnection& connection) {
    std::vector<std::uint16_t> requests;
    for (const Put& part : parts)
      requests.push_back(connection.add_execute(
          insert_, cql_parameters(connection.version(), where_.consistency, {as_bytes(key_of(part.index)), part.from},
                                  timestamp)));
    connection.send();
    for (const auto request : requests) connection.answer(request);
  });
}

void CqlStore::remove(std::span<const std::uint64_t> indices) {
  const auto timestamp = next_timestamp();
  kept_.run([&](CqlConnection& connection) {
    std::vector<std::uint16_t> requests;
    for (const auto index : indices)
      requests.push_back(connection.add_execute(
          delete_, cql_parameters(connection.version(), where_.consistency, {as_bytes(key_of(index))}, timestamp)));
    connection.send();
    for (const auto request : requests) connection.answer(request);
  });
}

// Alone among those that ask: nobody gets a timestamp that is not reserved.
std::int64_t CqlStore::next_timestamp() {
  std::lock_guard lock(mutex_);
  last_ = std::max(last_ + 1, now_in_microseconds());
  if (where_.labelled && last_ >= reserved_) {
    const auto until = last_ + kReserve;
    kept_.run([&](CqlConnection& connection) {
      const auto request = connection.add_execute(
          insert_, cql_parameters(connection.version(), where_.consistency,
                                  {as_bytes(clock_key_), as_bytes(std::to_string(until))}, until));
      connection.send();
      connection.answer(request);
    });
    reserved_ = until;
  }
  return last_;
}

std::optional<std::string> CqlStore::get_label() { return read_text(label_key_); }

// A lightweight transaction; its answer is a row that begins with whether it was applied.
bool CqlStore::make_label(const std::string& text) {
  bool made = false;
  kept_.run_once([&](CqlConnection& connection) {
    const auto body = connection.ask(CqlOpcode::query, query(connection, insert_ + " if not exists", where_.consistency,
                                                             {as_bytes(label_key_), as_bytes(text)}));
    const auto row = parse_cql_row(body);
    if (!row || row->empty() || !row->at(0) || row->at(0)->size() != 1)
      throw ProtocolError(spoken(label_key_) + ": an answer of the wrong kind");
    made = row->at(0)->front() != std::byte{0};
  }, kOpenTime);
  return made;
}

}  // namespace r3
