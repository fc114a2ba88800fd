// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/web/remote_file.hpp"

#include "libcommon/base/error.hpp"
#include "libcommon/base/sizes.hpp"

namespace r3 {

namespace {

// The length of the whole file in "bytes 0-99/1234"; throws for anything else.
std::uint64_t whole_size(const std::string& range, const std::string& url) {
  const auto slash = range.rfind('/');
  try {
    if (!range.starts_with("bytes ") || slash == range.npos) throw std::invalid_argument("");
    return parse_number(std::string_view(range).substr(slash + 1), ~std::uint64_t{0} >> 1);
  } catch (const std::invalid_argument&) {
    throw ProtocolError(url + ": the server does not say how long the file is");
  }
}

}  // namespace

int errno_of_status(long status) {
  switch (status) {
    case 401:
    case 403: return EACCES;
    case 404:
    case 410: return ENOENT;
    case 412: return ESTALE;
    case 413:
    case 507: return ENOSPC;
    default: return EIO;
  }
}

RemoteFile::RemoteFile(const std::string& url, const WebOptions& options, const WebClient::Sign& sign)
    : url_(url), sign_(sign), web_(options) {
  std::byte first;
  const WebAnswer answer = web_.run_once(request(0, {&first, 1}), sign_);
  if (answer.status == 416) return;  // an empty file has no first byte
  if (answer.status == 200 && answer.header("content-length") == "0") return;
  if (answer.status == 200) fail(EOPNOTSUPP, url_ + ": the server cannot read a part of the file (no ranges)");
  if (answer.status != 206) refuse(answer);
  size_ = whole_size(answer.header("content-range"), url_);
  tag_ = answer.header("etag");
  date_ = answer.header("last-modified");
}

// A weak tag may not be asked for (RFC 9110, 13.1.1); the answer's is compared in any case.
WebRequest RemoteFile::request(std::uint64_t offset, Bytes into) const {
  WebRequest request;
  request.url = url_;
  request.into = into;
  request.headers = {"Range: bytes=" + std::to_string(offset) + "-" + std::to_string(offset + into.size() - 1),
                     "Accept-Encoding: identity"};
  if (!tag_.empty() && !tag_.starts_with("W/")) request.headers.push_back("If-Match: " + tag_);
  return request;
}

void RemoteFile::refuse(const WebAnswer& answer) const {
  fail(errno_of_status(answer.status), url_ + ": the server answers with status " + std::to_string(answer.status));
}

void RemoteFile::check_same(const WebAnswer& answer) const {
  if (answer.header("etag") != tag_ || answer.header("last-modified") != date_ ||
      whole_size(answer.header("content-range"), url_) != size_)
    fail(ESTALE, url_ + ": the file has changed on the server");
}

void RemoteFile::read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size_, offset, into.size());
  if (into.empty()) return;
  const WebRequest asked = request(offset, into);
  const auto answers = web_.run({&asked, 1}, sign_);
  const WebAnswer& answer = answers.front();
  if (answer.status == 200 || answer.status == 416) fail(ESTALE, url_ + ": the file has changed on the server");
  if (answer.status != 206) refuse(answer);
  check_same(answer);
  const std::string want = "bytes " + std::to_string(offset) + "-" + std::to_string(offset + into.size() - 1) + "/";
  if (!answer.header("content-range").starts_with(want) || answer.size != into.size())
    throw ProtocolError(url_ + ": the server answers with another range");
}

void RemoteFile::write_at(ConstBytes, std::uint64_t) { fail(EPERM, url_ + ": a file of a web server is read-only"); }

}  // namespace r3
