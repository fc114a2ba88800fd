// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_client_link.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3::nbd {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{20};
constexpr milliseconds kLongestPause{5'000};
constexpr unsigned kMostNonsense = 5;
constexpr std::uint64_t kRepeatedAtOnce = 4 * MiB;
constexpr std::size_t kMostRepeatedAtOnce = 64;

bool overlap(const Change& a, const Change& b) {
  return a.offset < b.offset + b.length && b.offset < a.offset + a.length;
}

}  // namespace

Connection& Session::quietest() const {
  return **std::min_element(
      connections.begin(), connections.end(),
      [](const auto& a, const auto& b) { return a->in_flight() < b->in_flight(); });
}

void Session::fail(const std::string& text) noexcept {
  for (const auto& connection : connections) connection->fail(text);
}

Link::Link(const Address& address, const std::string& export_name, const NbdClientOptions& options,
           ReplayLog& log)
    : address_(address),
      export_name_(export_name),
      options_(options),
      server_(to_text(address) + (export_name.empty() ? "" : " (" + export_name + ")")),
      log_(log),
      random_(std::random_device{}()) {
  session_ = dial(options.stop ? *options.stop : tasks_.stop());
  tasks_.spawn([this] { keep(); });
}

Link::~Link() {
  stop_dialling();
}

void Link::stop_dialling() noexcept {
  tasks_.stop().request();
  std::lock_guard lock(mutex_);
  if (repeating_) repeating_->fail("abandoned");
}

Link::Found Link::session(std::uint64_t after, Connection::Deadline deadline) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (tasks_.stop().requested()) return {nullptr, ESHUTDOWN};
    if (gave_up_ != 0) return {nullptr, gave_up_};
    if (deadline && Clock::now() >= *deadline) return {nullptr, ETIMEDOUT};
    if (session_ && session_->number > after) return {session_, 0};
    if (deadline) {
      changed_.wait_until(lock, *deadline);
    } else {
      changed_.wait(lock);
    }
  }
}

void Link::abandon() noexcept {
  stop_dialling();
  std::lock_guard lock(mutex_);
  if (session_) session_->fail("abandoned");
  changed_.notify_all();
}

// A whole new session, or an exception.
std::shared_ptr<Session> Link::dial(const Stop& stop) {
  auto session = std::make_shared<Session>();
  session->number = ++dialled_;
  session->connections.push_back(connect(stop));
  repeat(*session->connections.front(), session->number);
  if (!(agreement_.flags & kCanMultiConn) || is_one_connection(address_)) return session;
  while (session->connections.size() < options_.connections)
    session->connections.push_back(connect(stop));
  return session;
}

std::unique_ptr<Connection> Link::connect(const Stop& stop) {
  Channel channel = connect_to(address_, options_.connect_timeout, stop);
  const auto agreed = shake_hands(channel, export_name_, server_, options_.connect_timeout, stop);
  if (agreement_.flags == 0) agreement_ = agreed;  // the first one: HAS_FLAGS is always set
  check_same(agreed);
  return std::make_unique<Connection>(std::move(channel), agreed);
}

void Link::check_same(const Agreement& other) const {
  const bool same = other.size == agreement_.size && other.flags == agreement_.flags &&
                    other.allocation.has_value() == agreement_.allocation.has_value() &&
                    other.minimum <= agreement_.minimum && other.maximum >= agreement_.maximum;
  if (!same) throw ProtocolError(server_ + ": the server came back with another export");
}

// Makes all changes again that the server may have lost.
void Link::repeat(Connection& connection, std::uint64_t session) {
  const auto changes = log_.begin(session);
  const auto set_repeating = [this](Connection* value) {
    std::lock_guard lock(mutex_);
    repeating_ = value;
    if (value && tasks_.stop().requested()) value->fail("abandoned");
  };
  set_repeating(&connection);
  std::string trouble;
  for (std::size_t done = 0; done < changes.size() && trouble.empty();)
    done += repeat_some(connection, std::span(changes).subspan(done), trouble);
  set_repeating(nullptr);
  if (!trouble.empty() && connection.nonsense()) throw ProtocolError(server_ + ": " + trouble);
  if (!trouble.empty()) r3::fail(EIO, server_ + ": repeating what was not flushed: " + trouble);
}

