// SPDX-License-Identifier: Apache-2.0
// How failures travel: two classes, and one function that throws the first. std::system_error means
// that the operating system or a region refused (errno, and the name of the object); ProtocolError
// means that a peer sent nonsense. Bad usage is std::invalid_argument. They are caught at four places
// only: run(), the connection loop, the request dispatch (errno_of) and the thread body.
#pragma once

#include <cerrno>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace r3 {

class ProtocolError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws std::system_error with `error` (an errno) and `what`, which names the object.
[[noreturn]] inline void fail(int error, std::string_view what) {
  throw std::system_error(error, std::generic_category(), std::string(what));
}

// Passes on the result of a system call, or throws what errno says if it is negative.
template <class Result>
Result check(Result result, std::string_view what) {
  if (result < 0) fail(errno, what);
  return result;
}

// The errno of the exception being handled: its own for std::system_error, ENOMEM for bad_alloc,
// EPROTO for ProtocolError, EIO for anything else. Only to be called inside a catch block.
int errno_of_current_exception() noexcept;

// The text of the exception being handled: "what: reason". Only inside a catch block.
std::string text_of_current_exception() noexcept;

}  // namespace r3
