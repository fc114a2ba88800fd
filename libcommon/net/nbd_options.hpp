// SPDX-License-Identifier: Apache-2.0
// The data of handshake options, as a client sends it, and of the replies. Pure; lengths that do not
// add up are an outcome, not an exception.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libcommon/net/nbd_protocol.hpp"
#include "libcommon/net/nbd_server.hpp"

namespace r3::nbd::server {

// Of INFO and GO. Views into the option's data.
struct InfoRequest {
  std::string_view name;
  ConstBytes types;  // Be16 each

  bool wants(Info type) const;
};
std::optional<InfoRequest> parse_info_request(ConstBytes data);

// Of LIST_META_CONTEXT and SET_META_CONTEXT.
struct MetaRequest {
  std::string_view name;
  std::vector<std::string_view> queries;

  bool selects_allocation() const;
  bool lists_allocation() const;  // no query at all asks for everything
};
std::optional<MetaRequest> parse_meta_request(ConstBytes data);

std::vector<std::byte> option_reply(std::uint32_t option, std::uint32_t type, ConstBytes data);
std::vector<std::byte> info_text(Info type, std::string_view text);
// base:allocation; only a selection gives it its id.
std::vector<std::byte> meta_context_reply(bool selected);

// The block size that suits an export best.
std::uint32_t preferred_block(const NbdExport& exported, const NbdServerOptions& options);

}  // namespace r3::nbd::server
