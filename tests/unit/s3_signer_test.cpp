// SPDX-License-Identifier: Apache-2.0
// Signature Version 4 against the examples of the AWS S3 API reference ("Signature Calculations for the
// Authorization Header: Transferring Payload in a Single Chunk").
#include <gtest/gtest.h>

#include <algorithm>

#include "tools/regions/s3/signer.hpp"

namespace {

constexpr std::time_t kThen = 1369353600;  // 2013-05-24 00:00:00 UTC
const r3::S3Credentials kExample{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};

std::string signature(const r3::S3Request& request, const r3::S3Credentials& credentials = kExample) {
  for (const auto& line : r3::S3Signer(credentials, "us-east-1").headers(request, kThen))
    if (const auto at = line.find("Signature="); at != line.npos) return line.substr(at + 10);
  return "";
}

TEST(S3Signer, ListsAsTheReferenceDoes) {
  EXPECT_EQ(signature({"GET", "examplebucket.s3.amazonaws.com", "/", {{"prefix", "J"}, {"max-keys", "2"}}, {}}),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(S3Signer, ReadsALifecycleAsTheReferenceDoes) {
  EXPECT_EQ(signature({"GET", "examplebucket.s3.amazonaws.com", "/", {{"lifecycle", ""}}, {}}),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

TEST(S3Signer, ABodyATokenAndAKeyChangeIt) {
  const r3::S3Request plain{"PUT", "h", "/b/k", {}, {}};
  r3::S3Request body = plain;
  body.body = r3::as_bytes("x");
  auto token = kExample, key = kExample;
  token.token = "t";
  key.secret += "x";
  EXPECT_NE(signature(plain), signature(body));
  EXPECT_NE(signature(plain), signature(plain, token));
  EXPECT_NE(signature(plain), signature(plain, key));
}

TEST(S3Signer, AnonymousRequestsAreNotSigned) {
  EXPECT_EQ(signature({"GET", "h", "/b/k", {}, {}}, {}), "");
}

TEST(S3Signer, QueriesAreSortedAsTheyAreEncoded) {
  EXPECT_EQ(r3::s3_query({{"prefix", "a b/"}, {"list-type", "2"}, {"A", "~"}}), "A=~&list-type=2&prefix=a%20b%2F");
}

}  // namespace
