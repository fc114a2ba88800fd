// SPDX-License-Identifier: Apache-2.0
// A region as objects in a store that knows whole values by name: object N holds bytes N * chunk to
// (N + 1) * chunk, an object that is missing is zeroes, and one more object, the label, says that this is a
// region, how long it is and how it is cut. Redis, S3, RADOS and Cassandra differ in ObjectStore only.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "libcommon/storage/backend.hpp"
#include "tools/regions/helper.hpp"
#include "tools/regions/helper_uri.hpp"

namespace r3 {

// All calls may come from any thread, concurrently; all throw std::system_error naming the object.
class ObjectStore {
 public:
  struct Get {
    std::uint64_t index;
    Bytes into;            // of that many bytes, from
    std::uint64_t offset;  // in the object
    bool found = false;    // out; if not, `into` is untouched
  };
  struct Put {
    std::uint64_t index;
    ConstBytes from;  // the whole object
  };

  virtual ~ObjectStore() = default;

  // All of them at the same time, as far as the store can. An object that is shorter than what is asked for
  // is damage: EIO.
  virtual void get(std::span<Get> parts) = 0;
  virtual void put(std::span<const Put> parts) = 0;
  // An object that is not there is no error.
  virtual void remove(std::span<const std::uint64_t> indices) = 0;
  // What was put or removed before is as durable as the store can make it: nothing to do where it is when it is
  // answered.
  virtual void flush() {}

  virtual std::optional<std::string> get_label() = 0;
  // Only if there is none: false if there is one (by now).
  virtual bool make_label(const std::string& text) = 0;
  // How long objects are, once that is known, for stores that name them by their offset. Before any get or put.
  virtual void set_chunk(std::uint64_t) {}

  // See Backend.
  virtual void abandon() noexcept {}
};

struct ObjectLayout {
  std::optional<std::uint64_t> size;   // given by the user; needed for a new region
  std::optional<std::uint64_t> chunk;  // likewise; a power of two, 4 KiB to 32 MiB
  std::uint64_t default_chunk = 64 * 1024;
  std::uint64_t largest_chunk = 32 * 1024 * 1024;  // that the store can take
  bool labelled = true;                // false: a layout of others, without a label: size and chunk are needed
  bool read_only = false;
};

// The parameters size= and chunk= of a region.
ObjectLayout parse_layout(const UriParameters& parameters, bool read_only);

// Opens the region, or makes it when it is new and a size is given. `name` names it in errors. Throws
// std::invalid_argument if size or chunk are missing, unfit, or not those of the region that is there.
Helped open_object_region(std::unique_ptr<ObjectStore> store, const ObjectLayout& layout,
                          const std::string& name);

}  // namespace r3
