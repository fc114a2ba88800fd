// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/fuse_operations.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "libcommon/base/error.hpp"
#include "libcommon/device/fuse_server.hpp"

namespace r3 {
namespace {

// Nobody else changes what the kernel knows about the file.
constexpr double kAttributesAreValid = 1e9;  // seconds

thread_local Bytes thread_scratch;

FuseServer& server_of(fuse_req_t request) {
  return *static_cast<FuseServer*>(fuse_req_userdata(request));
}

// What an application knows how to take. A remote end has more ways to fail than a file does.
int file_error(int error) {
  switch (error) {
    case EACCES: case EDQUOT: case EFBIG: case EINVAL: case ENOMEM: case ENOSPC: case ENXIO:
    case EOPNOTSUPP: case EPERM: case EROFS:
      return error;
    default:
      return EIO;
  }
}

// The request dispatch: what `body` throws becomes the answer.
template <class Body>
void dispatch(fuse_req_t request, Body body) noexcept {
  try {
    body(server_of(request));
  } catch (...) {
    fuse_reply_err(request, file_error(errno_of_current_exception()));
  }
}

}  // namespace

// While one lives, its thread may wait for the backend and another one listens.
class FuseServer::Waiting {
 public:
  explicit Waiting(FuseServer& server) : server_(server) {
    ++server_.waiting_;
    if (--server_.listening_ == 0) server_.add_server();
  }
  ~Waiting() {
    ++server_.listening_;
    --server_.waiting_;
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  FuseServer& server_;
};

// A change by the backend. A flush that comes during it need not cover it, so only its end, however it
// ends, calls for the next one; the application hears of it after that.
class FuseServer::Change {
 public:
  explicit Change(FuseServer& server) : server_(server) {}
  ~Change() { server_.unflushed_ = true; }
  Change(const Change&) = delete;
  Change& operator=(const Change&) = delete;

