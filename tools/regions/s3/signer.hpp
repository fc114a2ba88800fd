// SPDX-License-Identifier: Apache-2.0
// Signs requests to S3 servers: "Signature Version 4" in the AWS reference "Authenticating Requests", over the
// host, the x-amz- headers and the SHA-256 of the payload. Pure but for the time, which is given.
#pragma once

#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "libcommon/base/bytes.hpp"

namespace r3 {

struct S3Credentials {
  std::string id, secret, token;  // no id: requests go unsigned (anonymous)
};

struct S3Request {
  std::string method;
  std::string host;   // as in the Host header
  std::string path;   // encoded
  std::vector<std::pair<std::string, std::string>> query;  // decoded
  ConstBytes body;
};

class S3Signer {
 public:
  S3Signer(S3Credentials credentials, std::string region);
  // The headers to add. No credentials: x-amz-content-sha256 alone.
  std::vector<std::string> headers(const S3Request& request, std::time_t now) const;

 private:
  const S3Credentials credentials_;
  const std::string region_;
};

// "a=b&c=d", encoded and sorted as the signature wants it.
std::string s3_query(const std::vector<std::pair<std::string, std::string>>& query);

// Of a profile in a file as the AWS tools have it (aws_access_key_id = ..., in [PROFILE]). Throws
// std::system_error for a file that others may read, std::invalid_argument for one without the profile.
S3Credentials read_s3_credentials(const std::string& path, const std::string& profile);

}  // namespace r3
