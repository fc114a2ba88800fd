// SPDX-License-Identifier: Apache-2.0
// Backends that misbehave on request, for tests of what stands above them: Passing counts what comes
// through, Faulty fails the call it is told to, Gated holds calls back until the test lets them go.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3::test {

enum class Call { read, write, flush, zero, discard };

// Passes everything on, after before() has had its say. Never answers without waiting.
class PassingBackend : public Backend {
 public:
  explicit PassingBackend(std::unique_ptr<Backend> below) : below_(std::move(below)) {}

  std::uint64_t size() const override { return below_->size(); }
  std::uint64_t block_size() const override { return below_->block_size(); }
  bool read_only() const override { return below_->read_only(); }
  void read_at(Bytes into, std::uint64_t offset) override {
    before(Call::read, offset, into.size());
    below_->read_at(into, offset);
  }
  void write_at(ConstBytes from, std::uint64_t offset) override {
    before(Call::write, offset, from.size());
    below_->write_at(from, offset);
  }
  void flush() override {
    before(Call::flush, 0, 0);
    below_->flush();
  }
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override {
    before(Call::zero, offset, length);
    below_->zero_at(offset, length, how);
  }
  void discard_at(std::uint64_t offset, std::uint64_t length) override {
    before(Call::discard, offset, length);
    below_->discard_at(offset, length);
  }
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length,
                              std::size_t most) override {
    return below_->extents(offset, length, most);
  }
  void abandon() noexcept override { below_->abandon(); }

 protected:
  virtual void before(Call, std::uint64_t, std::uint64_t) {}

 private:
  std::unique_ptr<Backend> below_;
};

// Counts the calls of each kind and the bytes in them; refuses what is not in whole blocks, if told to.
class CountingBackend : public PassingBackend {
 public:
  explicit CountingBackend(std::unique_ptr<Backend> below, std::uint64_t block = 1)
      : PassingBackend(std::move(below)), block_(block) {}

  unsigned calls(Call call) const { return calls_[static_cast<std::size_t>(call)]; }
  std::uint64_t bytes(Call call) const { return bytes_[static_cast<std::size_t>(call)]; }

 protected:
  void before(Call call, std::uint64_t offset, std::uint64_t length) override {
    ++calls_[static_cast<std::size_t>(call)];
    bytes_[static_cast<std::size_t>(call)] += length;
    const bool whole = offset % block_ == 0 && (length % block_ == 0 || offset + length == size());
    if (!whole) fail(ENOTSUP, "not in whole blocks");
  }

 private:
  const std::uint64_t block_;
  std::atomic<unsigned> calls_[5]{};
  std::atomic<std::uint64_t> bytes_[5]{};
};

// Fails calls with an errno: from the `nth` call of that kind on (1: the next), `times` times.
class FaultyBackend : public PassingBackend {
 public:
  using PassingBackend::PassingBackend;

  void fail_from(Call call, unsigned nth, int error, unsigned times = 1) {
    std::lock_guard lock(mutex_);
    call_ = call;
    good_ = nth - 1;
    bad_ = times;
    error_ = error;
  }

 protected:
  void before(Call call, std::uint64_t, std::uint64_t) override {
    std::lock_guard lock(mutex_);
    if (call != call_ || bad_ == 0) return;
    if (good_ > 0) {
      --good_;
      return;
    }
    --bad_;
    fail(error_, "told to fail");
  }

 private:
  std::mutex mutex_;
  Call call_ = Call::read;  // all guarded by mutex_
  unsigned good_ = 0;
  unsigned bad_ = 0;
  int error_ = 0;
};

// While the gate is shut, calls of one kind wait at it; abandon() makes them fail with ESHUTDOWN.
class GatedBackend : public PassingBackend {
 public:
  using PassingBackend::PassingBackend;

  void shut(Call call) {
    std::lock_guard lock(mutex_);
    shut_ = true;
    call_ = call;
  }
  void open() {
    std::lock_guard lock(mutex_);
    shut_ = false;
    changed_.notify_all();
  }
  // Until `count` calls stand at the gate.
  void wait_for_waiting(unsigned count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ >= count; });
  }
  unsigned waiting() {
    std::lock_guard lock(mutex_);
    return waiting_;
  }
  void abandon() noexcept override {
    {
      std::lock_guard lock(mutex_);
      abandoned_ = true;
      changed_.notify_all();
    }
    PassingBackend::abandon();
  }

 protected:
  void before(Call call, std::uint64_t, std::uint64_t) override {
    std::unique_lock lock(mutex_);
    if (shut_ && call == call_) {
      ++waiting_;
      changed_.notify_all();
      changed_.wait(lock, [&] { return !shut_ || abandoned_; });
      --waiting_;
    }
    if (abandoned_) fail(ESHUTDOWN, "abandoned");
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Call call_ = Call::read;  // all guarded by mutex_
  bool shut_ = false;
  bool abandoned_ = false;
  unsigned waiting_ = 0;
};

// A server's page cache: what was not flushed is gone when it is lost. For one thread at a time; can be
// copied.
class VolatileBackend : public Backend {
 public:
  explicit VolatileBackend(std::uint64_t size) : now_(size), durable_(size) {}

  std::uint64_t size() const override { return now_.size(); }
  void read_at(Bytes into, std::uint64_t offset) override {
    check_read_range(size(), offset, into.size());
    std::copy_n(now_.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
  }
  void write_at(ConstBytes from, std::uint64_t offset) override {
    check_write_range(size(), offset, from.size());
    std::copy(from.begin(), from.end(), now_.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  void flush() override { durable_ = now_; }
  // The server is started anew.
  void lose() { now_ = durable_; }

 private:
  std::vector<std::byte> now_, durable_;
};

}  // namespace r3::test
