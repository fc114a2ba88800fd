// SPDX-License-Identifier: Apache-2.0
// What the compiler has read before each unit test. Included by its command line alone, once.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "libcommon/storage/backend.hpp"
