// SPDX-License-Identifier: Apache-2.0
// A file of a web server, read by ranges (RFC 9110, section 14). Which file it is was settled at opening, by its
// entity tag (or its date) and its length: a file that has changed since gives ESTALE, never its bytes.
#pragma once

#include <string>

#include "libcommon/storage/backend.hpp"
#include "tools/regions/web/client.hpp"

namespace r3 {

class RemoteFile final : public Backend {
 public:
  // Asks for the file once: throws if the server is not there, has no such file, or cannot read by ranges.
  RemoteFile(const std::string& url, const WebOptions& options, const WebClient::Sign& sign = {});

  std::uint64_t size() const override { return size_; }
  std::uint64_t block_size() const override { return 4096; }
  bool read_only() const override { return true; }
  void read_at(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void flush() override {}
  void abandon() noexcept override { web_.abandon(); }

 private:
  WebRequest request(std::uint64_t offset, Bytes into) const;
  [[noreturn]] void refuse(const WebAnswer& answer) const;
  bool is_same(const WebAnswer& answer) const;
  void check_empty(const WebAnswer& answer) const;

  const std::string url_, name_;  // the name: what is said of it
  const WebClient::Sign sign_;
  WebClient web_;
  std::uint64_t size_ = 0;
  std::string tag_;   // as the server gave it; empty: it gives none
  std::string date_;  // likewise
};

// The errno for what a web server refuses with this status.
int errno_of_status(long status);

}  // namespace r3
