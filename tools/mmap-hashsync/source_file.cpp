// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/source_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "tools/mmap-hashsync/directory.hpp"

namespace r3::sync {

SourceSpec parse_source(const std::string& text) {
  const auto end = text.find('=');
  const bool named = end != text.npos && end > 0 && text[0] != '/' && !text.starts_with("./");
  const SourceSpec spec = named ? SourceSpec{text.substr(0, end), text.substr(end + 1)}
                                : SourceSpec{leaf_of(text), text};
  if (spec.path.empty()) throw std::invalid_argument("\"" + text + "\" is no [NAME=]FILE");
  try {
    check_name(spec.name);
  } catch (const ProtocolError& error) {
    throw std::invalid_argument(error.what());
  }
  return spec;
}

SourceFile::SourceFile(SourceSpec spec, std::uint32_t chunk, Detect detect, pid_t writer, bool once)
    : spec_(std::move(spec)), chunk_(chunk), detect_(detect), writer_(writer), once_(once),
      view_(open_file(spec_.path, O_RDONLY | O_NONBLOCK | O_NOCTTY), spec_.path),
      identity_(identity_of(view_.fd(), spec_.path)) {
  if (once_) view_.do_not_map();
  if (detect_ == Detect::shadow) shadow_.emplace();
  if (detect_ == Detect::pagemap) page_map_.emplace(writer_, identity_, spec_.path);
  resize(view_.refresh());
}

bool SourceFile::resize(std::uint64_t size) {
  const Geometry geometry{size, chunk_};
  if (geometry == known_.geometry()) return false;
  if (!acceptable(geometry))
    throw std::invalid_argument(spec_.path + ": too many chunks: a larger --chunk-size is needed");
  known_.resize(geometry);
  if (shadow_) {
    Mapping copy = Mapping::anonymous(static_cast<std::size_t>(size));
    const auto kept = std::min(copy.bytes().size(), shadow_->copy.bytes().size());
    if (kept > 0) std::memcpy(copy.bytes().data(), shadow_->copy.bytes().data(), kept);
    shadow_->copy = std::move(copy);
    look_at_all_ = true;  // the shadow's new end is not what is known
  }
  return true;
}

void SourceFile::follow_path() {
  struct stat found;
  if (::stat(spec_.path.c_str(), &found) < 0) {
    if (!std::exchange(gone_, true))
      log_warning(spec_.path + " is gone: the destination keeps what it has");
    return;
  }
  gone_ = false;
  if (Identity{found.st_dev, found.st_ino} == identity_) return;
  try {
    FileView replaced(open_file(spec_.path, O_RDONLY | O_NONBLOCK | O_NOCTTY), spec_.path);
    view_ = std::move(replaced);
    if (once_) view_.do_not_map();
  } catch (const std::system_error&) {
    return;  // replaced again, or not readable yet: next time
  }
  identity_ = identity_of(view_.fd(), spec_.path);
  ++generation_;
  look_at_all_ = true;
  if (page_map_) page_map_.emplace(writer_, identity_, spec_.path);
}

bool SourceFile::refresh() {
  follow_path();
  return resize(view_.refresh());
}

bool SourceFile::refresh_if_shorter() {
  const auto before = geometry().size;
  struct stat now;
  check(::fstat(view_.fd(), &now), spec_.path);
  if (!S_ISREG(now.st_mode) || static_cast<std::uint64_t>(now.st_size) >= before) return false;
  return resize(view_.refresh()) && geometry().size < before;
}

void SourceFile::hash_all(const Scan& scan) { hash_file(scan, view_, known_); }

std::shared_ptr<const SharedLooks::Look> SourceFile::look(SharedLooks& looks, const Scan& scan,
                                                          SharedLooks::Clock::time_point since, bool& looked) {
  looked = false;
  auto found = looks.take(spec_.path, identity_, geometry(), since, [&] {
    looked = true;
    HashTable table;
    table.resize(geometry());
    hash_file(scan, view_, table);
    return table;
  });
  seen_ = found->begun;
  return found;
}

bool SourceFile::share(SharedLooks& looks, const Scan& scan, SharedLooks::Clock::time_point since) {
  bool looked = false;
  known_ = look(looks, scan, since, looked)->table.clone();
  return looked;
}

std::vector<Run> SourceFile::changes(SharedLooks& looks, const Scan& scan, bool now, bool& looked) {
  const auto found = look(looks, scan, now ? SharedLooks::Clock::now() : seen_, looked);
  std::vector<Run> runs;
  std::vector<Run> layout;  // as it is now: holes are not to be touched
  std::size_t part = 0;
  Difference next;
  for (std::uint64_t at = 0; (next = next_difference(known_, found->table, at)).count > 0; at = next.first + next.count) {
    if (layout.empty()) layout = runs_of(view_, geometry());
    for (auto i = next.first; i < next.first + next.count;) {
      while (i >= layout[part].first + layout[part].count) ++part;
      const auto end = std::min(next.first + next.count, layout[part].first + layout[part].count);
      runs.push_back({i, end - i, layout[part].hole});
      i = end;
    }
  }
  return runs;
}

std::vector<Run> SourceFile::to_look_at() {
  if (page_map_) {
    // Asked first even if all is looked at: from here on it has to tell what is written.
    auto written = page_map_->written(geometry());
    if (!look_at_all_) return written;
  }
  look_at_all_ = false;
  return runs_of(view_, geometry());
}

void SourceFile::distrust() {
  look_at_all_ = true;
  if (shadow_) shadow_->fresh = true;
}

std::uint64_t SourceFile::send(const Scan& scan, std::span<const Run> runs, std::uint32_t id,
                               Outlet& outlet) {
  return send_changes(scan, view_, runs, known_, id, outlet, shadow_ ? &*shadow_ : nullptr);
}

}  // namespace r3::sync
