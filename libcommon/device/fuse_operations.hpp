// SPDX-License-Identifier: Apache-2.0
// The operations of FuseServer, as libfuse's low-level interface calls them: what each request of
// the kernel means for a region of fixed size. Private to the fuse driver.
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include "libcommon/base/bytes.hpp"

namespace r3 {

class FuseServer;

struct FuseOperations {
  static const fuse_lowlevel_ops& table();
  // Where the calling thread puts what it reads; page-aligned, as long as the longest request.
  static void use_scratch(Bytes scratch);

  static void init(void* server, fuse_conn_info* connection);
  static void getattr(fuse_req_t, fuse_ino_t, fuse_file_info*);
  static void setattr(fuse_req_t, fuse_ino_t, struct stat*, int what, fuse_file_info*);
  static void open(fuse_req_t, fuse_ino_t, fuse_file_info*);
  static void release(fuse_req_t, fuse_ino_t, fuse_file_info*);
  static void read(fuse_req_t, fuse_ino_t, size_t, off_t, fuse_file_info*);
  static void write(fuse_req_t, fuse_ino_t, const char*, size_t, off_t, fuse_file_info*);
  static void fsync(fuse_req_t, fuse_ino_t, int, fuse_file_info*);
  static void fallocate(fuse_req_t, fuse_ino_t, int mode, off_t, off_t, fuse_file_info*);
  static void lseek(fuse_req_t, fuse_ino_t, off_t, int whence, fuse_file_info*);
  static void statfs(fuse_req_t, fuse_ino_t);

 private:
  static void forget_cut_page(FuseServer& server, std::uint64_t written) noexcept;
};

}  // namespace r3
