// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/service.hpp"

#include <poll.h>
#include <sys/random.h>

#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "tools/mmap-hashsync/receiver.hpp"

namespace r3::sync {

namespace {

constexpr std::chrono::seconds kTimeToEnd{5};
constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{5000};

std::uint64_t draw_number() {
  std::uint64_t number;
  check(::getrandom(&number, sizeof number, 0), "getrandom");
  return number;
}

bool fit(Role ours, Role theirs) {
  return ours != theirs && !(ours == Role::hub && theirs == Role::hub);
}

bool listens(const Options& options) { return options.command == "hub" || !options.listen.empty(); }

std::vector<std::string> where_to_listen(const Options& options) {
  auto all = options.listen;
  if (options.command == "hub")
    if (const auto address = address_of(options)) all.push_back(*address);
  return all;
}

}  // namespace

Service::Service(Tool& tool, const Options& options, Role role)
    : tool_(tool), options_(options), role_(role), hello_{role, draw_number(), draw_secret()},
      security_(read_security(options.security, listens(options), &tool.stop())) {
  if (options.bandwidth > 0) bandwidth_.emplace(options.bandwidth, cut_);
  grace_.spawn([this] {
    if (wait_for(tool_.stop().fd(), POLLIN, grace_.stop()) == Wait::stopped) return;
    if (role_ != Role::send || !grace_.stop().wait_for(kTimeToEnd)) cut_.request();
  });
}

std::shared_ptr<const Security> Service::security() const {
  std::lock_guard lock(mutex_);
  return security_;
}

void Service::reload() {
  auto fresh = read_security(options_.security, listens(options_), nullptr);
  std::lock_guard lock(mutex_);
  security_ = std::move(fresh);
  for (const Live& one : live_)
    if (!one.connection->agrees_with(*security_)) one.connection->shut_down();
}

void Service::ready() {
  if (!ready_.exchange(true)) tool_.ready();
}

void Service::run(const Talk& talk) {
  if (listens(options_)) return listen(talk);
  const Address address = parse_address(*address_of(options_));
  if (const auto now = security(); !now->has_keys() && !now->plain && !is_local(address))
    throw std::invalid_argument(to_text(address) + " is not on this machine: keys are needed, or --plain");
  connect(address, talk);
}

void Service::connect(const Address& address, const Talk& talk) {
  using Clock = std::chrono::steady_clock;
  const bool single = address.kind == Address::Kind::fd || address.kind == Address::Kind::stdio;
  auto pause = kFirstPause;
  for (auto good = Clock::now(); !stop().requested();) {
    std::unique_ptr<Connection> connection;
    std::string error;
    try {
      connection = Connection::dial(address, *security(), stop(), cut_);
      if (pause != kFirstPause) log_warning(to_text(address) + ": connected again");
      pause = kFirstPause;
      return talk_over(std::move(connection), talk);
    } catch (const ConnectionLost& lost) {
      if (stop().requested()) return;
      error = lost.what();
      if (options_.once || single) throw;
    } catch (const ProtocolError& damaged) {
      error = damaged.what();
      if (options_.once || single) throw;
    }
    if (connection) good = Clock::now();
    if (options_.timeout.count() > 0 && Clock::now() - good > options_.timeout)
      throw std::runtime_error(to_text(address) + ": given up: " + error);
    if (pause == kFirstPause) log_warning(to_text(address) + ": " + error + ": trying again");
    if (stop().wait_for(pause)) return;
    pause = std::min(pause * 2, kLongestPause);
  }
}

void Service::listen(const Talk& talk) {
  const auto where = where_to_listen(options_);
  for (const std::string& text : where)
    if (const auto now = security(); !now->has_keys()) require_local_or_plain(parse_address(text), now->plain);
  if (where == std::vector<std::string>{"-"}) {
    ready();
    return talk_over(Connection::accept(connect_to(parse_address("-"), {}, stop()), security(), cut_), talk);
  }
  std::list<Listener> listeners;
  for (const std::string& text : where) {
    listeners.emplace_back(parse_address(text));
    const std::string bound = to_text(listeners.back().address());
    tool_.events().send(Json().add("event", "listening").add("address", bound));
    if (!tool_.json()) log_debug("listening on " + bound);
  }
  TaskGroup threads;
  for (Listener& listener : listeners) threads.spawn([&] { accept(listener, threads, talk); });
  ready();
  wait_for(threads.stop().fd(), POLLIN, stop());  // an error of a thread, or the end
  tool_.stop().request();
  threads.join();
}

void Service::accept(Listener& listener, TaskGroup& threads, const Talk& talk) {
  for (;;) {
    Fd fd = listener.accept(stop());
    if (!fd.valid()) return;
    if (connections_ >= options_.max_connections) continue;
    ++connections_;
    auto channel = std::make_shared<Channel>(std::move(fd));
    threads.spawn([this, channel, &talk] {
      serve(std::move(*channel), talk);
      --connections_;
    });
  }
}

// The connection loop: what is wrong with a peer ends its connection, and with --once the tool.
void Service::serve(Channel channel, const Talk& talk) {
  try {
    talk_over(Connection::accept(std::move(channel), security(), cut_), talk);
    if (options_.once) tool_.stop().request();
  } catch (const std::exception& error) {
    if (stop().requested()) return;
    say("disconnected", error.what());
    if (options_.once) throw;
    log_warning(error.what());
  }
}

HashSecret Service::secret_for(const Hello& ours, const Hello& theirs) const {
  const bool theirs_counts = theirs.role == Role::hub || (theirs.role == Role::send && ours.role != Role::hub);
  return theirs_counts ? theirs.secret : ours.secret;
}

void Service::talk_over(std::unique_ptr<Connection> connection, const Talk& talk) {
  Link link(connection->stream(), {compression_of(options_), bandwidth_ ? &*bandwidth_ : nullptr});
  const auto count = [&] {
    report_.wire_sent += link.bytes_sent();
    report_.wire_received += link.bytes_received();
  };
  try {
    const Hello theirs = greet(link, connection->stream(), hello_);
    if (!fit(role_, theirs.role)) {
      say_error(link, "two of the same role cannot talk to each other", false);
      throw std::runtime_error("the peer has the same role as this side");
    }
    const Hasher hasher(secret_for(hello_, theirs));
    Peer peer{*connection, link, theirs, hasher};
    greeted(peer, talk);
  } catch (const ConnectionLost& lost) {
    count();
    link.listen_for_last_words();
    if (const auto why = connection->why_ended(); !why.empty()) throw ConnectionLost(lost.code(), why);
    throw;
  } catch (...) {
    count();
    throw;
  }
  count();
}

void Service::greeted(Peer& peer, const Talk& talk) {
  ++report_.connections;
  say("connected");
  const auto place = enter(peer.theirs.instance, peer.connection);
  try {
    talk(peer);
  } catch (...) {
    leave(place);
    throw;
  }
  leave(place);
  try {
    peer.connection.stream().finish();
  } catch (const std::system_error&) {
    // The peer, which needed no more, left first.
  }
}

// A peer that comes again has lost its old connection, even if nothing tells us so yet.
std::list<Service::Live>::iterator Service::enter(std::uint64_t instance, Connection& connection) {
  std::unique_lock lock(mutex_);
  const auto is_old = [&](const Live& one) { return one.instance == instance; };
  for (Live& one : live_)
    if (is_old(one)) one.connection->shut_down();
  changed_.wait_for(lock, kTimeToEnd, [&] { return std::ranges::none_of(live_, is_old); });
  // It may have been opened with keys that hold no more.
  if (!connection.agrees_with(*security_)) throw ProtocolError("a key that has just been taken back");
  return live_.insert(live_.end(), {instance, &connection});
}

void Service::leave(std::list<Live>::iterator live) {
  {
    std::lock_guard lock(mutex_);
    live_.erase(live);
  }
  changed_.notify_all();
}

void Service::say(const char* event, const std::string& error) {
  Json json;
  json.add("event", event);
  tool_.events().send(error.empty() ? json : json.add("error", error));
}

}  // namespace r3::sync
