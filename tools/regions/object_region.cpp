// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/object_region.hpp"

#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/storage/chunked.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kSmallestChunk = 4 * KiB, kLargestChunk = 32 * MiB;
constexpr std::string_view kLabel = "r3 region 1\n";

struct Shape {
  std::uint64_t size;
  std::uint64_t chunk;
  std::uint64_t id;  // random, never 0: tells a region from another one that came to the same place
};

// Whole objects only; Chunked above makes them of anything. Reads may be of parts.
class Objects final : public Backend {
 public:
  Objects(std::unique_ptr<ObjectStore> store, Shape shape, bool read_only)
      : store_(std::move(store)), shape_(shape), read_only_(read_only) {}

  std::uint64_t size() const override { return shape_.size; }
  std::uint64_t block_size() const override { return shape_.chunk; }
  bool read_only() const override { return read_only_; }

  void read_at(Bytes into, std::uint64_t offset) override {
    check_read_range(shape_.size, offset, into.size());
    std::vector<ObjectStore::Get> parts;
    each_part(offset, into.size(), [&](std::uint64_t index, std::uint64_t within, std::uint64_t length) {
      parts.push_back({index, into.first(length), within});
      into = into.subspan(length);
    });
    if (parts.empty()) return;
    store_->get(parts);
    for (const auto& part : parts)
      if (!part.found) std::fill(part.into.begin(), part.into.end(), std::byte{0});
  }

  // A whole chunk of zeroes is no object.
  void write_at(ConstBytes from, std::uint64_t offset) override {
    check_change(offset, from.size());
    std::vector<ObjectStore::Put> puts;
    std::vector<std::uint64_t> empty;
    each_part(offset, from.size(), [&](std::uint64_t index, std::uint64_t, std::uint64_t length) {
      if (all_zero(from.first(length))) empty.push_back(index);
      else puts.push_back({index, from.first(length)});
      from = from.subspan(length);
    });
    if (!puts.empty()) store_->put(puts);
    if (!empty.empty()) store_->remove(empty);
  }

  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) override {
    check_change(offset, length);
    // Nothing is allocated in a store, so nothing can be kept so; removing is fast.
    (void)how;
    std::vector<std::uint64_t> indices;
    const auto remove = [&] {
      if (!indices.empty()) store_->remove(indices);
      indices.clear();
    };
    each_part(offset, length, [&](std::uint64_t index, std::uint64_t, std::uint64_t) {
      indices.push_back(index);
      if (indices.size() == 1000) remove();
    });
    remove();
  }

  void discard_at(std::uint64_t offset, std::uint64_t length) override { zero_at(offset, length, {}); }
  void flush() override { store_->flush(); }
  void abandon() noexcept override { store_->abandon(); }

 private:
  void check_change(std::uint64_t offset, std::uint64_t length) const {
    if (read_only_) fail(EPERM, "read-only region");
    check_write_range(shape_.size, offset, length);
  }

  template <class Action>
  void each_part(std::uint64_t offset, std::uint64_t length, Action action) const {
    for (const auto end = offset + length; offset < end;) {
      const auto within = offset % shape_.chunk;
      const auto bytes = std::min(end - offset, shape_.chunk - within);
      action(offset / shape_.chunk, within, bytes);
      offset += bytes;
    }
  }

  const std::unique_ptr<ObjectStore> store_;
  const Shape shape_;
  const bool read_only_;
};

std::uint64_t random_id() {
  std::uint64_t id = 0;
  if (::getrandom(&id, sizeof id, 0) != sizeof id) fail(errno, "getrandom");
  return id >> 1 | 1;
}

std::string label_of(const Shape& shape) {
  return std::string(kLabel) + "size " + std::to_string(shape.size) + "\nchunk " +
         std::to_string(shape.chunk) + "\nid " + std::to_string(shape.id) + "\n";
}