// As many at once as do not overlap; how many.
std::size_t Link::repeat_some(Connection& connection, Changes changes, std::string& trouble) {
  const Connection::Deadline deadline = Clock::now() + options_.connect_timeout;
  std::deque<Call> batch;
  std::uint64_t bytes = 0;
  for (const auto& change : changes) {
    const auto before = changes.first(batch.size());
    if (batch.size() == kMostRepeatedAtOnce || bytes >= kRepeatedAtOnce) break;
    if (std::any_of(before.begin(), before.end(), [&](auto& other) { return overlap(*other, *change); }))
      break;
    Call& call = batch.emplace_back();
    call.command = change->command;
    call.flags = change->flags;
    call.offset = change->offset;
    call.length = change->length;
    call.payload = change->payload();
    bytes += call.payload.size();
    connection.submit(call, deadline);
  }
  for (Call& call : batch) connection.wait(call, deadline);
  for (const Call& call : batch) {
    if (call.state == Call::State::lost) trouble = connection.reason();
    if (call.error != 0) trouble = std::generic_category().message(call.error);
  }
  return batch.size();
}

// The thread: from one session to the next.
void Link::keep() {
  std::shared_ptr<Session> session = session_;
  while (watch(*session)) {
    const bool was_of_use = std::any_of(session->connections.begin(), session->connections.end(),
                                        [](const auto& each) { return each->answered(); });
    const auto failed = std::find_if(session->connections.begin(), session->connections.end(),
                                     [](const auto& each) { return each->failed(); });
    const std::string reason = (*failed)->reason();
    session->fail("another connection was lost");
    publish(nullptr);
    log_warning(server_ + ": connection lost: " + reason);
    if (options_.on_change) options_.on_change(false);
    session = dial_again(was_of_use);
    if (!session) return;
    publish(session);
    log_warning(server_ + ": connected again");
    if (options_.on_change) options_.on_change(true);
  }
}

// Waits until a connection has failed, or is closed by the server; false if the stop was requested.
bool Link::watch(const Session& session) {
  std::vector<pollfd> watched = {{tasks_.stop().fd(), POLLIN, 0}};
  for (const auto& connection : session.connections)
    watched.push_back({connection->fd(), POLLRDHUP, 0});
  while (::poll(watched.data(), watched.size(), kForever) < 0)
    if (errno != EINTR) r3::fail(errno, "poll");
  for (std::size_t i = 0; i < session.connections.size(); ++i)
    if (watched[i + 1].revents) session.connections[i]->fail("the server closed the connection");
  return !tasks_.stop().requested();
}

// Dials until it works; none if the stop was requested, or there is no hope.
std::shared_ptr<Session> Link::dial_again(bool at_once) {
  if (address_.kind == Address::Kind::fd || address_.kind == Address::Kind::stdio) {
    log_error(server_ + ": there is no way to connect again");
    give_up(ENOTCONN);
    return nullptr;
  }
  auto pause = kFirstPause;
  for (bool wait = !at_once;; wait = true) {
    if (wait) {
      std::uniform_int_distribution<long> share(pause.count() / 2, pause.count());
      if (tasks_.stop().wait_for(milliseconds(share(random_)))) return nullptr;
      pause = std::min(pause * 2, kLongestPause);
    }
    std::string trouble;
    if (auto session = try_dial(trouble)) return session;
    if (tasks_.stop().requested()) return nullptr;
    log_debug(trouble);
    if (nonsense_ >= kMostNonsense) {
      log_error(trouble);
      give_up(EPROTO);
      return nullptr;
    }
  }
}

// None, and why, if it does not work now.
std::shared_ptr<Session> Link::try_dial(std::string& trouble) {
  try {
    auto session = dial(tasks_.stop());
    nonsense_ = 0;
    return session;
  } catch (const ProtocolError& error) {
    ++nonsense_;
    trouble = error.what();
  } catch (const std::system_error& error) {
    trouble = error.what();
  }
  return nullptr;
}

void Link::publish(std::shared_ptr<Session> session) {
  std::lock_guard lock(mutex_);
  session_ = std::move(session);
  // abandon() may have come between the end of dialling and here.
  if (session_ && tasks_.stop().requested()) session_->fail("abandoned");
  changed_.notify_all();
}

void Link::give_up(int error) {
  std::lock_guard lock(mutex_);
  gave_up_ = error;
  changed_.notify_all();
}

}  // namespace r3::nbd
