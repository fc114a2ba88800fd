// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/ublk_request.hpp"

#include <cerrno>

#include "libcommon/base/error.hpp"
#include "libcommon/device/block_node.hpp"

namespace r3 {

namespace {

constexpr std::uint32_t kOperation = 0xff;  // the bits of op_flags that say what to do

int success(const UblkRequest& request) { return request.has_data() ? static_cast<int>(request.length) : 0; }

void act(Backend& backend, const UblkRequest& request, Bytes data) {
  switch (request.operation) {
    case UBLK_IO_OP_READ: return backend.read_at(data, request.offset);
    case UBLK_IO_OP_WRITE: backend.write_at(data, request.offset); break;
    case UBLK_IO_OP_FLUSH: return backend.flush();
    case UBLK_IO_OP_DISCARD: return backend.discard_at(request.offset, request.length);
    case UBLK_IO_OP_WRITE_ZEROES:
      backend.zero_at(request.offset, request.length, {.keep_allocated = request.has(UBLK_IO_F_NOUNMAP)});
      break;
    default: fail(EOPNOTSUPP, "ublk");
  }
  if (request.has(UBLK_IO_F_FUA)) backend.flush();
}

bool try_act(Backend& backend, const UblkRequest& request, Bytes data) {
  if (backend.never_waits()) {
    act(backend, request, data);
    return true;
  }
  if (request.operation == UBLK_IO_OP_READ) return backend.try_read_at(data, request.offset);
  const bool plain_write = request.operation == UBLK_IO_OP_WRITE && !request.has(UBLK_IO_F_FUA);
  return plain_write && backend.try_write_at(data, request.offset);
}

// -errno of the exception being handled; 0 would be success.
int failure() noexcept {
  const int error = errno_of_current_exception();
  return error > 0 ? -error : -EIO;
}

}  // namespace

UblkRequest parse_ublk_request(const ublksrv_io_desc& descriptor) {
  return {descriptor.op_flags & kOperation, descriptor.op_flags & ~kOperation,
          descriptor.start_sector * kSectorSize, std::uint64_t{descriptor.nr_sectors} * kSectorSize};
}

int answer_ublk_request(Backend& backend, const UblkRequest& request, Bytes buffer) noexcept {
  if (request.has_data() && request.length > buffer.size()) return -EINVAL;
  try {
    act(backend, request, request.has_data() ? buffer.first(request.length) : Bytes());
    return success(request);
  } catch (...) {
    return failure();
  }
}

std::optional<int> try_answer_ublk_request(Backend& backend, const UblkRequest& request, Bytes buffer) noexcept {
  if (request.has_data() && request.length > buffer.size()) return -EINVAL;
  try {
    if (!try_act(backend, request, request.has_data() ? buffer.first(request.length) : Bytes()))
      return std::nullopt;
    return success(request);
  } catch (...) {
    return failure();
  }
}

}  // namespace r3
