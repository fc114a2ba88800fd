// SPDX-License-Identifier: Apache-2.0
// The part of a connection that waits in backends: its worker threads and what they do.
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_connection.hpp"
#include "libcommon/net/r3_errors.hpp"
#include "libcommon/net/r3_migration.hpp"

namespace r3 {

using namespace wire;

namespace {

constexpr std::uint32_t kWorkerRead = 1 * MiB;  // read at once for a long READ

}  // namespace

void R3Connection::hand_over(Jobs& from, Jobs::iterator job) {
  const bool background = (job->request.flags & kBackground) != 0;
  bool start = false;
  {
    std::lock_guard lock(mutex_);
    Jobs& to = background ? later_ : urgent_;
    to.splice(to.end(), from, job);
    const std::size_t waiting = urgent_.size() + later_.size();
    start = waiting > idle_workers_ && workers_ < server_.options().workers;
    if (start) ++workers_;
  }
  ++with_workers_;
  if (start) threads_.spawn([this] { work(); });
  else work_.notify_one();
}

void R3Connection::collect() {
  if (with_workers_ == 0) return;
  Jobs done;
  {
    std::lock_guard lock(mutex_);
    done.swap(finished_);
  }
  while (!done.empty()) {
    const auto job = done.begin();
    --with_workers_;
    const auto type = static_cast<Type>(job->request.type);
    if (type == Type::read && job->error == 0) {
      Jobs& queue = queue_of(job->request);
      queue.splice(queue.end(), done, job);
      continue;
    }
    const bool has_answer = type == Type::extents || type == Type::hash || is_migration(type);
    append(job->request, job->error,
           has_answer && job->error == 0 ? ConstBytes(job->data) : ConstBytes());
    done.erase(job);
  }
}

void R3Connection::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_workers_;
    work_.wait(lock, [&] { return ending_ || !urgent_.empty() || !later_.empty(); });
    --idle_workers_;
    if (ending_) return;
    Jobs mine;
    Jobs& from = urgent_.empty() ? later_ : urgent_;
    mine.splice(mine.end(), from, from.begin());
    lock.unlock();
    do_job(mine.front());
    lock.lock();
    finished_.splice(finished_.end(), mine);
    const std::uint64_t one = 1;
    [[maybe_unused]] auto n = ::write(wake_.get(), &one, sizeof one);
  }
}

void R3Connection::do_job(Job& job) {
  const Header& r = job.request;
  const std::uint64_t length = r.length | std::uint64_t{r.aux} << 32;
  const auto type = static_cast<Type>(r.type);
  try {
    std::optional<R3Fence::Change> change;
    if (type == Type::write || type == Type::zero || type == Type::discard) change.emplace(*fence_, token_);
    switch (type) {
      case Type::read:
        job.data.resize(std::min(r.length - job.done, kWorkerRead));
        job.taken = 0;
        backend_->read_at(job.data, r.offset + job.done);
        break;
      case Type::write: backend_->write_at(job.data, r.offset); break;
      case Type::zero:
        backend_->zero_at(r.offset, length,
                          {.keep_allocated = (r.flags & kKeep) != 0,
                           .only_if_fast = (r.flags & kFast) != 0});
        break;
      case Type::discard: backend_->discard_at(r.offset, length); break;
      case Type::flush: backend_->flush(); break;
      case Type::extents: do_extents(job); break;
      case Type::hash: do_hash(job); break;
      default:
        if (!is_migration(static_cast<Type>(r.type))) fail(EOPNOTSUPP, "request");
        job.data = encode(export_->migration->answer(static_cast<Type>(r.type),
                                                     decode_migration_request(job.data)));
    }
  } catch (...) {
    job.error = wire_error(errno_of_current_exception());
  }
}

void R3Connection::do_extents(Job& job) {
  const Header& r = job.request;
  const std::uint64_t length = r.length | std::uint64_t{r.aux} << 32;
  const auto found = backend_->extents(r.offset, length, kMaxExtents);
  job.data.resize(found.size() * 16);
  std::byte* at = job.data.data();
  for (const Extent& extent : found) {
    store_le(at, extent.length);
    store_le(at + 8, (extent.hole ? 1u : 0u) | (extent.zero ? 2u : 0u));
    store_le(at + 12, std::uint32_t{0});
    at += 16;
  }
}

void R3Connection::do_hash(Job& job) {
  const Header& r = job.request;
  if (r.aux < 512 || r.aux > kMaxTransfer || r.length > kMaxHashRange ||
      (std::uint64_t{r.length} + r.aux - 1) / r.aux > kMaxHashes)
    fail(EINVAL, "HASH");
  std::vector<std::byte> chunk;
  for (std::uint64_t done = 0; done < r.length; done += r.aux) {
    chunk.resize(std::min<std::uint64_t>(r.aux, r.length - done));
    backend_->read_at(chunk, r.offset + done);
    const auto hash = chunk_hash(chunk);
    job.data.insert(job.data.end(), hash.begin(), hash.end());
  }
}

}  // namespace r3
