// SPDX-License-Identifier: Apache-2.0
// remote_memory.h: the class as C sees it, where exceptions become errno.
#include <algorithm>
#include <cstring>

#include "libcommon/base/error.hpp"
#include "libcommon/device/remote_memory.h"
#include "libcommon/device/remote_memory.hpp"

struct r3_memory {
  r3::RemoteMemory memory;
};

r3_memory* r3_memory_open(const char* address, int writable, char* why, size_t length) try {
  r3::RemoteMemory::Options options;
  options.writable = writable != 0;
  return new r3_memory{{address, std::move(options)}};
} catch (...) {
  const int error = r3::errno_of_current_exception();
  const std::string text = r3::text_of_current_exception();
  if (why != nullptr && length > 0) {
    const auto count = std::min(length - 1, text.size());
    std::memcpy(why, text.data(), count);
    why[count] = '\0';
  }
  errno = error;
  return nullptr;
}

void* r3_memory_bytes(const r3_memory* memory) {
  return memory->memory.bytes().data();
}

size_t r3_memory_size(const r3_memory* memory) {
  return memory->memory.bytes().size();
}

int64_t r3_memory_push(r3_memory* memory) try {
  return static_cast<int64_t>(memory->memory.push());
} catch (...) {
  errno = r3::errno_of_current_exception();
  return -1;
}

void r3_memory_close(r3_memory* memory) {
  delete memory;
}