 private:
  FuseServer& server_;
};

void FuseOperations::use_scratch(Bytes scratch) {
  thread_scratch = scratch;
}

void FuseOperations::init(void* userdata, fuse_conn_info* connection) {
  FuseServer& server = *static_cast<FuseServer*>(userdata);
  // Without O_TRUNC in open() truncation comes as a setattr, which is refused. No splice: it made 1
  // MiB reads slower. No writeback cache: the kernel would let the file grow.
  connection->want = connection->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO |
                                            FUSE_CAP_NO_OPEN_SUPPORT);
  if (server.options_.on_unused) connection->want &= ~unsigned{FUSE_CAP_NO_OPEN_SUPPORT};
  server.no_open_ = connection->want & FUSE_CAP_NO_OPEN_SUPPORT;
  connection->max_write = 1 * MiB;
  connection->max_readahead = 16 * MiB;  // only a limit; the device's own setting decides
  // Reading ahead and writing back must leave threads to those who wait for an answer.
  const unsigned background = std::max(server.options_.threads * 3 / 4, 4u);
  connection->max_background = background;
  connection->congestion_threshold = background;
  connection->time_gran = 1;
  server.agreed_ = true;
  server.begun_.request();
}

void FuseOperations::getattr(fuse_req_t request, fuse_ino_t, fuse_file_info*) {
  FuseServer& server = server_of(request);
  const std::lock_guard lock(server.attributes_mutex_);
  server.attributes_.st_mtim.tv_sec = server.attributes_.st_ctim.tv_sec = server.modified_;
  fuse_reply_attr(request, &server.attributes_, kAttributesAreValid);
}

// Who may do this the kernel has checked (default_permissions).
void FuseOperations::setattr(fuse_req_t request, fuse_ino_t node, struct stat* wanted, int what,
                             fuse_file_info* file) {
  FuseServer& server = server_of(request);
  {
    const std::lock_guard lock(server.attributes_mutex_);
    struct stat& now = server.attributes_;
    if ((what & FUSE_SET_ATTR_SIZE) && wanted->st_size != now.st_size) {
      fuse_reply_err(request, EPERM);  // a region has one size: no program may believe otherwise
      return;
    }
    if (what & FUSE_SET_ATTR_MODE) now.st_mode = S_IFREG | (wanted->st_mode & 07777u);
    if (what & FUSE_SET_ATTR_UID) now.st_uid = wanted->st_uid;
    if (what & FUSE_SET_ATTR_GID) now.st_gid = wanted->st_gid;
    if (what & FUSE_SET_ATTR_ATIME) now.st_atim = wanted->st_atim;
    if (what & FUSE_SET_ATTR_MTIME) server.modified_ = wanted->st_mtim.tv_sec;
    if (what & FUSE_SET_ATTR_MTIME_NOW) server.modified_ = ::time(nullptr);
  }
  getattr(request, node, file);
}

// Asked by kernels only that cannot be told not to ask (FUSE_CAP_NO_OPEN_SUPPORT), or once. What
// the kernel has cached stays valid from one open to the next.
void FuseOperations::open(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  if (server_of(request).no_open_) return void(fuse_reply_err(request, ENOSYS));
  ++server_of(request).opens_;
  file->keep_cache = 1;
  fuse_reply_open(request, file);
}

void FuseOperations::release(fuse_req_t request, fuse_ino_t, fuse_file_info*) {
  FuseServer& server = server_of(request);
  const bool last = --server.opens_ == 0;
  fuse_reply_err(request, 0);
  if (last && server.options_.on_unused) server.options_.on_unused();
}

void FuseOperations::read(fuse_req_t request, fuse_ino_t, size_t size, off_t at, fuse_file_info*) {
  dispatch(request, [=](FuseServer& server) {
    const std::uint64_t offset = static_cast<std::uint64_t>(at);
    const std::uint64_t end = server.backend_.size();
    const std::size_t length = offset < end ? std::min<std::uint64_t>(size, end - offset) : 0;
    if (length > thread_scratch.size()) fail(EINVAL, "read");
    ConstBytes bytes = server.backend_.borrow(offset, length);
    if (bytes.size() != length) {
      const Bytes scratch = thread_scratch.first(length);
      if (!server.backend_.try_read_at(scratch, offset)) {
        const FuseServer::Waiting waiting(server);
        server.backend_.read_at(scratch, offset);
      }
      bytes = scratch;
    }
    ++server.reads_;
    server.read_bytes_ += length;
    fuse_reply_buf(request, reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
}

void FuseOperations::write(fuse_req_t request, fuse_ino_t, const char* data, size_t size, off_t at,
                           fuse_file_info*) {
  FuseServer& server = server_of(request);
  dispatch(request, [=, &server](FuseServer&) {
    const std::uint64_t offset = static_cast<std::uint64_t>(at);
    const std::uint64_t end = server.backend_.size();
    // Like a block device: as much as there is room for, then ENOSPC.
    if (offset >= end && size > 0) fail(ENOSPC, "write");
    const std::size_t length = std::min<std::uint64_t>(size, end - offset);
    const ConstBytes bytes = std::as_bytes(std::span(data, length));
    server.lost_bytes_ += length;  // until it is done
    {
      const FuseServer::Change change(server);
      if (!server.backend_.try_write_at(bytes, offset)) {
        const FuseServer::Waiting waiting(server);
        server.backend_.write_at(bytes, offset);
      }
    }
    server.lost_bytes_ -= length;
    ++server.writes_;
    server.written_bytes_ += length;
    server.modified_ = ::time(nullptr);
    fuse_reply_write(request, length);
  });
  forget_cut_page(server, static_cast<std::uint64_t>(at) + size);
}

// After a write that ended past the end, in a page of which only a part is in the file: Linux then takes its copy of
// the page for wrong, but leaves it mapped, so what a mapping changes there would be lost with the next read. To
// forget the page writes it out first, for which another thread listens.
void FuseOperations::forget_cut_page(FuseServer& server, std::uint64_t written) noexcept {
  static const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t end = server.backend_.size();
  if (written <= end || end % page == 0) return;
  const FuseServer::Waiting waiting(server);
  fuse_lowlevel_notify_inval_inode(server.session_, FUSE_ROOT_ID,
                                   static_cast<off_t>(end / page * page), static_cast<off_t>(page));
}

void FuseOperations::fsync(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) {
  dispatch(request, [=](FuseServer& server) {
    const FuseServer::Waiting waiting(server);
    const int error = server.flush();
    fuse_reply_err(request, error == 0 ? 0 : file_error(error));
  });
}

void FuseOperations::fallocate(fuse_req_t request, fuse_ino_t, int mode, off_t at, off_t size,
                               fuse_file_info*) {
  dispatch(request, [=](FuseServer& server) {
    const std::uint64_t offset = static_cast<std::uint64_t>(at);
    const std::uint64_t length = static_cast<std::uint64_t>(size);
    check_write_range(server.backend_.size(), offset, length);
    const int kind = mode & ~FALLOC_FL_KEEP_SIZE;
    if (kind != 0 && kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE)
      fail(EOPNOTSUPP, "fallocate");
    if (kind != 0) {  // room for every byte of a region there is already
      const FuseServer::Change change(server);
      const FuseServer::Waiting waiting(server);
      server.backend_.zero_at(offset, length, {.keep_allocated = kind == FALLOC_FL_ZERO_RANGE});
    }
    fuse_reply_err(request, 0);
  });
}

void FuseOperations::lseek(fuse_req_t request, fuse_ino_t, off_t at, int whence, fuse_file_info*) {
  dispatch(request, [=](FuseServer& server) {
    const std::uint64_t end = server.backend_.size();
    std::uint64_t offset = static_cast<std::uint64_t>(at);
    if (whence != SEEK_DATA && whence != SEEK_HOLE) fail(EINVAL, "lseek");
    if (at < 0 || offset >= end) fail(ENXIO, "lseek");
    const FuseServer::Waiting waiting(server);
    while (offset < end) {
      for (const Extent& extent : server.backend_.extents(offset, end - offset, 1024)) {
        if (extent.hole == (whence == SEEK_HOLE))
          return void(fuse_reply_lseek(request, static_cast<off_t>(extent.offset)));
        offset = extent.offset + extent.length;
      }
    }
    if (whence == SEEK_DATA) fail(ENXIO, "lseek");
    fuse_reply_lseek(request, static_cast<off_t>(end));
  });
}

void FuseOperations::statfs(fuse_req_t request, fuse_ino_t) {
  struct statvfs status{};
  status.f_bsize = status.f_frsize = 4096;
  status.f_blocks = server_of(request).backend_.size() / 4096;
  status.f_files = 1;
  status.f_namemax = 255;
  fuse_reply_statfs(request, &status);
}

const fuse_lowlevel_ops& FuseOperations::table() {
  static const fuse_lowlevel_ops operations = [] {
    fuse_lowlevel_ops table{};
    table.init = init;
    table.getattr = getattr;
    table.setattr = setattr;
    table.open = open;
    table.release = release;
    table.read = read;
    table.write = write;
    table.fsync = fsync;
    table.fallocate = fallocate;
    table.lseek = lseek;
    table.statfs = statfs;
    return table;
  }();
  return operations;
}

}  // namespace r3
