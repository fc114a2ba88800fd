// SPDX-License-Identifier: Apache-2.0
#include "tools/uffd-serve/server.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cstring>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/whole_file.hpp"
#include "libcommon/device/follow_source.hpp"
#include "libcommon/device/watchdog.hpp"
#include "libcommon/storage/pull_order.hpp"

namespace r3 {

namespace {

// How long the last pushes may make no headway before the region is given up.
constexpr auto kPatience = std::chrono::milliseconds(10'000);
constexpr std::size_t kMostHandingOver = 64;

std::string spoken(pid_t process) {
  return process > 0 ? "process " + std::to_string(process) : std::string("a process");
}

}  // namespace

PageServer::PageServer(Backend& region, PageServerOptions options, Tool& tool)
    : region_(region), options_(std::move(options)), tool_(tool),
      // No hints that nobody asked for.
      hints_(wants_hints(options_.order.order) && (options_.order.rest || options_.order.order != "auto")),
      first_(named_ranges(options_.order, region_.size(), tool_.stop())) {
  if (options_.order.record.empty()) return;
  check_whole_file(options_.order.record);
  recording_ = std::make_unique<PullRecording>(region_.size());
}

void PageServer::save_recording() const {
  if (recording_) recording_->save(options_.order.record);
}

// What is named comes first; then the rest, on from where the process touched its memory last, unless
// the order says otherwise.
void PageServer::make_order(Session& session) {
  const auto size = region_.size();
  const auto& order = options_.order;
  if (!order.rest && first_.empty() && !hints_) return;
  const bool follows = order.rest && order.order != "sequential" && order.order != "reverse";
  const auto rest = !order.rest || follows ? PullRest::nothing
                    : order.order == "reverse" ? PullRest::reverse : PullRest::sequential;
  std::vector<std::unique_ptr<PullSource>> layers;
  auto named = std::make_unique<PullOrder>(size, first_, rest);
  session.named = named.get();
  layers.push_back(std::move(named));
  if (follows) layers.push_back(std::make_unique<FollowSource>(size));
  session.order = std::make_unique<PullLayers>(std::move(layers));
}

// One look at the content for all clients.
void PageServer::follow_hints() try {
  const auto found = find_hints(options_.order.order, region_, tool_.stop(), [this](PullRange range) {
    std::lock_guard lock(mutex_);
    if (first_.size() < PullOrder::kMostRanges) first_.push_back(range);
    for (const Session& session : sessions_) {
      session.named->append(range);
      session.pager->more_to_bring();
    }
  });
  if (!found.empty()) log_debug("pull order: the content is of the kind " + std::string(found));
} catch (const std::system_error& error) {
  log_debug("pull order: " + std::string(error.what()));
}

void PageServer::run(Listener& listener) {
  if (hints_) clients_.spawn([this] { follow_hints(); });
  for (;;) {
    auto connection = std::make_shared<Fd>(listener.accept(tool_.stop()));
    if (!connection->valid()) break;
    greet(connection);
  }
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  if (!options_.intake.region.writable) region_.abandon();
  const Watchdog watchdog(kPatience, [this] { return pushed_bytes_.load(); },
                          [this] { give_up(region_, kPatience); });
  clients_.join();
}

// So many may be about to hand over; the next one takes the place of the one that has taken longest, so
// that whoever says nothing keeps nobody out.
void PageServer::greet(const std::shared_ptr<Fd>& connection) {
  {
    std::unique_lock lock(mutex_);
    if (handing_over_.size() >= kMostHandingOver) ::shutdown(handing_over_.front()->get(), SHUT_RDWR);
    taken_in_.wait(lock, [this] { return handing_over_.size() < kMostHandingOver; });
    handing_over_.push_back(connection);
  }
  clients_.spawn([this, connection] {
    try {
      if (auto handoff = take_in(connection)) serve(std::move(*connection), std::move(*handoff));
    } catch (const std::exception&) {
      const std::string error = text_of_current_exception();
      log_warning("a client was refused: " + error);
      tool_.events().send(Json().add("event", "refused").add("error", error));
    }
  });
}

std::optional<Handoff> PageServer::take_in(const std::shared_ptr<Fd>& connection) {
  const struct TakenIn {
    PageServer& server;
    const std::shared_ptr<Fd>& connection;
    ~TakenIn() {
      std::lock_guard lock(server.mutex_);
      server.handing_over_.remove(connection);
      server.taken_in_.notify_one();
    }
  } taken_in{*this, connection};
  auto handoff = take_over(connection->get(), options_.intake, tool_.stop());
  if (!handoff) return {};
  std::unique_lock lock(mutex_);
  const auto clients = sessions_.size();
  lock.unlock();
  if (clients >= options_.max_clients)
    refuse(connection->get(), *handoff, "there are " + std::to_string(clients) + " clients already: --max-clients");
  return handoff;
}

PageServer::Sessions::iterator PageServer::open(std::shared_ptr<ClientMemory> memory, pid_t process, bool track) {
  Session session;
  session.memory = std::move(memory);
  session.process = process;
  PagerOptions pager;
  pager.chunk = options_.chunk;
  pager.most = options_.most;
  pager.threads = options_.threads;
  pager.recording = recording_.get();
  pager.process = process;
  pager.on_poisoned = [this, process](auto address, auto offset, int error, bool signalled) {
    report_poisoned(process, address, offset, error, signalled);
  };
  pager.on_fork = [this, process](std::unique_ptr<ClientMemory> child) { serve_child(std::move(child), process); };
  if (track) {
    session.tracker = std::make_shared<WriteTracker>(region_, session.memory, process,
                                                     [this](auto offset, auto length) { pushed(offset, length); });
    pager.on_write = [tracker = session.tracker.get()](auto address) { return tracker->written(address); };
  }
  std::lock_guard lock(mutex_);
  make_order(session);
  pager.order = session.order.get();
  session.pager = std::make_unique<Pager>(region_, *session.memory, std::move(pager));
  return sessions_.insert(sessions_.end(), std::move(session));
}

void PageServer::close(Sessions::iterator session) {
  Sessions gone;
  std::lock_guard lock(mutex_);
  ended_faults_ += session->pager->counters().faults;
  ended_bytes_ += session->pager->counters().read_bytes;
  gone.splice(gone.end(), sessions_, session);
}

void PageServer::serve(Fd connection, Handoff handoff) {
  const bool track = handoff.map.track;
  auto memory = std::make_shared<ClientMemory>(std::move(handoff.uffd), handoff.map.ranges, track);
  const auto session = open(std::move(memory), handoff.process, track);
  session->keeps_duplicate = handoff.map.keeps_duplicate;
  Json who;
  who.add("process", static_cast<std::uint64_t>(handoff.process)).add("protocol", name_of(handoff.protocol));
  tool_.events().send(Json().add("event", "connected").add_all(who).add("ranges", handoff.map.ranges.size())
                          .add("size", session->memory->size()));
  log_debug(spoken(handoff.process) + " handed over " + std::to_string(session->memory->size()) + " bytes in " +
            std::to_string(handoff.map.ranges.size()) + " ranges (" + name_of(handoff.protocol) + ")");
  const bool own = handoff.protocol == uffd::Protocol::own;
  Fd none;
  serve_session(*session, own ? connection : none, handoff.ended.get(), who);
  close(session);
}

void PageServer::serve_session(Session& session, Fd& connection, int ended, const Json& who) {
  Stop stop;
  TaskGroup companion;
  companion.spawn([&] { watch(session, connection, stop, companion.stop()); });
  std::string error;
  auto end = Pager::End::stopped;
  try {
    if (connection.valid()) send_with_fds(connection.get(), uffd::ready_message(), {});
    end = session.pager->run(stop, ended);
  } catch (const std::exception&) {
    error = text_of_current_exception();
    log_warning(spoken(session.process) + ": " + error);
  }
  companion.stop().request();
  companion.join();
  // Without a duplicate of its own, the process would read zeroes as soon as ours is closed.
  if (end == Pager::End::stopped && !session.left && !session.keeps_duplicate && session.memory->uffd().alive() &&
      !session.memory->poison_absent())
    log_warning(spoken(session.process) + ": this kernel cannot poison pages: what it did not touch may read as zeroes");
  Json event = Json().add("event", "disconnected").add_all(who).add("faults", session.pager->counters().faults.load());
  tool_.events().send(error.empty() ? event : event.add("error", error));
}

// Pushes now and then, and ends the session when the tool is to stop, or when the client of our own
// protocol leaves.
void PageServer::watch(Session& session, Fd& connection, Stop& session_stop, const Stop& ended) {
  pollfd watched[] = {{ended.fd(), POLLIN, 0}, {tool_.stop().fd(), POLLIN, 0}, {connection.get(), POLLIN, 0}};
  const bool at_intervals = session.tracker && options_.push_interval.count() > 0;
  for (;;) {
    const int ready = ::poll(watched, 3, at_intervals ? static_cast<int>(options_.push_interval.count()) : kForever);
    if (ready < 0 && errno == EINTR) continue;
    if (watched[0].revents != 0) return;
    if (ready == 0 || watched[1].revents != 0) push_quietly(session);
    if (watched[1].revents != 0) return session_stop.request();
    if (watched[2].revents != 0 && !answer(session, connection.get())) {
      session.left = true;
      return session_stop.request();
    }
  }
}

// A request of the client's; false if it has left, or says what makes no sense.
bool PageServer::answer(Session& session, int connection) try {
  std::byte bytes[uffd::Header::kSize];
  if (read_full(connection, bytes, "a client") < sizeof bytes) return false;
  const auto header = uffd::parse_header(bytes);
  if (header.type != uffd::Type::push || header.length > 0 || !session.tracker) return false;
  std::uint64_t pushed = 0;
  int error = 0;
  try {
    pushed = session.tracker->push();
  } catch (const std::exception&) {
    error = errno_of_current_exception();
    log_warning(spoken(session.process) + ": push: " + text_of_current_exception());
  }
  send_with_fds(connection, uffd::pushed_message(error, pushed), {});
  return true;
} catch (const std::exception&) {
  return false;
}

void PageServer::push_quietly(Session& session) {
  if (session.tracker) try {
      session.tracker->push();
    } catch (const std::exception&) {
      const std::string error = text_of_current_exception();
      log_warning(spoken(session.process) + ": push: " + error);
      tool_.events().send(Json().add("event", "error").add("process", static_cast<std::uint64_t>(session.process))
                              .add("error", error));
    }
}

std::uint64_t PageServer::push() {
  std::vector<std::shared_ptr<WriteTracker>> trackers;
  {
    std::lock_guard lock(mutex_);
    for (const Session& session : sessions_)
      if (session.tracker) trackers.push_back(session.tracker);
  }
  std::uint64_t pushed = 0;
  std::exception_ptr error;
  for (const auto& tracker : trackers) try {
      pushed += tracker->push();
    } catch (...) {
      if (!error) error = std::current_exception();
    }
  if (error) std::rethrow_exception(error);
  return pushed;
}

void PageServer::pushed(std::uint64_t offset, std::uint64_t length) {
  pushed_bytes_ += length;
  std::lock_guard lock(mutex_);
  for (const Session& session : sessions_) session.pager->forget(offset, length);
}

void PageServer::serve_child(std::unique_ptr<ClientMemory> memory, pid_t parent) {
  const auto session = open(std::move(memory), 0, false);
  std::lock_guard lock(mutex_);
  if (closing_) {
    session->memory->poison_absent();
    return;  // the session ends with the server
  }
  clients_.spawn([this, session, parent] {
    Fd none;
    serve_session(*session, none, -1, Json().add("parent", static_cast<std::uint64_t>(parent)));
    close(session);
  });
}

void PageServer::report_poisoned(pid_t process, std::uint64_t address, std::uint64_t offset, int error,
                                 bool signalled) {
  const std::string text = std::strerror(error);
  log_warning(spoken(process) + ": the page at " + address_text(address) + " (byte " + std::to_string(offset) +
              " of the region) cannot be had: " + text + (signalled ? ": SIGBUS sent" : ": poisoned"));
  tool_.events().send(Json().add("event", "poisoned").add("process", static_cast<std::uint64_t>(process))
                          .add("address", address_text(address)).add("offset", offset).add("error", text));
}

Json PageServer::status() {
  std::lock_guard lock(mutex_);
  std::uint64_t faults = ended_faults_, read = ended_bytes_, present = 0, size = 0;
  for (const Session& session : sessions_) {
    faults += session.pager->counters().faults;
    read += session.pager->counters().read_bytes;
    present += session.memory->present();
    size += session.memory->size();
  }
  return Json().add("size", region_.size()).add("clients", std::uint64_t{sessions_.size()}).add("mapped", size)
      .add("present", present).add("faults", faults).add("bytes_read", read)
      .add("bytes_pushed", pushed_bytes_.load());
}

}  // namespace r3