bool fit(std::uint64_t chunk) {
  return std::has_single_bit(chunk) && chunk >= kSmallestChunk && chunk <= kLargestChunk;
}

// The value of "NAME NUMBER\n" at the start of `text`, which is cut off.
std::uint64_t take_line(std::string_view& text, std::string_view name) {
  if (!text.starts_with(name)) throw std::invalid_argument("");
  text.remove_prefix(name.size());
  const auto end = text.find('\n');
  if (end == text.npos) throw std::invalid_argument("");
  const auto value = parse_number(text.substr(0, end), ~std::uint64_t{0} >> 1);
  text.remove_prefix(end + 1);
  return value;
}

Shape parse_label(std::string_view text, const std::string& name) {
  try {
    if (!text.starts_with(kLabel)) throw std::invalid_argument("");
    text.remove_prefix(kLabel.size());
    Shape shape{};
    shape.size = take_line(text, "size ");
    shape.chunk = take_line(text, "chunk ");
    shape.id = take_line(text, "id ");
    if (fit(shape.chunk) && shape.id != 0) return shape;
  } catch (const std::invalid_argument&) {
  }
  fail(EILSEQ, name + ": its label is not that of a region");
}

void check_same(const Shape& shape, const ObjectLayout& wanted, const std::string& name) {
  const auto differ = [&](const char* what, std::uint64_t is, std::uint64_t should) {
    throw std::invalid_argument("region \"" + name + "\": its " + what + " is " + std::to_string(is) +
                                ", not " + std::to_string(should));
  };
  if (wanted.size && *wanted.size != shape.size) differ("size", shape.size, *wanted.size);
  if (wanted.chunk && *wanted.chunk != shape.chunk) differ("chunk size", shape.chunk, *wanted.chunk);
}

Shape shape_of(ObjectStore& store, const ObjectLayout& layout, const std::string& name) {
  const Shape given{layout.size.value_or(0), layout.chunk.value_or(layout.default_chunk), random_id()};
  if (!layout.labelled) return {given.size, given.chunk, 0};
  auto label = store.get_label();
  if (!label) {
    if (!layout.size)
      throw std::invalid_argument("region \"" + name + "\": there is none; size=SIZE makes one");
    if (layout.read_only) fail(ENOENT, name);
    if (store.make_label(label_of(given))) return given;
    label = store.get_label();
    if (!label) fail(EIO, name + ": its label came and went");
  }
  const Shape shape = parse_label(*label, name);
  check_same(shape, layout, name);
  return shape;
}

}  // namespace

ObjectLayout parse_layout(const UriParameters& parameters, bool read_only) {
  ObjectLayout layout;
  layout.read_only = read_only;
  if (const auto size = parameter(parameters, "size"); !size.empty()) {
    layout.size = parse_size(size);
    if (*layout.size > ~std::uint64_t{0} >> 1)
      throw std::invalid_argument("no region is larger than 2^63-1 bytes");
  }
  if (const auto chunk = parameter(parameters, "chunk"); !chunk.empty()) {
    layout.chunk = parse_size(chunk);
    if (!fit(*layout.chunk))
      throw std::invalid_argument("chunk=" + chunk + ": a power of two from 4K to 32M is accepted");
  }
  return layout;
}

Helped open_object_region(std::unique_ptr<ObjectStore> store, const ObjectLayout& layout,
                          const std::string& name) {
  if (layout.chunk && *layout.chunk > layout.largest_chunk)
    throw std::invalid_argument("region \"" + name + "\": chunk=: at most " + format_size(layout.largest_chunk) +
                                " is accepted here");
  const Shape shape = shape_of(*store, layout, name);
  store->set_chunk(shape.chunk);
  auto objects = std::make_unique<Objects>(std::move(store), shape, layout.read_only);
  return {std::make_unique<Chunked>(std::move(objects), shape.chunk, ChunkReads::any), shape.id};
}

}  // namespace r3
