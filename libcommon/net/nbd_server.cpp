// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_server.hpp"

#include <algorithm>
#include <bit>
#include <deque>
#include <set>
#include <stdexcept>

#include "libcommon/net/nbd_handshake.hpp"
#include "libcommon/net/nbd_protocol.hpp"
#include "libcommon/net/nbd_transmission.hpp"

namespace r3 {

namespace {

// The longest reply's header counts its payload in 32 bits; more than this nobody asks for at once.
constexpr std::uint32_t kMostAtOnce = 1024 * MiB;

[[noreturn]] void refuse(const std::string& name, std::uint32_t value, const char* accepted) {
  throw std::invalid_argument(name + " " + std::to_string(value) + ": " + accepted + " is accepted");
}

void check_block_sizes(const NbdServerOptions& options, const NbdSizeNames& names) {
  const auto minimum = options.minimum_block;
  const auto preferred = options.preferred_block;
  const auto maximum = options.maximum_block;
  if (!std::has_single_bit(minimum) || minimum > 64 * KiB)
    refuse(names.minimum, minimum, "a power of two up to 64K");
  if (!std::has_single_bit(preferred) || preferred < 512 || preferred < minimum ||
      preferred > 32 * MiB)
    refuse(names.preferred, preferred, "a power of two from 512 (or the minimum) to 32M");
  if (maximum < preferred || maximum % minimum != 0)
    refuse(names.maximum, maximum, "a multiple of the minimum, not below the preferred,");
  if (maximum > kMostAtOnce) refuse(names.maximum, maximum, "up to 1G");
}

void check_exports(const std::vector<NbdExport>& exports) {
  std::set<std::string_view> names;
  for (const auto& each : exports) {
    for (const std::string_view text : {each.name, each.description})
      if (text.size() > nbd::kLongestName || text.find('\0') != text.npos)
        throw std::invalid_argument("export \"" + each.name +
                                    "\": names and descriptions have up to 4096 bytes, none zero");
    if (!names.insert(each.name).second)
      throw std::invalid_argument("export \"" + each.name + "\" is given twice");
  }
}

}  // namespace

void check_usage(const std::vector<NbdExport>& exports, const NbdServerOptions& options,
                 const NbdSizeNames& names) {
  check_block_sizes(options, names);
  check_exports(exports);
}

struct NbdServer::Shared {
  nbd::server::Tally tally;
  std::deque<nbd::server::Spool> spools;  // of each export, and of the attached
};

NbdServer::NbdServer(std::vector<NbdExport> exports, NbdServerOptions options)
    : exports_(std::move(exports)), options_(options), shared_(std::make_unique<Shared>()) {
  check_usage(exports_, options_);
  // One write is in the lane, which comes on top.
  const auto share = options_.spool / std::max<std::size_t>(exports_.size(), 1);
  const nbd::server::SpoolRules rules{share - std::min<std::uint64_t>(share, options_.maximum_block)};
  for (std::size_t i = 0; i <= exports_.size(); ++i) shared_->spools.emplace_back(rules);
}

NbdServer::~NbdServer() = default;

void NbdServer::serve(Channel channel, const Stop& stop) {
  serve(std::move(channel), stop, options_);
}

void NbdServer::serve_only(Channel channel, const Stop& stop) {
  auto options = options_;
  options.multi_conn = false;
  serve(std::move(channel), stop, options);
}

void NbdServer::serve(Channel channel, const Stop& stop, const NbdServerOptions& options) {
  nbd::server::Stream stream(channel, stop);
  const auto agreed = nbd::server::shake_hands(stream, exports_, options);
  if (!agreed) return stream.finish();
  nbd::server::Transmission(stream, *agreed->chosen->backend, agreed->rules, options.workers, shared_->tally,
                            shared_->spools[static_cast<std::size_t>(agreed->chosen - exports_.data())])
      .run();
}

void NbdServer::serve_attached(Channel channel, const NbdExport& exported, const Stop& stop) {
  nbd::server::Stream stream(channel, stop);
  const auto rules = nbd::server::rules_for(exported, options_);
  nbd::server::Transmission(stream, *exported.backend, rules, options_.workers, shared_->tally,
                            shared_->spools.back())
      .run();
}

std::uint16_t NbdServer::attached_flags(const NbdExport& exported) const {
  return nbd::server::transmission_flags(nbd::server::rules_for(exported, options_));
}

NbdTotals NbdServer::totals() const {
  const auto& tally = shared_->tally;
  return {tally.requests, tally.bytes_read, tally.bytes_written};
}

}  // namespace r3
