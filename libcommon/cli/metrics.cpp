// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/metrics.hpp"

#include <poll.h>
#include <unistd.h>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"

namespace r3 {

namespace {

constexpr std::size_t kLongestRequest = 8192;
constexpr int kPatienceMs = 5000;

// Metric names are [a-zA-Z0-9_:]; ours have no colon.
std::string metric_name(std::string_view tool, std::string_view member) {
  std::string name = "r3_" + std::string(tool) + "_" + std::string(member);
  for (char& c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))) c = '_';
  return name;
}

bool is_number(std::string_view json) {
  return !json.empty() && (json[0] == '-' || (json[0] >= '0' && json[0] <= '9'));
}

// The head of a request, without its empty line; empty if none came in time.
std::string read_head(int socket, const Stop& stop) {
  std::string head;
  while (head.size() < kLongestRequest) {
    if (wait_for(socket, POLLIN, stop, kPatienceMs) != Wait::ready) return {};
    char bytes[1024];
    const auto n = ::read(socket, bytes, sizeof bytes);
    if (n <= 0) return {};
    head.append(bytes, static_cast<std::size_t>(n));
    const auto end = head.find("\r\n\r\n");
    if (end != head.npos) return head.substr(0, end);
  }
  return {};
}

std::string response(std::string_view status, std::string_view type, std::string_view body) {
  return "HTTP/1.0 " + std::string(status) + "\r\nContent-Type: " + std::string(type) +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" +
         std::string(body);
}

}  // namespace

std::string to_openmetrics(std::string_view tool, const Json& status) {
  std::string text;
  for (const Json::Member& member : status.members()) {
    if (!is_number(member.value)) continue;
    const std::string name = metric_name(tool, member.name);
    text += "# TYPE " + name + " gauge\n" + name + " " + member.value + "\n";
  }
  return text + "# EOF\n";
}

void serve_metrics(int socket, std::string_view tool, const std::function<Json()>& status,
                   const Stop& stop) {
  const std::string head = read_head(socket, stop);
  if (head.empty()) return;
  const std::string line = head.substr(0, head.find("\r\n"));
  std::string answer;
  if (!line.starts_with("GET ")) {
    answer = response("405 Method Not Allowed", "text/plain", "only GET is answered\n");
  } else if (!line.starts_with("GET / ") && !line.starts_with("GET /metrics ")) {
    answer = response("404 Not Found", "text/plain", "there is only /metrics\n");
  } else {
    answer = response("200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8",
                      to_openmetrics(tool, status()));
  }
  write_full(socket, as_bytes(answer), "metrics");
}

}  // namespace r3
