// SPDX-License-Identifier: Apache-2.0
// An r3/1 server in this process for tests: each dial is a socket pair with a thread at its other end. It can
// be killed (all connections break off) and started again. And a link to put between, to be derived from.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/tasks.hpp"
#include "libcommon/net/r3_client.hpp"
#include "libcommon/net/r3_link.hpp"
#include "libcommon/net/r3_server.hpp"

namespace r3::test {

// Passes everything on.
class PassingLink : public Link {
 public:
  explicit PassingLink(std::unique_ptr<Link> below) : below_(std::move(below)) {}
  std::optional<std::size_t> read_some(Bytes into) override { return below_->read_some(into); }
  std::size_t write_some(std::span<const iovec> parts) override { return below_->write_some(parts); }
  bool push() override { return below_->push(); }
  bool holds_input() const override { return below_->holds_input(); }
  void finish() noexcept override { below_->finish(); }
  int input() const override { return below_->input(); }
  int output() const override { return below_->output(); }
  void shut_down() noexcept override { below_->shut_down(); }

 private:
  const std::unique_ptr<Link> below_;
};

class R3Host {
 public:
  explicit R3Host(std::vector<R3Export> exports, R3ServerOptions options = {})
      : exports_(std::move(exports)), options_(options) { start(); }
  ~R3Host() { kill(); }

  void start() {
    std::lock_guard lock(mutex_);
    server_ = std::make_unique<R3Server>(exports_, options_);
    threads_ = std::make_unique<TaskGroup>();
  }

  // As kill -9: what has been received may or may not be done, no answer gets out.
  void kill() {
    std::unique_ptr<TaskGroup> threads;
    {
      std::lock_guard lock(mutex_);
      for (const auto& link : links_)
        if (const auto alive = link.lock()) alive->shut_down();
      links_.clear();
      threads = std::move(threads_);
    }
    threads.reset();
  }

  // As TERM: what has been received is answered, then connections end; nobody cuts them.
  void stop() {
    std::unique_ptr<TaskGroup> threads;
    {
      std::lock_guard lock(mutex_);
      threads = std::move(threads_);
    }
    threads.reset();
  }

  R3Dial dial() {
    return [this](const Stop&, std::chrono::steady_clock::time_point) {
      SocketPair pair = make_socket_pair();
      std::lock_guard lock(mutex_);
      if (!threads_) fail(ECONNREFUSED, "host");
      std::shared_ptr<Link> link = make_plain_link(Channel(std::move(pair.theirs)));
      links_.push_back(link);
      threads_->spawn([this, link, &stop = threads_->stop()] {
        try {
          server_->serve(*link, true, {}, stop);
        } catch (const std::exception&) {
          // The client sees the end of the connection.
        }
        link->shut_down();
      });
      return R3Dialled{make_plain_link(Channel(std::move(pair.ours))), true};
    };
  }

  std::unique_ptr<R3Client> client(R3ClientOptions options = {}) {
    return std::make_unique<R3Client>(dial(), options);
  }
  R3Server& server() { return *server_; }
  void replace(std::vector<R3Export> exports) { exports_ = std::move(exports); }

 private:
  std::vector<R3Export> exports_;
  const R3ServerOptions options_;
  std::mutex mutex_;
  std::unique_ptr<R3Server> server_;  // guarded by mutex_
  std::vector<std::weak_ptr<Link>> links_;  // guarded by mutex_
  std::unique_ptr<TaskGroup> threads_;  // guarded by mutex_
};

}  // namespace r3::test
