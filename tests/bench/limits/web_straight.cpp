// SPDX-License-Identifier: Apache-2.0
// What libcurl does by itself: DEPTH requests are under way, of ranges of one file, or of whole objects NAME/0, NAME/1,
// ... that are read (GET) or written (PUT). Prints one line of JSON as region-load does.
//
//   web_straight URL range|get|put BLOCK DEPTH SECONDS BLOCKS
#include <curl/curl.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "libcommon/base/sizes.hpp"
#include "libcommon/cli/events.hpp"

namespace {

using Clock = std::chrono::steady_clock;

double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

struct Request {
  CURL* easy = ::curl_easy_init();
  std::vector<char> bytes;
  std::size_t at = 0;

  static std::size_t take(char* data, std::size_t, std::size_t size, void* self) {
    auto& one = *static_cast<Request*>(self);
    const auto now = std::min(size, one.bytes.size() - one.at);
    std::memcpy(one.bytes.data() + one.at, data, now);
    one.at += now;
    return size;
  }
  static std::size_t give(char* to, std::size_t, std::size_t room, void* self) {
    auto& one = *static_cast<Request*>(self);
    const auto now = std::min(room, one.bytes.size() - one.at);
    std::memcpy(to, one.bytes.data() + one.at, now);
    one.at += now;
    return now;
  }
};

struct Load {
  std::string url, way;
  std::size_t block;
  unsigned long long blocks, next = 0;
  curl_slist* headers = ::curl_slist_append(nullptr, "Expect:");

  void start(CURLM* multi, Request& one) {
    const auto number = next++ % blocks;
    const auto set = [&](CURLoption option, auto value) { ::curl_easy_setopt(one.easy, option, value); };
    one.at = 0;
    one.bytes.resize(block);
    set(CURLOPT_URL, (way == "range" ? url : url + "/" + std::to_string(number)).c_str());
    set(CURLOPT_WRITEFUNCTION, Request::take);
    set(CURLOPT_WRITEDATA, &one);
    set(CURLOPT_PRIVATE, &one);
    set(CURLOPT_BUFFERSIZE, 256L * 1024);
    set(CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
    set(CURLOPT_HTTPHEADER, headers);
    if (way == "range")
      set(CURLOPT_RANGE, (std::to_string(number * block) + "-" + std::to_string((number + 1) * block - 1)).c_str());
    if (way == "put") {
      set(CURLOPT_UPLOAD, 1L);
      set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(block));
      set(CURLOPT_READFUNCTION, Request::give);
      set(CURLOPT_READDATA, &one);
    }
    ::curl_multi_add_handle(multi, one.easy);
  }

  // Takes those that are done off, and starts as many others.
  double turn(CURLM* multi) {
    int running = 0, left = 0;
    double done = 0;
    ::curl_multi_perform(multi, &running);
    while (const CURLMsg* message = ::curl_multi_info_read(multi, &left)) {
      Request* one = nullptr;
      long status = 0;
      CURL* easy = message->easy_handle;
      const bool failed = message->data.result != CURLE_OK;
      ::curl_easy_getinfo(easy, CURLINFO_PRIVATE, &one);
      ::curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
      if (failed || status / 100 != 2 || one->at != block) throw std::runtime_error("status " + std::to_string(status));
      ::curl_multi_remove_handle(multi, easy);
      start(multi, *one);
      ++done;
    }
    if (done == 0) ::curl_multi_poll(multi, nullptr, 0, 100, nullptr);
    return done;
  }
};

int run(char** argv) {
  Load load{argv[1], argv[2], r3::parse_size(argv[3]), std::strtoull(argv[6], nullptr, 10)};
  std::vector<Request> requests(std::strtoul(argv[4], nullptr, 10));
  const std::chrono::duration<double> seconds(std::strtod(argv[5], nullptr));
  CURLM* multi = ::curl_multi_init();
  std::mt19937_64 random(1);
  for (auto& one : requests) {
    one.bytes.resize(load.block);
    for (auto& b : one.bytes) b = static_cast<char>(random());
  }
  const double before = cpu_seconds();
  const auto begun = Clock::now();
  double done = 0;
  for (auto& one : requests) load.start(multi, one);
  while (Clock::now() - begun < seconds) done += load.turn(multi);
  const double took = std::chrono::duration<double>(Clock::now() - begun).count();
  r3::Json line;
  line.add("ops", done / took).add("mb", done * static_cast<double>(load.block) / took / 1e6)
      .add("cpu_us", (cpu_seconds() - before) / done * 1e6);
  std::puts(line.text().c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fputs("web_straight: URL range|get|put BLOCK DEPTH SECONDS BLOCKS\n", stderr);
    return 2;
  }
  try {
    return run(argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "web_straight: %s\n", error.what());
    return 1;
  }
}
