// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/net/nbd_client.hpp"
#include "libcommon/net/r3_region.hpp"
#include "libcommon/net/region_helper.hpp"
#include "libcommon/storage/directory.hpp"
#include "libcommon/storage/file.hpp"
#include "libcommon/storage/memory.hpp"
#include "libcommon/storage/pattern.hpp"
#include "libcommon/storage/read_only.hpp"

namespace r3 {

namespace {

void load(const std::string& path, Backend& memory) {
  FileBackend file(path, true);
  if (file.size() > memory.size())
    fail(EFBIG, path + " has " + std::to_string(file.size()) + " bytes, the region " +
                    std::to_string(memory.size()));
  std::vector<std::byte> buffer(std::min<std::uint64_t>(file.size(), MiB));
  for (std::uint64_t offset = 0; offset < file.size(); offset += buffer.size()) {
    const auto part = Bytes(buffer).first(std::min<std::uint64_t>(buffer.size(), file.size() - offset));
    file.read_at(part, offset);
    if (!all_zero(part)) memory.write_at(part, offset);
  }
}

std::unique_ptr<Backend> open_memory(const Region& region) {
  auto memory = std::make_unique<MemoryBackend>(region.size);
  const auto file = region.parameters.find("file");
  if (file != region.parameters.end()) load(file->second, *memory);
  return memory;
}

std::unique_ptr<Backend> open_directory(const Region& region, const RegionOptions& options) {
  DirectoryOptions wanted;
  wanted.read_only = options.read_only;
  wanted.open_files = options.open_files;
  if (region.parameters.count("size") > 0) wanted.size = region.size;
  const auto chunk = region.parameters.find("chunk");
  if (chunk != region.parameters.end()) wanted.chunk_size = parse_size(chunk->second);
  return std::make_unique<DirectoryBackend>(region.rest, wanted);
}

std::unique_ptr<Backend> open_remote(const Region& region, const RegionOptions& options) {
  return open_nbd(region.address, region.rest,
                  {.connections = options.connections,
                   .read_only = options.read_only,
                   .connect_timeout = options.connect_timeout,
                   .io_timeout = options.io_timeout,
                   .stop = options.stop,
                   .on_change = options.on_change});
}

std::unique_ptr<Backend> open_any(const Region& region, const RegionOptions& options) {
  if (region.scheme == "file") return std::make_unique<FileBackend>(region.rest, options.read_only);
  if (region.scheme == "memory") return open_memory(region);
  if (region.scheme == "dir") return open_directory(region, options);
  if (region.scheme == "pattern") return std::make_unique<PatternBackend>(region.size);
  if (region.scheme == "zero") return std::make_unique<ZeroBackend>(region.size);
  if (region.scheme.starts_with("r3")) return open_r3(region, options);
  if (is_helped(region)) return open_helped_region(region, options);
  return open_remote(region, options);
}

}  // namespace

std::unique_ptr<Backend> open_region(const Region& region, const RegionOptions& options) {
  auto backend = open_any(region, options);
  if (options.read_only && !backend->read_only())
    backend = std::make_unique<ReadOnly>(std::move(backend));
  return backend;
}

}  // namespace r3
