// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/redis/store.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <utility>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/sizes.hpp"

namespace r3 {

namespace {

using Clock = std::chrono::steady_clock;
using Kind = RedisReply::Kind;
using std::chrono::milliseconds;

constexpr milliseconds kConnectTime{10'000};
constexpr int kMostHops = 5;  // from node to node without a pause, until the region is found
constexpr milliseconds kAgree{200};

// A server that is there but cannot serve now. (MOVED and ASK come here only from a node that was just said to have
// the key: the cluster is about to agree.)
bool is_passing(const RedisReply& reply) {
  for (const auto* word : {"LOADING", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "MOVED", "ASK"})
    if (reply.kind == Kind::error && reply.text.starts_with(word)) return true;
  return false;
}

int error_of(const std::string& text) {
  if (text.starts_with("OOM") || text.starts_with("MISCONF")) return ENOSPC;
  if (text.starts_with("READONLY")) return EROFS;
  for (const auto* word : {"NOAUTH", "WRONGPASS", "NOPERM"})
    if (text.starts_with(word)) return EACCES;
  return EIO;
}

// "field:value\r\n" of INFO.
std::string field_of(const std::string& info, const std::string& name) {
  const auto at = info.find("\n" + name + ":");
  if (at == info.npos) return {};
  const auto begin = at + name.size() + 2;
  return info.substr(begin, info.find_first_of("\r\n", begin) - begin);
}

// "7.2.1" is 7.2 or newer.
bool knows_waitaof(const std::string& version) {
  int major = 0, minor = 0;
  return std::sscanf(version.c_str(), "%d.%d", &major, &minor) == 2 && (major > 7 || (major == 7 && minor >= 2));
}

}  // namespace

RedisStore::RedisStore(RedisWhere where, std::uint64_t chunk, const Stop&)
    : where_(std::move(where)),
      chunk_(chunk),
      text_(to_text(where_.server)),
      label_key_("r3:{" + where_.name + "}"),
      kept_(text_, where_.io_timeout, [this] { return dial(); }),
      node_(where_.server) {
  find_node();
  learn_durability();
}

std::string RedisStore::key_of(std::uint64_t index) const {
  if (where_.offset_keys) return where_.name + std::to_string(index * chunk_);
  std::array<char, 17> hex;
  std::snprintf(hex.data(), hex.size(), "%llx", static_cast<unsigned long long>(index));
  return label_key_ + ":" + hex.data();
}

// A primary that has become a replica is as good as gone where there may be another one.
void RedisStore::refuse(const RedisReply& reply, const std::string& key) const {
  const auto what = text_ + (key.empty() ? "" : " key " + key);
  if (is_passing(reply)) throw NotNow(what + ": " + reply.text);
  if (reply.kind == Kind::error && reply.text.starts_with("READONLY") && !where_.others.empty())
    fail(EAGAIN, what + ": the server says " + reply.text);
  if (reply.kind == Kind::error) throw Refused(error_of(reply.text), what + ": the server says " + reply.text);
  throw ProtocolError(what + ": an answer of the wrong kind");
}

// Another process may not have all that the last one answered: whoever keeps that for us is asked for it, by the
// one way that there is.
void RedisStore::recognise(const RedisReply& info, const RedisReply& role, const Address& node) {
  if (info.kind != Kind::text) refuse(info, "");
  // What a replica has may be older than what the primary has answered. (In a cluster it sends to its primary.)
  if (!role.parts.empty() && role.parts[0].text == "slave" && field_of(info.text, "redis_mode") != "cluster")
    fail(EAGAIN, to_text(node) + " is a replica, and its primary is not among those that answer");
  const std::string run = field_of(info.text, "run_id");
  std::lock_guard lock(mutex_);
  if (run_.empty() || !found_) run_ = run;
  if (run == run_) return;
  log_warning(to_text(node) + (to_text(node) == to_text(node_) ? ": the server was restarted" : ": this server answers instead") +
              "; what was not flushed is sent again");
  ::_exit(EXIT_FAILURE);
}

// All questions at once: over a long way each takes its time.
std::unique_ptr<RedisConnection> RedisStore::connect(const Address& node, bool recognised) {
  auto connection = std::make_unique<RedisConnection>(node, where_.tls ? &*where_.tls : nullptr, kConnectTime,
                                                      kept_.gone());
  connection->set_deadline(Clock::now() + kConnectTime);
  const bool role = recognised && !where_.others.empty() && !where_.read_only;
  int settings = 0;
  if (!where_.password.empty()) {
    if (where_.user.empty()) connection->append({word("AUTH"), word(where_.password)});
    else connection->append({word("AUTH"), word(where_.user), word(where_.password)});
    ++settings;
  }
  if (where_.database != "0") {
    connection->append({word("SELECT"), word(where_.database)});
    ++settings;
  }
  if (recognised) connection->append({word("INFO"), word("server")});
  if (role) connection->append({word("ROLE")});
  if (settings > 0 || recognised) connection->send();
  for (; settings > 0; --settings)
    if (const RedisReply reply = connection->receive(); reply.kind != Kind::status) refuse(reply, "");
  if (!recognised) return connection;
  const RedisReply info = connection->receive();
  recognise(info, role ? connection->receive() : RedisReply{}, node);
  return connection;
}

// The node where the region is, or, when that one does not answer, another one, which says where the region is now.
std::unique_ptr<RedisConnection> RedisStore::dial() {
  std::vector<Address> nodes = where_.others;
  nodes.insert(nodes.begin(), where_.server);
  {
    std::lock_guard lock(mutex_);
    nodes.insert(nodes.begin(), node_);
  }
  std::exception_ptr replica;  // says more than that another one is not there
  for (std::size_t i = 0;; ++i) try {
      return connect(nodes[i], true);
    } catch (const Refused&) {
      throw;
    } catch (const std::system_error& error) {
      if (error.code().value() == EAGAIN) replica = std::current_exception();
      if (i + 1 < nodes.size() && !kept_.gone().requested()) continue;
      if (replica) std::rethrow_exception(replica);
      throw;
    }
}

// Follows the nodes of a cluster to the one that has the region's slot. While those that are left agree about who takes
// over from one that is gone, or while one reads what it has kept, they are asked again.
void RedisStore::find_node() {
  bool told = false;
  const auto end = Clock::now() + kConnectTime;
  for (int hop = 0;; ++hop) try {
      kept_.run_once([&](RedisConnection& connection) {
        const Command command{{word("EXISTS"), word(label_key_)}};
        run_on(connection, {&command, 1});
      }, kConnectTime);
      std::lock_guard lock(mutex_);
      found_ = true;
      return;
    } catch (const Moved& moved) {
      if (Clock::now() > end) fail(ELOOP, text_ + ": the nodes of the cluster send from one to the other");
      if (hop >= kMostHops) kept_.gone().wait_for(kAgree);
      kept_.forget();
      std::lock_guard lock(mutex_);
      node_ = moved.to;
      run_.clear();
    } catch (const std::system_error& error) {
      if (error.code().value() != EAGAIN || Clock::now() > end) throw;
      if (!std::exchange(told, true)) log_warning(error.what() + std::string("; trying again"));
      if (kept_.gone().wait_for(kAgree)) throw;
    }
}

void RedisStore::learn_durability() {
  std::string file, sync, version;
  kept_.run_once([&](RedisConnection& connection) {
    const auto setting = [&](const char* name) {
      const RedisReply reply = connection.ask({word("CONFIG"), word("GET"), word(name)});
      return reply.parts.size() == 2 ? reply.parts[1].text : std::string();
    };
    file = setting("appendonly"), sync = setting("appendfsync");
    version = field_of(connection.ask({word("INFO"), word("server")}).text, "redis_version");
  }, kConnectTime);
  if (file.empty() || (file == "yes" && sync == "always")) return;  // durable, or not ours to know
  if (file != "yes") {
    log_warning(text_ + ": the server keeps no log (appendonly no): a restart loses what was flushed, too");
    return;
  }
  std::lock_guard lock(mutex_);
  waits_for_disk_ = knows_waitaof(version);
  if (!waits_for_disk_ && sync == "everysec")
    log_warning(text_ + ": a crash of its machine may lose the last second of what was flushed (appendfsync "
                        "everysec)");
}

// "MOVED 3999 127.0.0.1:6381"; without a host it is the one that was asked. An IPv6 address has no brackets there.
Address RedisStore::node_of(const RedisReply& redirection) const {
  const std::string& text = redirection.text;
  const auto colon = text.rfind(':');
  const auto space = text.rfind(' ');
  Address node = where_.server;
  try {
    if (colon == text.npos || space == text.npos || colon < space || node.kind != Address::Kind::tcp)
      throw std::invalid_argument("");
    if (colon > space + 1) node.host = text.substr(space + 1, colon - space - 1);
    node.port = static_cast<std::uint16_t>(parse_number(text.substr(colon + 1), 65535));
  } catch (const std::invalid_argument&) {
    throw ProtocolError(text_ + ": the server sends to a place that is none: " + text);
  }
  return node;
}

RedisReply RedisStore::ask_elsewhere(const RedisReply& redirection, const Command& command) {
  const auto connection = connect(node_of(redirection), false);
  if (where_.io_timeout.count() > 0) connection->set_deadline(Clock::now() + where_.io_timeout);
  else connection->set_deadline(std::nullopt);
  connection->append({word("ASKING")});
  connection->append(command.words);
  connection->send();
  connection->receive();
  return connection->receive(command.into);
}

std::vector<RedisReply> RedisStore::run_on(RedisConnection& connection, std::span<const Command> commands) {
  for (const Command& command : commands) connection.append(command.words);
  connection.send();
  std::vector<RedisReply> replies;
  for (const Command& command : commands) replies.push_back(connection.receive(command.into));
  for (std::size_t i = 0; i < commands.size(); ++i) {
    RedisReply& reply = replies[i];
    if (reply.kind != Kind::error) continue;
    if (reply.text.starts_with("MOVED ")) throw Moved(text_ + ": " + reply.text, node_of(reply));
    if (reply.text.starts_with("ASK ")) reply = ask_elsewhere(reply, commands[i]);
    if (reply.kind == Kind::error)
      refuse(reply, commands[i].words.size() > 1 ? std::string(as_text(commands[i].words[1])) : "");
  }
  return replies;
}

std::vector<RedisReply> RedisStore::run(std::span<const Command> commands) {
  std::vector<RedisReply> replies;
  kept_.run([&](RedisConnection& connection) {
    try {
      replies = run_on(connection, commands);
    } catch (const Moved& moved) {
      if (where_.offset_keys)
        throw Refused(EOPNOTSUPP, text_ + ": the keys of r3map are all over a cluster, which layout=r3map cannot read");
      log_warning(text_ + ": the region has moved to " + to_text(moved.to) + "; what was not flushed is sent again");
      ::_exit(EXIT_FAILURE);
    }
  });
  return replies;
}

void RedisStore::get(std::span<Get> parts) {
  struct Words {
    std::string key, first, last;
  };
  std::vector<Words> words;
  for (const Get& part : parts)
    words.push_back({key_of(part.index), std::to_string(part.offset),
                     std::to_string(part.offset + part.into.size() - 1)});
  std::vector<Command> commands;
  for (std::size_t i = 0; i < parts.size(); ++i)
    commands.push_back({{word("GETRANGE"), word(words[i].key), word(words[i].first), word(words[i].last)},
                        parts[i].into});
  const auto replies = run(commands);
  std::vector<std::string> empty;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (replies[i].kind != Kind::text) refuse(replies[i], words[i].key);
    parts[i].found = replies[i].size > 0;
    if (!parts[i].found) empty.push_back(words[i].key);
    else if (replies[i].size != parts[i].into.size())
      fail(EIO, text_ + " key " + words[i].key + ": not as long as the chunk size says");
  }
  if (!empty.empty()) check_missing(empty);
}

// GETRANGE gives nothing of a key that is not there, and of one that is shorter.
void RedisStore::check_missing(const std::vector<std::string>& keys) {
  std::vector<Command> commands;
  for (const auto& key : keys) commands.push_back({{word("STRLEN"), word(key)}});
  const auto replies = run(commands);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (replies[i].kind != Kind::number) refuse(replies[i], keys[i]);
    if (replies[i].number != 0) fail(EIO, text_ + " key " + keys[i] + ": shorter than the chunk size says");
  }
}

