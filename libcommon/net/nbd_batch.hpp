// SPDX-License-Identifier: Apache-2.0
// Replies that are ready, collected until one sendmsg sends them all. Their data is not copied: it lies
// in the backend's own memory (borrowed) or in the batch's scratch memory. Belongs to the thread that
// receives; others send on their own.
#pragma once

#include <vector>

#include "libcommon/base/mapping.hpp"
#include "libcommon/net/nbd_read.hpp"

namespace r3::nbd::server {

class Batch {
 public:
  explicit Batch(Session& session);

  // The end of a reply, or a whole one without data.
  void add_end(const Request& request, WireError error);
  // `data` stays where it is until flush(). What is borrowed may turn out to be unreadable (a mapped
  // file that shrank): `may_fault` keeps the reply open for an error until its data has been sent.
  void add_data(const Request& request, Chunk chunk, ConstBytes data, bool may_fault);
  void add_hole(const Request& request, const Chunk& chunk);
  // A whole reply made elsewhere, up to kScratch.
  void add_copy(ConstBytes message);

  // Room for the data of the next add_data(), up to kScratch; sends what is there if need be.
  Bytes scratch(std::size_t size);
  // Makes sure that the next `units` calls do not send: for a reply of several chunks that may fault,
  // which must stay together.
  void reserve(std::size_t units);

  void flush();
  // Gives memory back to the system; the batch must be empty.
  void release();

  static constexpr std::size_t kScratch = 128 * KiB;

 private:
  struct Unit {
    std::size_t head_begin = 0;
    std::size_t head_size = 0;
    ConstBytes data = {};
    bool may_fault = false;
    Chunk chunk = {};         // if it may fault
    Request request = {};     // if it may fault
    std::uint64_t reply = 0;  // counts: units of one reply have the same
  };
  std::byte* head_end() { return &heads_.bytes()[head_end_]; }
  Unit& add(std::size_t head_size, bool ends_reply);
  void send_one_by_one(std::uint64_t sent, std::unique_lock<std::mutex>& turn);

  Session& session_;
  Mapping heads_;
  Mapping scratch_;
  std::size_t head_end_ = 0;
  std::size_t scratch_end_ = 0;
  std::uint64_t reply_ = 0;
  std::vector<Unit> units_;
  std::vector<iovec> parts_;
};

}  // namespace r3::nbd::server
