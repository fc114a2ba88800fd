// SPDX-License-Identifier: Apache-2.0
// One file of a source: followed by its path, through growth, truncation, replacement and removal, with what
// one destination is known to have of it. Knows no connection.
#pragma once

#include <optional>
#include <string>

#include "tools/mmap-hashsync/pagemap.hpp"
#include "tools/mmap-hashsync/scan.hpp"
#include "tools/mmap-hashsync/shared_looks.hpp"

namespace r3::sync {

enum class Detect { automatic, hash, pagemap, shadow };

struct SourceSpec {
  std::string name;  // at the destination
  std::string path;
};
// [NAME=]PATH; without a name (what begins with / or ./ has none), the last part of the path.
SourceSpec parse_source(const std::string& text);

class SourceFile {
 public:
  // Throws if there is no such file. `once`: it is looked at once, for which no mapping is worth its faults.
  SourceFile(SourceSpec spec, std::uint32_t chunk, Detect detect, pid_t writer, bool once = false);

  const SourceSpec& spec() const { return spec_; }
  const FileView& view() const { return view_; }
  HashTable& known() { return known_; }
  std::uint64_t generation() const { return generation_; }
  const Geometry& geometry() const { return known_.geometry(); }

  // Looks where the path leads now, and how long the file is. True if the size is another one; `known` has the
  // new geometry then. A file that is gone is said once, and followed on.
  bool refresh();
  // The same without following the path, and only if it got shorter.
  bool refresh_if_shorter();
  // `known` becomes what the file holds now.
  void hash_all(const Scan& scan);
  // The same from a look that is shared, of now or after `since`; false if another one had made it.
  bool share(SharedLooks& looks, const Scan& scan, SharedLooks::Clock::time_point since);
  // What has changed according to a shared look that is news to this file. `looked`: it was made for this.
  std::vector<Run> changes(SharedLooks& looks, const Scan& scan, bool now, bool& looked);
  // What may have changed since the last call.
  std::vector<Run> to_look_at();
  // Sends what changed; returns the number of chunks.
  std::uint64_t send(const Scan& scan, std::span<const Run> runs, std::uint32_t id, Outlet& outlet);
  // The next look goes over all of it by hashes, whatever a shadow or the page map say.
  void distrust();

 private:
  bool resize(std::uint64_t size);
  std::shared_ptr<const SharedLooks::Look> look(SharedLooks& looks, const Scan& scan,
                                                SharedLooks::Clock::time_point since, bool& looked);
  void follow_path();

  const SourceSpec spec_;
  const std::uint32_t chunk_;
  const Detect detect_;
  const pid_t writer_;
  const bool once_;
  FileView view_;
  Identity identity_;
  std::uint64_t generation_ = 1;
  bool gone_ = false;
  HashTable known_;
  std::optional<Shadow> shadow_;
  std::optional<PageMap> page_map_;
  bool look_at_all_ = true;
  SharedLooks::Clock::time_point seen_{};  // when the shared look began that was taken last
};

}  // namespace r3::sync
