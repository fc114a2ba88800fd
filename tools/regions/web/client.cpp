// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/web/client.hpp"

#include <curl/curl.h>
#include <sys/random.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{100}, kLongestPause{5'000};
constexpr milliseconds kLongestAsked{120'000};  // by the server
constexpr milliseconds kOpenTime{30'000};
constexpr long kConnectTime = 10'000;  // ms
constexpr long kStalled = 30;          // seconds without a byte
constexpr std::size_t kMostText = 64 * KiB;

// The server is there, and another try may do better.
bool is_passing(const WebAnswer& answer) {
  constexpr long kPassing[] = {408, 429, 500, 502, 503, 504};
  return std::ranges::find(kPassing, answer.status) != std::end(kPassing) ||
         (answer.status == 400 && s3_error_code(answer.text) == "RequestTimeout");
}

// How long it wants to be left alone.
milliseconds pause_of(const WebAnswer& answer) {
  const auto told = parse_retry_after(answer.header("retry-after"), std::time(nullptr));
  return std::min<milliseconds>(told.value_or(std::chrono::seconds(0)), kLongestAsked);
}

// "https://host" of a URL.
std::string server_of(const std::string& url) { return url.substr(0, url.find('/', url.find("://") + 3)); }

milliseconds jittered(milliseconds pause) {
  std::uint32_t value = 0;
  [[maybe_unused]] const auto n = ::getrandom(&value, sizeof value, 0);
  return milliseconds(pause.count() / 2 + static_cast<long>(value % (pause.count() / 2 + 1)));
}

struct Headers {
  curl_slist* list = nullptr;
  ~Headers() { ::curl_slist_free_all(list); }
  void add(const std::string& line) { list = ::curl_slist_append(list, line.c_str()); }
};

}  // namespace

// One request on its way.
struct WebClient::Exchange {
  WebRequest request;
  WebAnswer answer;
  std::size_t sent = 0;
  bool too_long = false;
  CURL* easy = nullptr;
  CURLcode result = CURLE_OK;
  Headers headers;
  std::array<char, CURL_ERROR_SIZE> why{};

  ~Exchange() { ::curl_easy_cleanup(easy); }

  static std::size_t take_body(char* data, std::size_t, std::size_t size, void* self) {
    auto& one = *static_cast<Exchange*>(self);
    long status = 0;
    ::curl_easy_getinfo(one.easy, CURLINFO_RESPONSE_CODE, &status);
    const bool wanted = (status == 200 || status == 206) && !one.request.into.empty();
    if (wanted) {
      const auto room = one.request.into.size() - std::min<std::size_t>(one.answer.size, one.request.into.size());
      std::memcpy(one.request.into.data() + (one.request.into.size() - room), data, std::min(room, size));
    } else if (one.answer.text.size() + size <= kMostText) {
      one.answer.text.append(data, size);
    }
    one.answer.size += size;
    // What is longer than what was asked for is not worth waiting for: it is the wrong answer anyway.
    one.too_long = wanted && one.answer.size > one.request.into.size() + kMostText;
    return one.too_long ? 0 : size;
  }

  static std::size_t take_header(char* data, std::size_t, std::size_t size, void* self) {
    auto& one = *static_cast<Exchange*>(self);
    return one.answer.add_header({data, size}) ? size : 0;
  }

  static std::size_t give_body(char* to, std::size_t, std::size_t room, void* self) {
    auto& one = *static_cast<Exchange*>(self);
    const auto bytes = std::min(room, one.request.body.size() - one.sent);
    std::memcpy(to, one.request.body.data() + one.sent, bytes);
    one.sent += bytes;
    return bytes;
  }

  static int rewind(void* self, curl_off_t offset, int) {
    static_cast<Exchange*>(self)->sent = static_cast<std::size_t>(offset);
    return CURL_SEEKFUNC_OK;
  }

  // How it failed, or how the server says that it cannot now; empty if it was answered.
  std::string trouble() const {
    if (result == CURLE_OK && !is_passing(answer)) return {};
    const auto code = s3_error_code(answer.text);
    return without_query(request.url) + ": " + (result != CURLE_OK ? why[0] ? why.data() : ::curl_easy_strerror(result)
                                                    : "status " + std::to_string(answer.status) + (code.empty() ? "" : " " + code));
  }

  void set_up(const WebOptions& options, milliseconds limit) {
    easy = ::curl_easy_init();
    if (!easy) throw std::bad_alloc();
    const auto set = [&](CURLoption option, auto value) { ::curl_easy_setopt(easy, option, value); };
    set(CURLOPT_URL, request.url.c_str());
    set(CURLOPT_ERRORBUFFER, why.data());
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_CONNECTTIMEOUT_MS, kConnectTime);
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(CURLOPT_LOW_SPEED_TIME, kStalled);
    if (limit.count() > 0) set(CURLOPT_TIMEOUT_MS, static_cast<long>(limit.count()));
    set(CURLOPT_BUFFERSIZE, 256L * 1024);
    set(CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
    set(CURLOPT_WRITEFUNCTION, take_body);
    set(CURLOPT_WRITEDATA, this);
    set(CURLOPT_HEADERFUNCTION, take_header);
    set(CURLOPT_HEADERDATA, this);
    set(CURLOPT_PRIVATE, this);
    set(CURLOPT_USERAGENT, "r3tools");
    if (!options.ca_file.empty()) set(CURLOPT_CAINFO, options.ca_file.c_str());
    if (!options.user.empty()) {
      set(CURLOPT_USERNAME, options.user.c_str());
      set(CURLOPT_PASSWORD, options.password.c_str());
    }
    set_method();
    for (const auto& line : request.headers) headers.add(line);
    set(CURLOPT_HTTPHEADER, headers.list);
  }

  void set_method() {
    if (request.method == "PUT") {
      ::curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
      ::curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
      ::curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_body);
      ::curl_easy_setopt(easy, CURLOPT_READDATA, this);
      ::curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, rewind);
      ::curl_easy_setopt(easy, CURLOPT_SEEKDATA, this);
      headers.add("Expect:");
      headers.add("Content-Type: application/octet-stream");
    } else if (request.method == "HEAD") {
      ::curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (request.method != "GET") {
      ::curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    }
  }
};

