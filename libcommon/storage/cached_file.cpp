// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached_file.hpp"

#include <algorithm>
#include <optional>
#include <shared_mutex>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kIntentAhead = 8;   // groups whose intent is set at once
constexpr std::size_t kSnapshots = 64;      // pages of one checkpoint round

Bytes bytes_of(CachePage& page) { return std::as_writable_bytes(std::span(&page, 1)); }

std::uint64_t bit(std::uint64_t group) { return 1ULL << group % CachePage::kGroups; }

std::uint64_t first_chunk(std::uint64_t page) { return page * CachePage::kChunks; }

}  // namespace

FileStore::FileStore(CacheDisk& disk, const std::string& name, const CacheOwner& owner,
                     const std::array<std::byte, 16>& boot)
    : disk_(disk),
      name_(name),
      layout_(owner.size, owner.chunk),
      boot_(boot),
      pages_(layout_.pages),
      image_present_(layout_.chunks),
      image_dirty_(layout_.chunks),
      claimed_(layout_.chunks) {
  if (disk_.size() == 0) begin(owner);
  else take_up(owner);
}

void FileStore::refuse(const std::string& why) const { fail(EINVAL, name_ + ": " + why); }

void FileStore::begin(const CacheOwner& owner) {
  disk_.grow(layout_.end, layout_.data);
  const Bytes live = disk_.map(layout_.live, 2 * layout_.map_words * 8);
  auto* words = reinterpret_cast<std::uint64_t*>(live.data());
  present_words_ = {words, layout_.map_words};
  dirty_words_ = {words + layout_.map_words, layout_.map_words};
  label_.chunk = static_cast<std::uint32_t>(owner.chunk);
  label_.size = owner.size;
  label_.region = name_hash(owner.name);
  label_.instance = owner.instance;
  owner.name.copy(label_.name.data(), label_.name.size() - 1);
  disk_.sync();
  write_label(CacheLabel::kOpen);
}

void FileStore::take_up(const CacheOwner& owner) {
  if (is_unfinished()) return begin(owner);
  label_ = read_label();
  check_label(label_, owner);
  const Bytes live = disk_.map(layout_.live, 2 * layout_.map_words * 8);
  auto* words = reinterpret_cast<std::uint64_t*>(live.data());
  present_words_ = {words, layout_.map_words};
  dirty_words_ = {words + layout_.map_words, layout_.map_words};
  read_pages(label_);
  found_ = label_.open == CacheLabel::kClosed ? Found::closed : label_.boot == boot_ ? Found::killed : Found::power_loss;
  recover();
  write_label(CacheLabel::kOpen);
}

// Of our size, and no label yet: its maker did not come further.
bool FileStore::is_unfinished() {
  if (disk_.size() != layout_.end) return false;
  std::vector<std::byte> labels(2 * kCachePage);
  disk_.read(labels, 0);
  return all_zero(labels);
}

CacheLabel FileStore::read_label() {
  if (disk_.size() < 2 * kCachePage) refuse("no cache of r3-mount");
  std::optional<CacheLabel> newest;
  bool ours = false;
  for (std::uint64_t place = 0; place < 2; ++place) {
    CacheLabel label;
    disk_.read(std::as_writable_bytes(std::span(&label, 1)), place * kCachePage);
    ours |= label.magic == CacheLabel{}.magic;
    if (whole(label) && (!newest || label.sequence > newest->sequence)) newest = label;
  }
  if (!newest) refuse(ours ? "the cache's label is damaged" : "no cache of r3-mount");
  return *newest;
}

void FileStore::check_label(const CacheLabel& label, const CacheOwner& owner) const {
  if (label.version != 1) refuse("a cache of another version");
  if (label.region != name_hash(owner.name))
    refuse("the cache of another region, " + std::string(label.name.data()));
  if (label.size != owner.size) refuse("the region had " + std::to_string(label.size) + " bytes");
  if (label.instance != owner.instance) refuse("the cache of a content that its server has lost");
  if (label.chunk != owner.chunk)
    refuse("made with --chunk-size " + std::to_string(label.chunk));
  if (disk_.size() < layout_.end) refuse("the cache was cut off");
  if (label.open == CacheLabel::kFailed)
    refuse("its disk failed while it was in use: what it holds cannot be believed");
}

void FileStore::write_label(std::uint64_t open) {
  ++label_.sequence;
  label_.open = open;
  label_.boot = boot_;
  label_.pages = 0;
  for (const Page& page : pages_) label_.pages += page.sequence;
  seal(label_);
  disk_.write(std::as_bytes(std::span(&label_, 1)), label_.sequence % 2 * kCachePage);
  disk_.sync();
}

bool FileStore::read_page(std::uint64_t number, CachePage& newest) {
  bool found = false, blank = true;
  for (std::uint64_t place = 0; place < 2; ++place) {
    CachePage page;
    disk_.read(bytes_of(page), layout_.first_page + (2 * number + place) * kCachePage);
    blank &= all_zero(bytes_of(page));
    if (!whole(page) || page.number != number) continue;
    if (!found || page.sequence > newest.sequence) newest = page;
    found = true;
  }
  // A first write that never became whole leaves no other, and nothing that counted.
  if (!found && !blank && label_.open == CacheLabel::kClosed) refuse("the cache's map is damaged");
  return found;
}

