// SPDX-License-Identifier: Apache-2.0
// The part of an r3/1 client that moves a region.
#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_client.hpp"
#include "libcommon/net/r3_migration.hpp"
#include "libcommon/net/r3_session.hpp"
#include "libcommon/net/r3_slot.hpp"

namespace r3 {

wire::MigrationReply R3Client::ask(wire::Type type, const wire::MigrationRequest& request) {
  if ((session_->welcome().features & wire::kFeatureMigration) == 0)
    fail(EOPNOTSUPP, "the server is no seeder, or this client may only read");
  const std::vector<std::byte> payload = encode(request);
  R3Call call;
  call.request.type = static_cast<std::uint8_t>(type);
  call.payload = payload;
  pick().start(call, false);
  wait(call);
  return wire::decode_migration_reply(call.answer);
}

}  // namespace r3
