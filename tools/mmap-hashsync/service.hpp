// SPDX-License-Identifier: Apache-2.0
// Connections one after the other, or many at once: dials and dials again, or listens; opens each, and hands it
// to whoever talks. What goes wrong with one peer is said, and harms no other.
#pragma once

#include <condition_variable>
#include <list>
#include <mutex>

#include "libcommon/base/tasks.hpp"
#include "tools/mmap-hashsync/options.hpp"
#include "tools/mmap-hashsync/report.hpp"

namespace r3::sync {

// One connection, greeted.
struct Peer {
  Connection& connection;
  Link& link;
  Hello theirs;
  const Hasher& hasher;
};

class Service {
 public:
  Service(Tool& tool, const Options& options, Role role);

  using Talk = std::function<void(Peer&)>;
  // As the options say, until the stop is requested or, with --once, one talk has ended.
  void run(const Talk& talk);
  // One peer that is there already.
  void talk_over(std::unique_ptr<Connection> connection, const Talk& talk);

  // Reads the keys again: who may not do any more what it may is cut. Throws, and changes nothing, if they
  // make no sense. Any thread.
  void reload();

  Report& report() { return report_; }
  const Hello& hello() const { return hello_; }
  const Stop& stop() const { return tool_.stop(); }
  const Stop& cut() const { return cut_; }
  // The first time only.
  void ready();

 private:
  void connect(const Address& address, const Talk& talk);
  void listen(const Talk& talk);
  void accept(Listener& listener, TaskGroup& threads, const Talk& talk);
  void serve(Channel channel, const Talk& talk);
  void greeted(Peer& peer, const Talk& talk);
  HashSecret secret_for(const Hello& ours, const Hello& theirs) const;
  void say(const char* event, const std::string& error = {});

  struct Live {
    std::uint64_t instance;
    Connection* connection;
  };
  std::list<Live>::iterator enter(std::uint64_t instance, Connection& connection);
  void leave(std::list<Live>::iterator live);

  Tool& tool_;
  const Options& options_;
  const Role role_;
  const Hello hello_;
  Report report_;
  std::optional<Bandwidth> bandwidth_;
  Stop cut_;         // of connections; a source's some time after the stop, so that its round can end
  TaskGroup grace_;
  std::atomic<bool> ready_{false};
  std::atomic<unsigned> connections_{0};
  std::shared_ptr<const Security> security() const;
  mutable std::mutex mutex_;
  std::shared_ptr<const Security> security_;  // guarded by mutex_
  std::condition_variable changed_;
  std::list<Live> live_;  // guarded by mutex_
};

}  // namespace r3::sync