void FileStore::read_pages(const CacheLabel& label) {
  std::uint64_t sequences = 0;
  for (std::uint64_t number = 0; number < layout_.pages; ++number) {
    CachePage page;
    if (!read_page(number, page)) continue;
    sequences += page.sequence;
    pages_[number].sequence = page.sequence;
    pages_[number].durable_intent = pages_[number].intent = page.intent;
    put_into_image(page);
  }
  if (label.open == CacheLabel::kClosed && sequences != label.pages) refuse("the cache's map is damaged");
  for (std::uint64_t index = 0; index < Bitmap::words_for(layout_.chunks); ++index)
    claimed_.set_word(index, image_present_.word(index));
}

void FileStore::put_into_image(const CachePage& page) {
  const auto first = first_chunk(page.number) / 64;
  const auto words = std::min(CachePage::kWords, Bitmap::words_for(layout_.chunks) - first);
  for (std::uint64_t i = 0; i < words; ++i) {
    image_present_.set_word(first + i, page.present[i]);
    image_dirty_.set_word(first + i, page.dirty[i]);
  }
}

void FileStore::fill_from_image(CachePage& page) const {
  const auto first = first_chunk(page.number) / 64;
  const auto words = std::min(CachePage::kWords, Bitmap::words_for(layout_.chunks) - first);
  for (std::uint64_t i = 0; i < words; ++i) {
    page.present[i] = image_present_.word(first + i);
    page.dirty[i] = image_dirty_.word(first + i);
  }
}

// What the live maps are to say, depending on how the last user ended.
void FileStore::recover() {
  const auto words = Bitmap::words_for(layout_.chunks);
  for (std::uint64_t index = 0; index < words; ++index) {
    if (found_ != Found::killed) {
      const auto group = index / (ChunkMap::kGroup / 64);
      const auto& page = pages_[group / CachePage::kGroups];
      const bool doubt = found_ == Found::power_loss && (page.durable_intent & bit(group)) != 0;
      present_words_[index] = image_present_.word(index);
      dirty_words_[index] = doubt ? ~0ULL : image_dirty_.word(index);
    }
    dirty_words_[index] &= present_words_[index];  // a write that was cut short says nothing
  }
}

void FileStore::forget_clean(std::uint64_t first, std::uint64_t count) {
  for (auto chunk = first; chunk < first + count; ++chunk)
    if ((dirty_words_[chunk / 64] >> chunk % 64 & 1) == 0)
      present_words_[chunk / 64] &= ~(1ULL << chunk % 64);
}

void FileStore::close() {
  sync();
  const std::lock_guard lock(pages_mutex_);
  write_label(CacheLabel::kClosed);
}

void FileStore::read(Bytes into, std::uint64_t offset) { disk_.read(into, layout_.data + offset); }

bool FileStore::try_read(Bytes into, std::uint64_t offset) {
  return disk_.try_read(into, layout_.data + offset);
}

void FileStore::write(ConstBytes from, std::uint64_t offset) {
  if (error_ != 0) fail(error_, name_ + ": a sync failed");
  disk_.write(from, layout_.data + offset);
}

void FileStore::zero(std::uint64_t offset, std::uint64_t length) {
  if (error_ != 0) fail(error_, name_ + ": a sync failed");
  disk_.punch(layout_.data + offset, length, true);
}

void FileStore::drop(std::uint64_t offset, std::uint64_t length) noexcept {
  try {
    disk_.punch(layout_.data + offset, length, false);
  } catch (const std::system_error&) {
    // The space stays taken.
  }
}

bool FileStore::may_overwrite(std::uint64_t first, std::uint64_t) {
  const auto group = first / ChunkMap::kGroup;
  return (pages_[group / CachePage::kGroups].intent.load() & bit(group)) != 0;
}

void FileStore::allow_overwrite(std::uint64_t first, std::uint64_t) {
  const std::lock_guard lock(pages_mutex_);
  const auto group = first / ChunkMap::kGroup;
  Page& page = pages_[group / CachePage::kGroups];
  std::uint64_t wanted = 0;
  for (auto ahead = group; ahead < group + kIntentAhead; ++ahead)
    if (ahead / CachePage::kGroups == group / CachePage::kGroups) wanted |= bit(ahead);
  if ((page.durable_intent & bit(group)) == 0) {
    CachePage next;
    next.number = group / CachePage::kGroups;
    next.intent = page.durable_intent | wanted;
    fill_from_image(next);
    write_page(next);
    make_durable();
    page.durable_intent = next.intent;
  }
  page.intent |= page.durable_intent & wanted;
}

