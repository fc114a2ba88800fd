// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/redis/store.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3 {

namespace {

using Clock = std::chrono::steady_clock;
using Kind = RedisReply::Kind;
using std::chrono::milliseconds;

constexpr milliseconds kConnectTime{10'000};
constexpr milliseconds kFirstPause{50}, kLongestPause{2'000};
constexpr std::size_t kIdle = 32;  // connections that are kept

// A server that is there but cannot serve now.
bool is_passing(const RedisReply& reply) {
  for (const auto* word : {"LOADING", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN"})
    if (reply.kind == Kind::error && reply.text.starts_with(word)) return true;
  return false;
}

struct NotNow : std::runtime_error {
  using std::runtime_error::runtime_error;
};

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
    : where_(std::move(where)), chunk_(chunk), text_(to_text(where_.server)), label_key_("r3:{" + where_.name + "}") {
  Connection first = dial();
  learn_durability(*first);
  give_back(std::move(first));
}

std::string RedisStore::key_of(std::uint64_t index) const {
  if (where_.offset_keys) return where_.name + std::to_string(index * chunk_);
  std::array<char, 17> hex;
  std::snprintf(hex.data(), hex.size(), "%llx", static_cast<unsigned long long>(index));
  return label_key_ + ":" + hex.data();
}

void RedisStore::refuse(const RedisReply& reply, const std::string& key) const {
  const auto what = text_ + (key.empty() ? "" : " key " + key);
  if (is_passing(reply)) throw NotNow(what + ": " + reply.text);
  if (reply.kind == Kind::error) fail(error_of(reply.text), what + ": the server says " + reply.text);
  throw ProtocolError(what + ": an answer of the wrong kind");
}

void RedisStore::log_in(RedisConnection& connection) {
  if (!where_.password.empty()) {
    const RedisReply reply =
        where_.user.empty() ? connection.ask({word("AUTH"), word(where_.password)})
                            : connection.ask({word("AUTH"), word(where_.user), word(where_.password)});
    if (reply.kind != Kind::status) refuse(reply, "");
  }
  if (where_.database != "0") {
    const RedisReply reply = connection.ask({word("SELECT"), word(where_.database)});
    if (reply.kind != Kind::status) refuse(reply, "");
  }
}

// Another process may not have all that the last one answered: whoever keeps that for us is asked for it, by the
// one way that there is.
void RedisStore::recognise(RedisConnection& connection) {
  const RedisReply info = connection.ask({word("INFO"), word("server")});
  if (info.kind != Kind::text) refuse(info, "");
  const std::string run = field_of(info.text, "run_id");
  std::lock_guard lock(mutex_);
  if (run_.empty()) run_ = run;
  if (run == run_) return;
  log_warning(text_ + ": the server was restarted; what was not flushed is sent again");
  ::_exit(EXIT_FAILURE);
}

RedisStore::Connection RedisStore::dial() {
  auto connection = std::make_unique<RedisConnection>(where_.server, kConnectTime, gone_);
  connection->set_deadline(Clock::now() + kConnectTime);
  log_in(*connection);
  recognise(*connection);
  return connection;
}

void RedisStore::learn_durability(RedisConnection& connection) {
  const auto setting = [&](const char* name) {
    const RedisReply reply = connection.ask({word("CONFIG"), word("GET"), word(name)});
    return reply.parts.size() == 2 ? reply.parts[1].text : std::string();
  };
  const std::string file = setting("appendonly"), sync = setting("appendfsync");
  if (file.empty() || (file == "yes" && sync == "always")) return;  // durable, or not ours to know
  if (file != "yes") {
    log_warning(text_ + ": the server keeps no log (appendonly no): a restart loses what was flushed, too");
    return;
  }
  const RedisReply info = connection.ask({word("INFO"), word("server")});
  std::lock_guard lock(mutex_);
  waits_for_disk_ = knows_waitaof(field_of(info.text, "redis_version"));
  if (!waits_for_disk_ && sync == "everysec")
    log_warning(text_ + ": a crash of its machine may lose the last second of what was flushed (appendfsync "
                        "everysec)");
}

RedisStore::Connection RedisStore::borrow() {
  {
    std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      Connection one = std::move(idle_.back());
      idle_.pop_back();
      return one;
    }
  }
  return dial();
}

void RedisStore::give_back(Connection connection) {
  std::lock_guard lock(mutex_);
  if (idle_.size() < kIdle) idle_.push_back(std::move(connection));
}

template <class Action>
void RedisStore::with_connection(Action action) {
  const auto begun = Clock::now();
  milliseconds pause = kFirstPause;
  for (;; pause = std::min(pause * 2, kLongestPause)) {
    std::string why;
    try {
      Connection connection = borrow();
      const bool bounded = where_.io_timeout.count() > 0;
      connection->set_deadline(bounded ? Stream::Deadline(begun + where_.io_timeout) : std::nullopt);
      action(*connection);
      return give_back(std::move(connection));
    } catch (const NotNow& passing) {
      why = passing.what();
    } catch (const std::system_error& error) {
      // What the server refused stays refused; a connection that broke is made again, and so are those that
      // broke with it.
      const int code = error.code().value();
      for (const int final : {EIO, ENOSPC, EROFS, EACCES, ECANCELED})
        if (code == final) throw;
      why = error.what();
      std::lock_guard lock(mutex_);
      idle_.clear();
    }
    if (where_.io_timeout.count() > 0 && Clock::now() + pause - begun >= where_.io_timeout)
      fail(EIO, text_ + ": no answer within --io-timeout: " + why);
    if (gone_.wait_for(pause)) fail(ESHUTDOWN, text_);
  }
}

void RedisStore::get(std::span<Get> parts) {
  with_connection([&](RedisConnection& connection) {
    std::vector<std::string> keys;
    for (const Get& part : parts) {
      keys.push_back(key_of(part.index));
      const std::string first = std::to_string(part.offset);
      const std::string last = std::to_string(part.offset + part.into.size() - 1);
      connection.append({word("GETRANGE"), word(keys.back()), word(first), word(last)});
    }
    connection.send();
    std::exception_ptr damage;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const RedisReply reply = connection.receive(parts[i].into);
      if (reply.kind != Kind::text) refuse(reply, keys[i]);
      parts[i].found = reply.size > 0;
      if (reply.size > 0 && reply.size != parts[i].into.size() && !damage)
        damage = std::make_exception_ptr(std::system_error(
            EIO, std::generic_category(), text_ + " key " + keys[i] + ": shorter than the chunk size says"));
    }
    if (damage) std::rethrow_exception(damage);
  });
}

void RedisStore::put(std::span<const Put> parts) {
  with_connection([&](RedisConnection& connection) {
    std::vector<std::string> keys;
    for (const Put& part : parts) {
      keys.push_back(key_of(part.index));
      connection.append({word("SET"), word(keys.back()), part.from});
    }
    connection.send();
    for (std::size_t i = 0; i < parts.size(); ++i)
      if (const RedisReply reply = connection.receive(); reply.kind != Kind::status) refuse(reply, keys[i]);
  });
}

void RedisStore::remove(std::span<const std::uint64_t> indices) {
  with_connection([&](RedisConnection& connection) {
    for (const auto index : indices) {
      const std::string key = key_of(index);
      connection.append({word("DEL"), word(key)});
    }
    connection.send();
    for (const auto index : indices)
      if (const RedisReply reply = connection.receive(); reply.kind != Kind::number) refuse(reply, key_of(index));
  });
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
  with_connection([&](RedisConnection& connection) {
    const std::string replicas = std::to_string(where_.replicas);
    const std::string key = label_key_ + ":flush";
    const RedisReply changed = connection.ask({word("SET"), word(key), word("")});
    if (changed.kind != Kind::status) refuse(changed, key);
    const RedisReply waited = disk ? connection.ask({word("WAITAOF"), word("1"), word(replicas), word("0")})
                                   : connection.ask({word("WAIT"), word(replicas), word("0")});
    if (waited.kind == Kind::error) refuse(waited, "");
  });
}

std::optional<std::string> RedisStore::get_label() {
  std::optional<std::string> label;
  with_connection([&](RedisConnection& connection) {
    const RedisReply reply = connection.ask({word("GET"), word(label_key_)});
    if (reply.kind == Kind::text) label = reply.text;
    else if (reply.kind != Kind::nothing) refuse(reply, label_key_);
  });
  return label;
}

bool RedisStore::make_label(const std::string& text) {
  bool made = false;
  with_connection([&](RedisConnection& connection) {
    const RedisReply reply = connection.ask({word("SET"), word(label_key_), word(text), word("NX")});
    if (reply.kind == Kind::error) refuse(reply, label_key_);
    made = reply.kind == Kind::status;
  });
  return made;
}

}  // namespace r3
