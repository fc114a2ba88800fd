// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/web/remote_file.hpp"

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3 {

namespace {

// What a 206 says that it has; throws for nonsense.
ContentRange range_of(const WebAnswer& answer, const std::string& url) {
  const auto range = parse_content_range(answer.header("content-range"));
  if (!range || !range->part) throw ProtocolError(url + ": the server does not say which part of the file it sends");
  return *range;
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
    : url_(url), name_(without_query(url)), sign_(sign), web_(options) {
  std::byte first;
  const WebAnswer answer = web_.run_once(request(0, {&first, 1}), sign_);
  const bool empty = answer.status == 200 && answer.header("content-length") == "0";
  if (answer.status == 416) check_empty(answer);  // an empty file has no first byte
  if (answer.status == 416 || empty) return;
  if (answer.status == 200) fail(EOPNOTSUPP, name_ + ": the server cannot read a part of the file (no ranges)");
  if (answer.status != 206) refuse(answer);
  const auto range = range_of(answer, name_);
  if (!range.whole) throw ProtocolError(name_ + ": the server does not say how long the file is");
  if (*range.part != ContentRange::Part{0, 0} || answer.size != 1)
    throw ProtocolError(name_ + ": the server answers with another range");
  size_ = *range.whole;
  tag_ = answer.header("etag");
  date_ = answer.header("last-modified");
  if (tag_.empty() && date_.empty())
    log_warning(name_ + ": the server gives it no entity tag and no date: a change of it that keeps its length is not noticed");
}

void RemoteFile::check_empty(const WebAnswer& answer) const {
  const auto range = parse_content_range(answer.header("content-range"));
  if (range && range->whole.value_or(0) != 0) throw ProtocolError(name_ + ": the server refuses to send the first byte");
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
  fail(errno_of_status(answer.status), name_ + ": the server answers with status " + std::to_string(answer.status));
}

// Of a 206 or a 200.
bool RemoteFile::is_same(const WebAnswer& answer) const {
  return answer.header("etag") == tag_ && answer.header("last-modified") == date_ &&
         (answer.status != 206 || range_of(answer, name_).whole.value_or(size_) == size_);
}

void RemoteFile::read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size_, offset, into.size());
  if (into.empty()) return;
  const WebRequest asked = request(offset, into);
  const auto answers = web_.run({&asked, 1}, sign_);
  const WebAnswer& answer = answers.front();
  const bool has_bytes = answer.status == 206 || answer.status == 200;
  if (answer.status == 412 || answer.status == 416 || (has_bytes && !is_same(answer)))
    fail(ESTALE, name_ + ": the file has changed on the server");
  if (answer.status == 200) throw ProtocolError(name_ + ": the server answers with all of the file where a part was asked for");
  if (answer.status != 206) refuse(answer);
  if (*range_of(answer, name_).part != ContentRange::Part{offset, offset + into.size() - 1})
    throw ProtocolError(name_ + ": the server answers with another range");
  if (answer.size != into.size()) throw ProtocolError(name_ + ": the server's answer is not as long as it says");
}

void RemoteFile::write_at(ConstBytes, std::uint64_t) { fail(EPERM, name_ + ": a file of a web server is read-only"); }

}  // namespace r3
