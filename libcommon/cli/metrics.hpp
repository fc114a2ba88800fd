// SPDX-License-Identifier: Apache-2.0
// The status as OpenMetrics 1.0 over HTTP/1.0 (--metrics ADDR): each number becomes a gauge
// r3_TOOL_NAME. What has no number is left out. Knows no more of HTTP than one GET.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "libcommon/base/stop.hpp"
#include "libcommon/cli/events.hpp"

namespace r3 {

std::string to_openmetrics(std::string_view tool, const Json& status);

// Answers one HTTP request on `socket`: GET / or GET /metrics.
void serve_metrics(int socket, std::string_view tool, const std::function<Json()>& status,
                   const Stop& stop);

}  // namespace r3
