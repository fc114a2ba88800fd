// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_session.hpp"

#include <sys/random.h>

#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3 {

R3Session::R3Session(R3Dial dial, const R3ClientOptions& options)
    : dial_(std::move(dial)),
      options_(options),
      outage_(options.io_timeout),
      unflushed_(options.replay_limit) {
  if (::getrandom(id_.data(), id_.size(), 0) != static_cast<ssize_t>(id_.size()))
    fail(errno, "getrandom");
}

void R3Session::end(int error) {
  if (dead_.exchange(error) == 0)
    log_error(options_.server + (error == ESTALE ? ": the server came back with another content or size"
                                                 : ": there is no way to connect again") +
              ": every access fails from now on; stop, and open the region anew");
  watch_.ring();
}

void R3Session::lost(const std::string& reason) {
  std::lock_guard lock(telling_);
  last_reason_ = reason;
  if (lost_++ > 0) return;
  const auto patience = options_.io_timeout.count();
  log_warning(options_.server + ": connection lost: " + reason + "; dialling again, " +
              (patience == 0 ? "requests wait until it is back"
                             : "requests fail after " + std::to_string(patience) + "ms"));
  if (options_.on_change) options_.on_change(false);
}

// A reason is said when it is another one than the last: somebody may have to do something about it.
void R3Session::still_lost(const std::string& reason) {
  std::lock_guard lock(telling_);
  if (lost_ == 0 || reason == last_reason_) return;
  last_reason_ = reason;
  log_warning(options_.server + ": not back yet: " + reason);
}

void R3Session::back() {
  std::lock_guard lock(telling_);
  if (--lost_ > 0) return;
  log_warning(options_.server + ": connected again");
  if (options_.on_change) options_.on_change(true);
}

wire::Hello R3Session::hello(std::uint32_t slot, std::uint32_t generation,
                             bool nearby) const {
  wire::Hello hello;
  const bool compress = options_.compress == Compress::yes ||
                        (options_.compress == Compress::remote && !nearby);
  hello.features = (compress ? wire::kFeatureZstd : 0u) | wire::kFeatureHash |
                   wire::kFeatureExtents | wire::kFeatureZero | wire::kFeatureDiscard |
                   wire::kFeatureFence | wire::kFeatureMigration;
  hello.session = id_;
  hello.slot = slot;
  hello.generation = generation;
  hello.flags = options_.read_only ? wire::kHelloReadOnly
                : options_.only_writer ? wire::kHelloOnlyWriter : 0;
  hello.name = options_.export_name;
  return hello;
}

void R3Session::welcomed(const wire::Welcome& welcome, const Replay& replay) {
  std::lock_guard lock(mutex_);
  if (welcome.token != 0) token_ = welcome.token;
  if (!known_) {
    welcome_ = welcome;
    verifier_ = welcome.verifier;
    known_ = true;
    return;
  }
  const bool lost = welcome.verifier != verifier_ && welcome.instance != welcome_.instance;
  if (lost || welcome.size != welcome_.size || welcome.block_size != welcome_.block_size ||
      welcome.max_transfer < welcome_.max_transfer || welcome.max_requests < welcome_.max_requests ||
      welcome.max_bytes < welcome_.max_bytes) {
    end(ESTALE);
    fail(ESTALE, options_.server + ": not the export of before");
  }
  if (welcome.verifier == verifier_) return;
  if (welcome.verifier != replaying_to_) replayed_ = 0;
  replaying_to_ = welcome.verifier;
  replay(unflushed_.changes(), replayed_);
  verifier_ = welcome.verifier;
}

void R3Session::begin_change(std::uint64_t offset, std::uint64_t length) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    return std::none_of(changing_.begin(), changing_.end(), [&](const Range& r) {
      return offset < r.offset + r.length && r.offset < offset + length;
    });
  });
  changing_.push_back({offset, length});
}

void R3Session::end_change(std::uint64_t offset, std::uint64_t length) noexcept {
  {
    std::lock_guard lock(mutex_);
    const auto range = std::find_if(changing_.begin(), changing_.end(), [&](const Range& r) {
      return r.offset == offset && r.length == length;
    });
    *range = changing_.back();
    changing_.pop_back();
  }
  changed_.notify_all();
}

bool R3Session::keep(const wire::Header& request, ConstBytes data, std::uint64_t verifier,
                     bool& full) {
  std::lock_guard lock(mutex_);
  if (verifier != verifier_) return false;
  ++changes_;
  if (welcome_.instance != 0) return true;  // nobody makes changes again to what is lost as a whole
  wire::Header again = request;
  again.flags &= static_cast<std::uint8_t>(~wire::kFast);
  unflushed_.push(again, data);
  full = unflushed_.full();
  return true;
}

std::optional<std::uint64_t> R3Session::flush_point() {
  std::lock_guard lock(mutex_);
  if (flushed_ && durable_ == changes_) return std::nullopt;
  return changes_;
}

bool R3Session::flushed(std::uint64_t point, std::uint64_t verifier) {
  std::lock_guard lock(mutex_);
  if (verifier != verifier_) return false;
  flushed_ = true;
  for (; durable_ < point; ++durable_) {
    if (unflushed_.empty()) continue;
    unflushed_.pop();
    if (replayed_ > 0) --replayed_;
  }
  return true;
}

}  // namespace r3
