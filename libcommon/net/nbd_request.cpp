// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_request.hpp"

#include <cerrno>

#include "libcommon/base/error.hpp"

namespace r3::nbd::server {

namespace {

template <class Wire>
Request decode(ConstBytes bytes) {
  const auto& wire = *reinterpret_cast<const Wire*>(bytes.data());
  return {wire.flags, wire.type, wire.cookie, wire.offset, wire.length};
}

// FUA is allowed on every command, whether it writes or not.
std::uint16_t allowed_flags(const Request& request, Format format) {
  switch (request.type) {
    case kRead: return format == Format::simple ? kFua : kFua | kDf;
    case kWrite: return format == Format::extended ? kFua | kPayloadLength : kFua;
    case kWriteZeroes: return kFua | kNoHole | kFastZero;
    case kBlockStatus: return kFua | kReqOne;
    default: return kFua;
  }
}

bool changes_data(const Request& request) {
  return request.type == kWrite || request.type == kTrim || request.type == kWriteZeroes;
}

WireError judge_range(const Request& request, const Rules& rules) {
  const bool writes = request.type == kWrite || request.type == kWriteZeroes;
  if (request.offset > rules.size || request.length > rules.size - request.offset)
    return writes ? kENoSpc : kEInval;
  if (request.offset % rules.minimum_block || request.length % rules.minimum_block) return kEInval;
  const bool carries_data = request.type == kRead || request.type == kWrite;
  if (carries_data && request.length > rules.maximum_block) return kEInval;
  return kOk;
}

}  // namespace

std::optional<Request> parse_request(ConstBytes bytes, Format format) {
  if (bytes.size() < request_size(format)) return std::nullopt;
  const bool extended = format == Format::extended;
  if (load_be<std::uint32_t>(bytes.data()) != (extended ? kExtendedRequestMagic : kRequestMagic))
    throw ProtocolError("a request without its magic number");
  return extended ? decode<ExtendedRequest>(bytes) : decode<nbd::Request>(bytes);
}

std::uint64_t payload_size(const Request& request, Format format) {
  const bool flagged = format == Format::extended && request.has(kPayloadLength);
  return request.type == kWrite || flagged ? request.length : 0;
}

WireError judge(const Request& request, const Rules& rules) {
  if (request.type > kBlockStatus || request.type == kDisconnect) return kEInval;
  if (request.flags & ~allowed_flags(request, rules.format)) return kEInval;
  // The payload's length is what follows: without the flag the two ends may differ about that.
  if (request.type == kWrite && rules.format == Format::extended && !request.has(kPayloadLength))
    return kEInval;
  if (request.type == kFlush) return kOk;
  if (rules.read_only && changes_data(request)) return kEPerm;
  if (request.type == kBlockStatus && (!rules.allocation || request.length == 0)) return kEInval;
  return judge_range(request, rules);
}

WireError to_wire(int error, const Request& request) {
  switch (error) {
    case 0: return kOk;
    case EPERM: case EACCES: case EROFS: return kEPerm;
    case ENOMEM: return kENoMem;
    case EINVAL: return kEInval;
    case ENOSPC: case EDQUOT: case EFBIG: return kENoSpc;
    case EOPNOTSUPP: return request.type == kWriteZeroes && request.has(kFastZero) ? kENotSup : kEIo;
    case ESHUTDOWN: return kEShutdown;
    default: return kEIo;
  }
}

std::uint16_t transmission_flags(const Rules& rules) {
  unsigned flags = kHasFlags | kSendFlush | kSendFua | kSendCache;
  if (rules.multi_conn) flags |= kCanMultiConn;
  flags |= rules.read_only ? kReadOnly : kSendTrim | kSendWriteZeroes | kSendFastZero;
  if (rules.format != Format::simple) flags |= kSendDf;
  return static_cast<std::uint16_t>(flags);
}

}  // namespace r3::nbd::server
