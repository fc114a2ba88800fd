// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/error.hpp"

#include <new>

namespace r3 {

int errno_of_current_exception() noexcept {
  try {
    throw;
  } catch (const std::system_error& error) {
    return error.code().value() > 0 ? error.code().value() : EIO;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  } catch (const ProtocolError&) {
    return EPROTO;
  } catch (...) {
    return EIO;
  }
}

std::string text_of_current_exception() noexcept {
  try {
    throw;
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "unknown error";
  }
}

}  // namespace r3
