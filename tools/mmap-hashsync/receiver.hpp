// SPDX-License-Identifier: Apache-2.0
// The destination's side of the conversation: answers with hashes, checks every chunk against its hash before
// anybody sees it, hands it to an inbox. Believes nothing that the source says.
#pragma once

#include <map>

#include "tools/mmap-hashsync/inbox.hpp"
#include "tools/mmap-hashsync/link.hpp"
#include "tools/mmap-hashsync/report.hpp"

namespace r3::sync {

class Receiver {
 public:
  Receiver(Link& link, Inbox& inbox, const Hasher& hasher, Report& report)
      : link_(link), inbox_(inbox), hasher_(hasher), report_(report) {}

  // Until the source says bye. What goes wrong is told to the source, then thrown.
  void run();

 private:
  struct File {
    Geometry geometry;
    bool shrunk = false;  // in this epoch: it must not grow again before the next
    std::optional<HashTable> table;
  };
  bool handle(const Frame& frame);
  void open(const Frame& frame);
  void answer(const Frame& frame);
  void resize(const Frame& frame);
  void take(const Frame& frame);
  void commit(const Frame& frame);
  File& file(const Frame& frame);
  void send_hashes(std::uint32_t id, unsigned level, const Two& range);

  Link& link_;
  Inbox& inbox_;
  const Hasher& hasher_;
  Report& report_;
  std::map<std::uint32_t, File> files_;
  wire::Unpacker unpacker_;
  std::vector<std::byte> unpacked_;
  std::uint64_t epoch_ = 1;
  std::uint64_t chunks_ = 0;  // in this epoch
};

// Tells the peer why the connection ends, if it still listens.
void say_error(Link& link, std::string_view text, bool may_retry) noexcept;

}  // namespace r3::sync
