// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_options.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "libcommon/net/nbd_reply.hpp"

namespace r3::nbd::server {

namespace {

constexpr std::string_view kAllocation = "base:allocation";

// Takes integers and strings off the front of an option's data; false when they are not there.
class Reader {
 public:
  explicit Reader(ConstBytes data) : data_(data) {}

  template <class Integer>
  bool take(Integer& value) {
    if (data_.size() < sizeof value) return false;
    value = load_be<Integer>(data_.data());
    data_ = data_.subspan(sizeof value);
    return true;
  }
  bool take_string(std::string_view& text) {
    std::uint32_t length = 0;
    if (!take(length) || length > kLongestName || length > data_.size()) return false;
    text = as_text(data_.first(length));
    data_ = data_.subspan(length);
    return true;
  }
  ConstBytes rest() const { return data_; }

 private:
  ConstBytes data_;
};

}  // namespace

bool InfoRequest::wants(Info type) const {
  for (auto left = types; !left.empty(); left = left.subspan(sizeof(Be16)))
    if (load_be<std::uint16_t>(left.data()) == type) return true;
  return false;
}

std::optional<InfoRequest> parse_info_request(ConstBytes data) {
  Reader reader(data);
  InfoRequest asked;
  std::uint16_t count = 0;
  if (!reader.take_string(asked.name) || !reader.take(count)) return std::nullopt;
  asked.types = reader.rest();
  if (asked.types.size() != count * sizeof(Be16)) return std::nullopt;
  return asked;
}

bool MetaRequest::selects_allocation() const {
  return std::find(queries.begin(), queries.end(), kAllocation) != queries.end();
}

bool MetaRequest::lists_allocation() const {
  return queries.empty() || selects_allocation() ||
         std::find(queries.begin(), queries.end(), "base:") != queries.end();
}

std::optional<MetaRequest> parse_meta_request(ConstBytes data) {
  Reader reader(data);
  MetaRequest asked;
  std::uint32_t count = 0;
  if (!reader.take_string(asked.name) || !reader.take(count)) return std::nullopt;
  // The count promises nothing: each query has to be there.
  for (; count > 0; --count) {
    std::string_view query;
    if (!reader.take_string(query)) return std::nullopt;
    asked.queries.push_back(query);
  }
  if (!reader.rest().empty()) return std::nullopt;
  return asked;
}

std::vector<std::byte> option_reply(std::uint32_t option, std::uint32_t type, ConstBytes data) {
  const OptionReply head{kOptionReplyMagic, option, type, static_cast<std::uint32_t>(data.size())};
  std::vector<std::byte> reply(sizeof head + data.size());
  std::memcpy(reply.data(), &head, sizeof head);
  std::copy(data.begin(), data.end(), reply.begin() + sizeof head);
  return reply;
}

std::vector<std::byte> info_text(Info type, std::string_view text) {
  std::vector<std::byte> info(sizeof(Be16) + text.size());
  store_be<std::uint16_t>(info.data(), type);
  std::copy_n(as_bytes(text).begin(), text.size(), info.begin() + sizeof(Be16));
  return info;
}

std::vector<std::byte> meta_context_reply(bool selected) {
  std::vector<std::byte> context(sizeof(Be32) + kAllocation.size());
  store_be(context.data(), selected ? kAllocationId : 0);
  std::copy_n(as_bytes(kAllocation).begin(), kAllocation.size(), context.begin() + sizeof(Be32));
  return context;
}

std::uint32_t preferred_block(const NbdExport& exported, const NbdServerOptions& options) {
  const auto most = std::min<std::uint64_t>(std::bit_floor(options.maximum_block), 32 * MiB);
  const auto natural = std::min<std::uint64_t>(exported.backend->block_size(), most);
  return std::max({options.preferred_block, options.minimum_block, 512U,
                   static_cast<std::uint32_t>(natural)});
}

}  // namespace r3::nbd::server
