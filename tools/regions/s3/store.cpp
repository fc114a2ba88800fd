// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/s3/store.hpp"

#include <array>
#include <cstdio>
#include <ctime>

#include "libcommon/base/error.hpp"
#include "tools/regions/helper_uri.hpp"

namespace r3 {

namespace {

// A quota is an EntityTooLarge of Swift, a QuotaExceeded of some sort for others; 507 a full disk.
int errno_of(const WebAnswer& answer) {
  const auto code = s3_error_code(answer.text);
  if (answer.status == 413 || code == "EntityTooLarge" || code.find("QuotaExceeded") != std::string::npos) return EDQUOT;
  switch (answer.status) {
    case 401: case 403: return EACCES;
    case 404: return ENOENT;
    case 412: return ESTALE;
    case 507: return ENOSPC;
    default: return EIO;
  }
}

std::string code_of(const WebAnswer& answer) {
  const auto code = s3_error_code(answer.text);
  return code.empty() ? "status " + std::to_string(answer.status) : code;
}

// Only where the store itself says so: a 404 of something in between would make zeroes of bytes.
bool is_missing(const WebAnswer& answer) { return answer.status == 404 && s3_error_code(answer.text) == "NoSuchKey"; }

bool has_part(const WebAnswer& answer, std::uint64_t offset, std::size_t length) {
  const auto range = parse_content_range(answer.header("content-range"));
  return range && range->part == ContentRange::Part{offset, offset + length - 1};
}

// "scheme://" of an endpoint, and what follows.
std::pair<std::string, std::string> cut_endpoint(const std::string& endpoint) {
  const auto at = endpoint.find("://") + 3;
  return {endpoint.substr(0, at), endpoint.substr(at)};
}

}  // namespace

S3Bucket::S3Bucket(S3Where where) : where_(std::move(where)), signer_(where_.credentials, where_.region) {
  const auto [scheme, host] = cut_endpoint(where_.endpoint);
  host_ = where_.host_style ? where_.bucket + "." + host : host;
  base_ = scheme + host_ + (where_.host_style ? "" : "/" + web_encode(where_.bucket, false));
}

WebRequest S3Bucket::request(const std::string& method, const std::string& key) const {
  WebRequest request;
  request.method = method;
  request.url = base_ + "/" + web_encode(key, true);
  return request;
}

void S3Bucket::sign(WebRequest& request) const {
  const std::string path = request.url.substr(cut_endpoint(request.url).first.size() + host_.size());
  for (const auto& line : signer_.headers({request.method, host_, path, {}, request.body}, std::time(nullptr)))
    request.headers.push_back(line);
}

S3Store::S3Store(S3Where where, const WebOptions& web, std::uint64_t chunk)
    : bucket_(std::move(where)), chunk_(chunk), label_key_(bucket_.where().prefix + "/region"), web_(web) {}

std::string S3Store::key_of(std::uint64_t index) const {
  const std::string& prefix = bucket_.where().prefix;
  if (bucket_.where().offset_keys) return prefix + "-" + std::to_string(index * chunk_);
  // Low digits first: stores that place objects by their names' beginnings spread them so.
  std::array<char, 24> text;
  std::snprintf(text.data(), text.size(), "/%03llx/%llx", static_cast<unsigned long long>(index % 4096),
                static_cast<unsigned long long>(index / 4096));
  return prefix + text.data();
}

std::vector<WebAnswer> S3Store::run(std::span<const WebRequest> requests) {
  return web_.run(requests, [this](WebRequest& request) { bucket_.sign(request); });
}

void S3Store::refuse(const WebRequest& request, const WebAnswer& answer) const {
  fail(errno_of(answer), request.url + ": the server says " + code_of(answer));
}

void S3Store::get(std::span<Get> parts) {
  std::vector<WebRequest> requests;
  for (const Get& part : parts) {
    WebRequest& request = requests.emplace_back(bucket_.request("GET", key_of(part.index)));
    request.into = part.into;
    request.headers.push_back("Range: bytes=" + std::to_string(part.offset) + "-" +
                              std::to_string(part.offset + part.into.size() - 1));
  }
  const auto answers = run(requests);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const WebAnswer& answer = answers[i];
    Get& part = parts[i];
    part.found = !is_missing(answer);
    if (!part.found) continue;
    const bool whole = answer.status == 200 && part.offset == 0 && answer.size == part.into.size();
    if (answer.status == 416 || (answer.status / 100 == 2 && answer.size < part.into.size()))
      fail(EIO, requests[i].url + ": shorter than the chunk size says");
    if (answer.status == 206 && !has_part(answer, part.offset, part.into.size()))
      throw ProtocolError(requests[i].url + ": the server answers with another range");
    if (!whole && answer.status == 200)
      throw ProtocolError(requests[i].url + ": the server answers with all of the object where a part was asked for");
    if (!whole && answer.status != 206) refuse(requests[i], answer);
    if (answer.size != part.into.size()) throw ProtocolError(requests[i].url + ": the server's answer is not as long as it says");
  }
}

void S3Store::put(std::span<const Put> parts) {
  std::vector<WebRequest> requests;
  for (const Put& part : parts) {
    requests.push_back(bucket_.request("PUT", key_of(part.index)));
    requests.back().body = part.from;
  }
  const auto answers = run(requests);
  for (std::size_t i = 0; i < answers.size(); ++i)
    if (answers[i].status / 100 != 2) refuse(requests[i], answers[i]);
}

void S3Store::remove(std::span<const std::uint64_t> indices) {
  std::vector<WebRequest> requests;
  for (const auto index : indices) requests.push_back(bucket_.request("DELETE", key_of(index)));
  const auto answers = run(requests);
  for (std::size_t i = 0; i < answers.size(); ++i)
    if (answers[i].status / 100 != 2 && answers[i].status != 404) refuse(requests[i], answers[i]);
}

std::optional<std::string> S3Store::get_label() {
  const WebRequest request = bucket_.request("GET", label_key_);
  const WebAnswer answer = web_.run_once(request, [this](WebRequest& one) { bucket_.sign(one); });
  if (is_missing(answer)) return std::nullopt;
  if (answer.status != 200) refuse(request, answer);
  return answer.text;
}

// Servers that know no conditional PUT (501) get a plain one: they were asked a moment ago.
bool S3Store::make_label(const std::string& text) {
  WebRequest request = bucket_.request("PUT", label_key_);
  request.body = as_bytes(text);
  request.headers.push_back("If-None-Match: *");
  WebAnswer answer = run({&request, 1}).front();
  if (answer.status == 412 || answer.status == 409) return false;
  if (answer.status == 501) {
    request.headers.clear();
    answer = run({&request, 1}).front();
  }
  if (answer.status / 100 != 2) refuse(request, answer);
  return true;
}

}  // namespace r3
