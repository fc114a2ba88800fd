// SPDX-License-Identifier: Apache-2.0
// One connection of an r3/1 server after its HELLO: one thread receives, answers what need not wait, and
// sends; worker threads do what has to wait. Replies that are ready overtake pieces of long ones, and those
// overtake background ones. Part of r3_server, which alone includes it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "libcommon/base/tasks.hpp"
#include "libcommon/net/r3_frame_reader.hpp"
#include "libcommon/net/r3_out.hpp"
#include "libcommon/net/r3_payload.hpp"
#include "libcommon/net/r3_server.hpp"

namespace r3 {

class R3Connection {
 public:
  R3Connection(R3Server& server, Link& link, bool sums, const R3Peer& peer, const Stop& stop);
  ~R3Connection();
  void run();

 private:
  // A request that is not answered yet. A READ's `data` are bytes from `done` on that wait to be sent.
  struct Job {
    wire::Header request;
    std::uint32_t done = 0;
    std::vector<std::byte> data;
    std::size_t taken = 0;  // of data
    std::uint16_t error = 0;
  };
  using Jobs = std::list<Job>;

  static constexpr std::size_t kOutLimit = 4 * wire::kPiece;  // beyond, no data are added
  static constexpr int kDrainTimeout = 1000;  // ms for a peer to take its last answers

  // r3_hello.cpp. False: it ended in good order.
  bool hello();
  bool receive_hello();
  std::uint16_t admit(const wire::Hello& hello);
  wire::Welcome welcome(std::uint32_t wanted_features);

  void receive();
  bool within_credits() const;
  void parse();
  void dispatch(const wire::Header& request, ConstBytes payload);
  void dispatch_read(const wire::Header& request);
  void dispatch_write(const wire::Header& request, ConstBytes payload);
  void check_request(const wire::Header& request) const;
  void dispatch_migration(const wire::Header& request, ConstBytes payload);
  void answer_status(const wire::Header& request);

  // r3_pieces.cpp
  void pump();
  bool send_piece(Jobs& queue);
  ConstBytes borrow_piece(const Job& job, std::uint32_t length);
  bool read_piece(Job& job, Bytes into);
  void append_piece(Job& job, std::byte* frame, ConstBytes piece);
  Jobs& queue_of(const wire::Header& request);

  void send();
  void append(const wire::Header& request, std::uint16_t error, ConstBytes payload = {},
              std::uint32_t aux = 0);
  void fail_job(const wire::Header& request);
  void account(const wire::Header& request, bool in);

  // r3_worker.cpp
  void hand_over(Jobs& from, Jobs::iterator job);
  void collect();
  void work();
  void do_job(Job& job);
  void do_hash(Job& job);
  void do_extents(Job& job);

  void wait();
  bool idle() const;

  R3Server& server_;
  Link& link_;
  const bool sums_;
  const R3Peer& peer_;
  const Stop& stop_;
  const R3Export* export_ = nullptr;
  Backend* backend_ = nullptr;
  R3Fence* fence_ = nullptr;
  std::uint64_t token_ = 0;  // of the client's session, for fence_
  bool read_only_ = false;
  bool may_write_ = false;  // as far as its key goes
  bool may_migrate_ = false;
  bool may_compress_ = false;
  R3Server::SlotName seat_;
  bool seated_ = false;

  wire::FrameReader reader_;
  wire::Packer packer_;
  wire::Unpacker unpacker_;
  std::vector<std::byte> unpacked_;
  OutQueue out_;
  std::uint64_t sequence_ = 0;  // of the next frame sent
  bool reading_ = true;
  bool stopping_ = false;  // the stop was seen; until then it is waited for
  std::uint32_t requests_ = 0;  // in flight
  std::uint64_t bytes_ = 0;     // in flight
  Jobs short_, long_, background_;  // READs to be sent, by rank
  wire::LinkRate rate_;

  Fd wake_;  // eventfd: finished_ is not empty
  std::mutex mutex_;
  std::condition_variable work_;
  Jobs urgent_, later_;        // guarded by mutex_: for the workers
  Jobs finished_;              // guarded by mutex_: from the workers
  unsigned idle_workers_ = 0;  // guarded by mutex_
  unsigned workers_ = 0;       // guarded by mutex_
  std::size_t with_workers_ = 0;  // jobs handed over and not collected
  bool ending_ = false;        // guarded by mutex_
  TaskGroup threads_;          // last: its threads use all of the above
};

}  // namespace r3
