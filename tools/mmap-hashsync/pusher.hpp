// SPDX-License-Identifier: Apache-2.0
// The source's side of the conversation: announces files, finds out by hashes what the destination has, sends
// chunks, ends epochs. Knows neither where changes come from nor how the destination keeps them.
#pragma once

#include <functional>
#include <map>

#include "tools/mmap-hashsync/link.hpp"
#include "tools/mmap-hashsync/scan.hpp"

namespace r3::sync {

class Pusher final : public Outlet {
 public:
  Pusher(Link& link, const Hasher& hasher) : link_(link), hasher_(hasher) {}

  // The destination begins to hash its copy. Each is to be followed by one compare(), in the same order;
  // no more than kAhead of them before that.
  static constexpr std::size_t kAhead = 32;
  void announce(std::uint32_t id, const Announcement& file);
  // `table` holds our hashes, and afterwards the destination's; the runs of chunks that differ.
  std::vector<Run> compare(std::uint32_t id, HashTable& table);
  // The same for a file that the destination knows: what it really holds, against what it should.
  std::vector<Run> verify(std::uint32_t id, HashTable& table);

  void resize(std::uint32_t id, std::uint64_t size, std::uint64_t generation);
  void send(Batch& batch) override;
  void forward(const Frame& frame, std::uint32_t id);
  // Waits until the destination has taken the epoch over.
  void commit();
  // Waits until the destination has finished.
  void bye(bool nothing_done = false);

  std::uint64_t epoch() const { return epoch_; }  // the next to be committed
  std::uint64_t chunks_sent() const { return chunks_sent_; }

 private:
  using Visit = std::function<void(std::uint64_t first, const std::vector<Hash>&)>;
  Frame answer(std::uint32_t id, unsigned level);
  void ask(std::uint32_t id, unsigned level, const std::vector<Two>& ranges, const Visit& visit);
  std::vector<Run> descend(std::uint32_t id, HashTable& table);

  Link& link_;
  const Hasher& hasher_;
  std::map<std::uint32_t, Hash> roots_;  // that came early
  std::uint64_t epoch_ = 1;
  std::atomic<std::uint64_t> chunks_in_epoch_{0};
  std::uint64_t chunks_sent_ = 0;
};

}  // namespace r3::sync
