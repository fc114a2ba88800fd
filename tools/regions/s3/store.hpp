// SPDX-License-Identifier: Apache-2.0
// The objects of a region as objects of an S3 bucket (region-s3(1) has the layout). What was answered is durable:
// S3 answers a PUT when it is.
#pragma once

#include "tools/regions/object_region.hpp"
#include "tools/regions/s3/signer.hpp"
#include "tools/regions/web/client.hpp"

namespace r3 {

struct S3Where {
  std::string endpoint;         // "https://host[:port]"
  bool host_style = false;      // BUCKET.host instead of host/BUCKET
  std::string region = "us-east-1";
  std::string bucket, prefix;
  bool offset_keys = false;     // objects are PREFIX-OFFSET: the layout of r3map
  S3Credentials credentials;
};

// The address and the signature of requests for one bucket.
class S3Bucket {
 public:
  explicit S3Bucket(S3Where where);
  WebRequest request(const std::string& method, const std::string& key) const;
  // Adds the headers that the server wants to see, as of now.
  void sign(WebRequest& request) const;
  const S3Where& where() const { return where_; }

 private:
  const S3Where where_;
  const S3Signer signer_;
  std::string host_;  // with the bucket in host style
  std::string base_;  // URL up to the key's slash
};

class S3Store final : public ObjectStore {
 public:
  // `chunk`: what offset keys are counted by. Asks nothing yet.
  S3Store(S3Where where, const WebOptions& web, std::uint64_t chunk);

  void get(std::span<Get> parts) override;
  void put(std::span<const Put> parts) override;
  void remove(std::span<const std::uint64_t> indices) override;
  std::optional<std::string> get_label() override;
  bool make_label(const std::string& text) override;
  void abandon() noexcept override { web_.abandon(); }

 private:
  std::string key_of(std::uint64_t index) const;
  std::vector<WebAnswer> run(std::span<const WebRequest> requests);
  [[noreturn]] void refuse(const WebRequest& request, const WebAnswer& answer) const;

  const S3Bucket bucket_;
  const std::uint64_t chunk_;
  const std::string label_key_;
  WebClient web_;
};

}  // namespace r3