struct WebClient::Multi {
  CURLM* handle = ::curl_multi_init();
  Multi() { ::curl_multi_setopt(handle, CURLMOPT_MAX_HOST_CONNECTIONS, 32L); }
  ~Multi() { ::curl_multi_cleanup(handle); }
};

WebClient::WebClient(WebOptions options) : options_(std::move(options)) {
  static const CURLcode started = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started != CURLE_OK) fail(EIO, "libcurl");
}

WebClient::~WebClient() = default;

std::unique_ptr<WebClient::Multi> WebClient::borrow() {
  std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<Multi>();
  auto multi = std::move(idle_.back());
  idle_.pop_back();
  return multi;
}

void WebClient::give_back(std::unique_ptr<Multi> multi) {
  std::lock_guard lock(mutex_);
  idle_.push_back(std::move(multi));
}

void WebClient::perform(std::vector<std::unique_ptr<Exchange>>& exchanges) {
  auto multi = borrow();
  for (const auto& one : exchanges) ::curl_multi_add_handle(multi->handle, one->easy);
  int running = 1;
  while (running > 0 && !gone_.requested()) {
    if (::curl_multi_perform(multi->handle, &running) != CURLM_OK) break;
    int left = 0;
    while (const CURLMsg* message = ::curl_multi_info_read(multi->handle, &left)) {
      Exchange* one = nullptr;
      ::curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &one);
      one->result = one->too_long ? CURLE_OK : message->data.result;
      ::curl_easy_getinfo(one->easy, CURLINFO_RESPONSE_CODE, &one->answer.status);
    }
    curl_waitfd stop{gone_.fd(), CURL_WAIT_POLLIN, 0};
    if (running > 0) ::curl_multi_poll(multi->handle, &stop, 1, 1000, nullptr);
  }
  for (const auto& one : exchanges) ::curl_multi_remove_handle(multi->handle, one->easy);
  if (gone_.requested()) fail(ESHUTDOWN, without_query(exchanges.front()->request.url));
  give_back(std::move(multi));
}

std::unique_ptr<WebClient::Exchange> WebClient::prepare(const WebRequest& request, const Sign& sign,
                                                        milliseconds limit) const {
  auto one = std::make_unique<Exchange>();
  one->request = request;
  if (sign) sign(one->request);
  one->set_up(options_, limit);
  return one;
}

WebAnswer WebClient::run_once(const WebRequest& request, const Sign& sign) {
  const bool bounded = options_.io_timeout.count() > 0;
  std::vector<std::unique_ptr<Exchange>> exchanges;
  exchanges.push_back(prepare(request, sign, bounded ? std::min(options_.io_timeout, kOpenTime) : kOpenTime));
  perform(exchanges);
  Exchange& one = *exchanges.front();
  if (one.result != CURLE_OK) fail(EIO, one.trouble());
  return std::move(one.answer);
}

std::vector<WebAnswer> WebClient::run(std::span<const WebRequest> requests, const Sign& sign) {
  std::vector<WebAnswer> answers(requests.size());
  std::vector<std::size_t> open(requests.size());
  std::iota(open.begin(), open.end(), std::size_t{0});
  const bool bounded = options_.io_timeout.count() > 0;
  const auto end = Clock::now() + options_.io_timeout;
  for (milliseconds pause = kFirstPause;; pause = std::min(pause * 2, kLongestPause)) {
    const auto left = std::max(milliseconds(1), std::chrono::ceil<milliseconds>(end - Clock::now()));
    std::vector<std::unique_ptr<Exchange>> exchanges;
    for (const auto i : open) exchanges.push_back(prepare(requests[i], sign, bounded ? left : milliseconds(0)));
    perform(exchanges);
    std::vector<std::size_t> again;
    std::string why;
    auto wait = jittered(pause);
    for (std::size_t i = 0; i < exchanges.size(); ++i) {
      if (auto trouble = exchanges[i]->trouble(); !trouble.empty()) {
        why = std::move(trouble);
        wait = std::max(wait, pause_of(exchanges[i]->answer));
        again.push_back(open[i]);
      } else {
        answers[open[i]] = std::move(exchanges[i]->answer);
      }
    }
    if (again.empty()) return trouble_.over(server_of(requests.front().url)), answers;
    if (bounded && Clock::now() + wait >= end) fail(EIO, why + ", until --io-timeout");
    trouble_.met(why);
    if (gone_.wait_for(wait)) fail(ESHUTDOWN, why);
    open = std::move(again);
  }
}

}  // namespace r3
