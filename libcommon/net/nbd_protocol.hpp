// SPDX-License-Identifier: Apache-2.0
// The bytes of NBD (github.com/NetworkBlockDevice/nbd, doc/proto.md, and its branch
// extension-ext-header), for both ends: numbers, and messages as they lie on the wire. The structs
// consist of bytes only: they may be laid over any buffer that is long enough. Knows no rule of the
// protocol, only its alphabet.
#pragma once

#include <array>

#include "libcommon/base/bytes.hpp"

namespace r3::nbd {

// An integer in network byte order, without alignment.
template <class Integer>
class Be {
 public:
  Be() = default;
  Be(Integer value) { store_be(raw_.data(), value); }
  operator Integer() const { return load_be<Integer>(raw_.data()); }

 private:
  std::array<std::byte, sizeof(Integer)> raw_{};
};
using Be16 = Be<std::uint16_t>;
using Be32 = Be<std::uint32_t>;
using Be64 = Be<std::uint64_t>;

inline constexpr std::uint64_t kHelloMagic = 0x4e42444d41474943;   // "NBDMAGIC"
inline constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr std::uint64_t kOptionReplyMagic = 0x0003e889045565a9;
inline constexpr std::uint32_t kRequestMagic = 0x25609513;
inline constexpr std::uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr std::uint32_t kStructuredReplyMagic = 0x668e33ef;
inline constexpr std::uint32_t kExtendedRequestMagic = 0x21e41c71;
inline constexpr std::uint32_t kExtendedReplyMagic = 0x6e8a278c;

inline constexpr std::uint32_t kLongestName = 4096;         // names, queries, descriptions
inline constexpr std::uint32_t kLongestPayload = 32 * MiB;  // what every peer has to take
inline constexpr std::uint16_t kPort = 10809;

// The server's handshake flags and the client's, which mean the same.
inline constexpr std::uint16_t kFixedNewstyle = 1 << 0;
inline constexpr std::uint16_t kNoZeroes = 1 << 1;

enum Option : std::uint32_t {
  kOptExportName = 1, kOptAbort = 2, kOptList = 3, kOptStartTls = 5, kOptInfo = 6, kOptGo = 7,
  kOptStructuredReply = 8, kOptListMetaContext = 9, kOptSetMetaContext = 10,
  kOptExtendedHeaders = 11,
};

inline constexpr std::uint32_t kRepError = 1U << 31;
enum OptionReplyType : std::uint32_t {
  kRepAck = 1, kRepServer = 2, kRepInfo = 3, kRepMetaContext = 4,
  kRepErrUnsupported = kRepError + 1, kRepErrPolicy = kRepError + 2,
  kRepErrInvalid = kRepError + 3, kRepErrPlatform = kRepError + 4,
  kRepErrTlsRequired = kRepError + 5, kRepErrUnknown = kRepError + 6,
  kRepErrShutdown = kRepError + 7, kRepErrBlockSizeRequired = kRepError + 8,
  kRepErrTooBig = kRepError + 9, kRepErrExtHeaderRequired = kRepError + 10,
};

enum Info : std::uint16_t { kInfoExport = 0, kInfoName = 1, kInfoDescription = 2, kInfoBlockSize = 3 };

enum TransmissionFlag : std::uint16_t {
  kHasFlags = 1 << 0, kReadOnly = 1 << 1, kSendFlush = 1 << 2, kSendFua = 1 << 3,
  kRotational = 1 << 4, kSendTrim = 1 << 5, kSendWriteZeroes = 1 << 6, kSendDf = 1 << 7,
  kCanMultiConn = 1 << 8, kSendResize = 1 << 9, kSendCache = 1 << 10, kSendFastZero = 1 << 11,
  kBlockStatusPayload = 1 << 12,
};

enum Command : std::uint16_t {
  kRead = 0, kWrite = 1, kDisconnect = 2, kFlush = 3, kTrim = 4, kCache = 5, kWriteZeroes = 6,
  kBlockStatus = 7, kResize = 8,
};

enum CommandFlag : std::uint16_t {
  kFua = 1 << 0, kNoHole = 1 << 1, kDf = 1 << 2, kReqOne = 1 << 3, kFastZero = 1 << 4,
  kPayloadLength = 1 << 5,
};

// Chunks of a structured or extended reply.
inline constexpr std::uint16_t kChunkDone = 1 << 0;  // flag: the last one of its reply
enum ChunkType : std::uint16_t {
  kChunkNone = 0, kChunkOffsetData = 1, kChunkOffsetHole = 2, kChunkBlockStatus = 5,
  kChunkBlockStatusExt = 6, kChunkError = (1 << 15) + 1, kChunkErrorOffset = (1 << 15) + 2,
};

inline constexpr std::uint32_t kStateHole = 1 << 0;  // of base:allocation
inline constexpr std::uint32_t kStateZero = 1 << 1;

// The only error numbers that may travel (they are Linux's).
enum WireError : std::uint32_t {
  kOk = 0, kEPerm = 1, kEIo = 5, kENoMem = 12, kEInval = 22, kENoSpc = 28, kEOverflow = 75,
  kENotSup = 95, kEShutdown = 108,
};

struct Hello { Be64 magic, version; Be16 flags; };
struct OptionRequest { Be64 magic; Be32 option, length; };
struct OptionReply { Be64 magic; Be32 option, type, length; };
struct ExportNameReply { Be64 size; Be16 flags; };  // then 124 zeroes without kNoZeroes
struct InfoExport { Be16 type; Be64 size; Be16 flags; };
struct InfoBlockSize { Be16 type; Be32 minimum, preferred, maximum; };
struct Request { Be32 magic; Be16 flags, type; Be64 cookie, offset; Be32 length; };
struct ExtendedRequest { Be32 magic; Be16 flags, type; Be64 cookie, offset, length; };
struct SimpleReply { Be32 magic, error; Be64 cookie; };
struct ChunkHeader { Be32 magic; Be16 flags, type; Be64 cookie; Be32 length; };
struct ExtendedChunkHeader { Be32 magic; Be16 flags, type; Be64 cookie, offset, length; };
struct HoleChunk { Be64 offset; Be32 length; };
struct ErrorChunk { Be32 error; Be16 message_length; };  // then the message (and an offset, Be64)
struct StatusDescriptor { Be32 length, flags; };          // after the context's id, Be32
struct ExtendedStatusDescriptor { Be64 length, flags; };  // after the id and a count, Be32 each

static_assert(sizeof(Hello) == 18 && sizeof(OptionRequest) == 16 && sizeof(OptionReply) == 20);
static_assert(sizeof(ExportNameReply) == 10 && sizeof(InfoExport) == 12);
static_assert(sizeof(InfoBlockSize) == 14 && sizeof(Request) == 28 && sizeof(SimpleReply) == 16);
static_assert(sizeof(ExtendedRequest) == 32 && sizeof(ChunkHeader) == 20);
static_assert(sizeof(ExtendedChunkHeader) == 32 && sizeof(HoleChunk) == 12);
static_assert(sizeof(ErrorChunk) == 6 && sizeof(StatusDescriptor) == 8);
static_assert(sizeof(ExtendedStatusDescriptor) == 16 && alignof(ExtendedRequest) == 1);

}  // namespace r3::nbd
