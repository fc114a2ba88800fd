// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_inbox.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "libcommon/base/error.hpp"

namespace r3::nbd::server {

Inbox::Inbox() : memory_(Mapping::anonymous(kLongest + kReceive)) {}

void Inbox::use(std::size_t size) {
  begin_ += size;
  if (begin_ == end_) begin_ = end_ = 0;
}

Bytes Inbox::room(std::size_t size, std::size_t whole) {
  const auto memory = memory_.bytes();
  const auto wanted = std::max(begin_ + whole, end_ + size);
  if (wanted > memory.size()) {
    std::memmove(memory.data(), &memory[begin_], end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  return memory.subspan(end_, size);
}

void Inbox::release() {
  if (begin_ == end_) ::madvise(memory_.bytes().data(), memory_.bytes().size(), MADV_DONTNEED);
}

Payload Payload::in_memory(ConstBytes copied) {
  Payload payload;
  payload.memory_ = std::make_unique_for_overwrite<std::byte[]>(copied.size());
  payload.size_ = copied.size();
  std::memcpy(payload.memory_.get(), copied.data(), copied.size());
  return payload;
}

Payload Payload::in_file() {
  const char* chosen = std::getenv("TMPDIR");
  const std::string directory = chosen && *chosen ? chosen : "/var/tmp";
  Payload payload;
  payload.file_.reset(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!payload.file_.valid() && (errno == EOPNOTSUPP || errno == EISDIR)) {
    // A file system without files that have no name.
    auto name = directory + "/nbd-XXXXXX";
    payload.file_.reset(::mkostemp(name.data(), O_CLOEXEC));
    if (payload.file_.valid()) ::unlink(name.c_str());
  }
  if (!payload.file_.valid()) fail(errno, directory);
  return payload;
}

void Payload::append(ConstBytes bytes) {
  pwrite_full(file_.get(), bytes, size_, "temporary file");
  size_ += bytes.size();
}

void Payload::fill(Bytes bytes, std::uint64_t position) const {
  if (pread_full(file_.get(), bytes, position, "temporary file") < bytes.size())
    fail(EIO, "temporary file");
}

}  // namespace r3::nbd::server