void RedisStore::put(std::span<const Put> parts) {
  std::vector<std::string> keys;
  for (const Put& part : parts) keys.push_back(key_of(part.index));
  std::vector<Command> commands;
  for (std::size_t i = 0; i < parts.size(); ++i)
    commands.push_back({{word("SET"), word(keys[i]), parts[i].from}});
  const auto replies = run(commands);
  for (std::size_t i = 0; i < parts.size(); ++i)
    if (replies[i].kind != Kind::status) refuse(replies[i], keys[i]);
}

void RedisStore::remove(std::span<const std::uint64_t> indices) {
  std::vector<std::string> keys;
  for (const auto index : indices) keys.push_back(key_of(index));
  std::vector<Command> commands;
  for (const auto& key : keys) commands.push_back({{word("DEL"), word(key)}});
  const auto replies = run(commands);
  for (std::size_t i = 0; i < keys.size(); ++i)
    if (replies[i].kind != Kind::number) refuse(replies[i], keys[i]);
}

// WAIT and WAITAOF are about the last change of their own connection: one more is made there, which comes after
// all those that returned.
void RedisStore::flush() {
  bool disk = false;
  {
    std::lock_guard lock(mutex_);
    disk = waits_for_disk_;
  }
  if (!disk && where_.replicas == 0) return;
  const std::string replicas = std::to_string(where_.replicas), key = label_key_ + ":flush";
  const Command commands[] = {
      {{word("SET"), word(key), word("")}},
      disk ? Command{{word("WAITAOF"), word("1"), word(replicas), word("0")}}
           : Command{{word("WAIT"), word(replicas), word("0")}}};
  run(commands);
}

std::optional<std::string> RedisStore::get_label() {
  const Command command{{word("GET"), word(label_key_)}};
  const RedisReply reply = run({&command, 1}).front();
  if (reply.kind == Kind::nothing) return std::nullopt;
  if (reply.kind != Kind::text) refuse(reply, label_key_);
  return reply.text;
}

bool RedisStore::make_label(const std::string& text) {
  const Command command{{word("SET"), word(label_key_), word(text), word("NX")}};
  return run({&command, 1}).front().kind == Kind::status;
}

}  // namespace r3
