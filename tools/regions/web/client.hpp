// SPDX-License-Identifier: Apache-2.0
// HTTP requests, several at a time, over connections that are kept (libcurl's multi interface). A server that
// cannot be reached, stalls, or says that it is busy, is asked again, after the pause that it asks for, or one of ours;
// what it refuses is the caller's.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/stop.hpp"
#include "tools/regions/trouble.hpp"
#include "tools/regions/web/answer.hpp"

namespace r3 {

struct WebRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::string> headers;  // "Name: value"
  ConstBytes body;                   // of a PUT
  Bytes into;                        // where the body of a 200 or 206 goes, as far as it fits
};

struct WebOptions {
  std::chrono::milliseconds io_timeout{0};  // 0: for ever
  std::string user, password;               // basic authentication, if there is a user
  std::string ca_file;                      // instead of the system's
};

class WebClient {
 public:
  explicit WebClient(WebOptions options);
  ~WebClient();

  // All at the same time; answers in the order of the requests. `sign` is called before each try. Throws
  // std::system_error: EIO after io_timeout (or as soon as the server asks for a pause beyond it), ESHUTDOWN when
  // abandoned; any thread may call.
  using Sign = std::function<void(WebRequest&)>;
  std::vector<WebAnswer> run(std::span<const WebRequest> requests, const Sign& sign = {});
  // One try of one: for opening, when a server that is not there is an error.
  WebAnswer run_once(const WebRequest& request, const Sign& sign = {});
  void abandon() noexcept { gone_.request(); }

 private:
  struct Exchange;
  struct Multi;
  std::unique_ptr<Multi> borrow();
  void give_back(std::unique_ptr<Multi> multi);
  // `limit`: for each; 0: none.
  std::unique_ptr<Exchange> prepare(const WebRequest& request, const Sign& sign, std::chrono::milliseconds limit) const;
  void perform(std::vector<std::unique_ptr<Exchange>>& exchanges);

  const WebOptions options_;
  Stop gone_;
  Trouble trouble_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Multi>> idle_;  // guarded by mutex_; each with its connections
};

}  // namespace r3