// Over the older of the two places; the caller syncs before the next one of the same number.
void FileStore::write_page(CachePage& page) {
  page.sequence = ++pages_[page.number].sequence;
  seal(page);
  disk_.write(bytes_of(page),
              layout_.first_page + (2 * page.number + page.sequence % 2) * kCachePage);
}

// What is clean is on the remote: whatever the pages say of it may be taken back. What is dirty stays.
void FileStore::prepare_drop(std::uint64_t first, std::uint64_t count) {
  const std::lock_guard checkpoint(checkpoint_mutex_);
  std::vector<std::uint64_t> clean;
  for (auto at = first; at < first + count; at = map_->group_end(at)) {
    const std::shared_lock lock(map_->lock_of(at));
    for (auto index = at / 64; index * 64 < map_->group_end(at); ++index)
      clean.push_back(present_words_[index] & ~dirty_words_[index]);
  }
  take_back(first / 64, clean);
  for (auto at = first; at < first + count; at = map_->group_end(at)) {
    const std::lock_guard lock(map_->lock_of(at));
    for (auto index = at / 64; index * 64 < map_->group_end(at); ++index)
      claimed_.set_word(index, claimed_.word(index) & ~clean[index - first / 64]);
  }
}

void FileStore::take_back(std::uint64_t first_word, const std::vector<std::uint64_t>& clean) {
  const std::lock_guard lock(pages_mutex_);
  std::uint64_t changed = ~0ULL;  // the last page that was changed
  const auto write_changed = [&] {
    if (changed == ~0ULL) return;
    CachePage page;
    page.number = changed;
    page.intent = pages_[changed].durable_intent;
    fill_from_image(page);
    write_page(page);
  };
  for (std::size_t i = 0; i < clean.size(); ++i) {
    const auto index = first_word + i;
    if ((image_present_.word(index) & clean[i]) == 0) continue;
    if (const auto number = index / CachePage::kWords; number != changed) {
      write_changed();
      changed = number;
    }
    image_present_.set_word(index, image_present_.word(index) & ~clean[i]);
    image_dirty_.set_word(index, image_dirty_.word(index) & ~clean[i]);
  }
  if (changed == ~0ULL) return;
  write_changed();
  make_durable();
}

bool FileStore::may_drop(std::uint64_t first, std::uint64_t count) {
  return claimed_.next_set(first, first + count) == first + count;
}

// What is to be in a page, from the live maps; whether that differs from what is in it. Intents of groups
// without a dirty chunk end.
bool FileStore::take_snapshot(std::uint64_t number, CachePage& page) {
  page.number = number;
  bool differs = false;
  const auto first = first_chunk(number);
  const auto end = std::min(first + CachePage::kChunks, layout_.chunks);
  for (auto at = first; at < end; at = map_->group_end(at)) {
    const std::lock_guard lock(map_->lock_of(at));
    std::uint64_t any_dirty = 0;
    for (auto index = at / 64; index * 64 < map_->group_end(at); ++index) {
      const auto present = present_words_[index];
      const auto dirty = dirty_words_[index] & present;
      page.present[index - first / 64] = present;
      page.dirty[index - first / 64] = dirty;
      claimed_.set_word(index, claimed_.word(index) | present);
      any_dirty |= dirty;
      differs |= present != image_present_.word(index) || dirty != image_dirty_.word(index);
    }
    if (any_dirty == 0) pages_[number].intent &= ~bit(at / ChunkMap::kGroup);
  }
  return differs || pages_[number].intent != pages_[number].durable_intent;
}

// The system forgets a write that failed once it has told: after one failure, no sync is believed.
void FileStore::make_durable() {
  if (error_ != 0) fail(error_, name_ + ": an earlier sync failed");
  try {
    disk_.sync();
  } catch (const std::system_error& error) {
    error_ = error.code().value();
    throw;
  }
}

void FileStore::sync_data() {
  if (error_ == 0) try {
      return make_durable();
    } catch (const std::system_error&) {
      // The remote goes on without it, if that can be made sure.
    }
  distrust();
}

void FileStore::distrust() {
  if (distrusted_) return;
  const std::lock_guard lock(pages_mutex_);
  write_label(CacheLabel::kFailed);
  distrusted_ = true;
}

void FileStore::sync() {
  const std::lock_guard checkpoint(checkpoint_mutex_);
  std::vector<CachePage> pages;
  for (std::uint64_t number = 0; number < layout_.pages; ++number) {
    CachePage page;
    if (take_snapshot(number, page)) pages.push_back(page);
    if (pages.size() == kSnapshots || number + 1 == layout_.pages) write_pages(pages);
  }
}

void FileStore::write_pages(std::vector<CachePage>& pages) {
  make_durable();  // the bytes of what the pages call present
  if (pages.empty()) return;
  const std::lock_guard lock(pages_mutex_);
  for (CachePage& page : pages) {
    page.intent = pages_[page.number].intent;  // with what was asked for since the snapshot
    write_page(page);
  }
  make_durable();
  for (const CachePage& page : pages) {
    pages_[page.number].durable_intent = page.intent;
    put_into_image(page);
  }
  pages.clear();
}

}  // namespace r3
