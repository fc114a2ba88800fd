// SPDX-License-Identifier: Apache-2.0
#include "tools/ram-dl/mirror.hpp"

#include <algorithm>
#include <bit>
#include <bitset>
#include <cstring>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kBits = 64;

// Calls `act` with each word that the bits [first, end) touch, and the mask of them in it.
template <class Act>
void for_words(std::uint64_t first, std::uint64_t end, Act act) {
  while (first < end) {
    const auto bit = first % kBits;
    const auto bits = std::min(end - first, kBits - bit);
    const auto mask = (bits == kBits ? ~0ULL : (1ULL << bits) - 1) << bit;
    act(first / kBits, mask);
    first += bits;
  }
}

}  // namespace

void Mirror::PageMap::set(std::uint64_t first, std::uint64_t end) {
  for_words(first, end, [this](auto word, auto mask) { words_[word] |= mask; });
}

void Mirror::PageMap::clear(std::uint64_t first, std::uint64_t end) {
  for_words(first, end, [this](auto word, auto mask) { words_[word] &= ~mask; });
}

bool Mirror::PageMap::any(std::uint64_t first, std::uint64_t end) const {
  bool found = false;
  for_words(first, end, [&](auto word, auto mask) { found = found || (words_[word] & mask) != 0; });
  return found;
}

std::uint64_t Mirror::PageMap::count() const {
  std::uint64_t bits = 0;
  for (const auto& word : words_) bits += static_cast<unsigned>(std::popcount(word.load()));
  return bits;
}

void Mirror::PageMap::take_over(const PageMap& other) {
  for (std::size_t i = 0; i < words_.size(); ++i) words_[i] = other.words_[i].load();
}

std::pair<std::uint64_t, std::uint64_t> Mirror::PageMap::run(std::uint64_t from, std::uint64_t most) const {
  const auto all = words_.size() * kBits;
  const auto test = [this](std::uint64_t bit) { return (words_[bit / kBits] >> bit % kBits & 1) != 0; };
  while (from < all && !test(from)) from = words_[from / kBits] == 0 ? round_down(from, kBits) + kBits : from + 1;
  auto end = std::min(from, all);
  while (end < all && end - from < most && test(end)) ++end;
  return {std::min(from, all), end};
}

// The stripes of a range, held together with other writers, for as long as both sides change. In ascending order,
// so that no two wait for each other.
class Mirror::Stripes {
 public:
  Stripes(Mirror& mirror, std::uint64_t offset, std::uint64_t length) : mirror_(mirror) {
    if (length == 0) return;
    const auto last = (offset + length - 1) / kStripe;
    for (auto i = offset / kStripe; i <= last && !held_.all(); ++i) held_.set(i % kStripes);
    for (std::size_t i = 0; i < kStripes; ++i)
      if (held_[i]) mirror_.stripes_[i].lock_shared();
  }
  ~Stripes() {
    for (std::size_t i = 0; i < kStripes; ++i)
      if (held_[i]) mirror_.stripes_[i].unlock_shared();
  }
  Stripes(const Stripes&) = delete;
  Stripes& operator=(const Stripes&) = delete;

 private:
  Mirror& mirror_;
  std::bitset<kStripes> held_;
};

Mirror::Mirror(std::unique_ptr<Backend> remote, Open open, std::unique_ptr<Backend> copy, Options options)
    : open_(std::move(open)),
      copy_(std::move(copy)),
      options_(std::move(options)),
      size_(round_down(copy_->size(), kPage)),
      written_(size_ / kPage),
      stale_(size_ / kPage),
      remote_(std::move(remote)),
      buffer_(Mapping::anonymous(kStripe)) {
  if (options_.copy_is_newer) {
    written_.set(0, size_ / kPage);
    stale_.set(0, size_ / kPage);
  }
  keeper_.spawn([this] { keep_remote(); });
}

Mirror::~Mirror() {
  Mirror::abandon();
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  keeper_.stop().request();
}

MirrorNumbers Mirror::numbers() const {
  const bool connected = remote() != nullptr;
  return {connected, (connected ? stale_ : written_).count() * kPage, outages_};
}

Mirror::Remote Mirror::remote() const {
  std::lock_guard lock(mutex_);
  return remote_;
}

// Says nothing here: who reads what is said may itself wait for this very page. Who waits for the same remote in
// other threads gets an error at once, and so comes here, too.
void Mirror::lost(const Remote& which, int error) noexcept {
  {
    std::lock_guard lock(mutex_);
    if (remote_ != which) return;
    remote_ = nullptr;
    error_ = error;
  }
  ++outages_;
  changed_.notify_all();
  which->abandon();
}

void Mirror::read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size_, offset, into.size());
  const Remote there = remote();
  if (there && !stale_.any(offset / kPage, (offset + into.size() + kPage - 1) / kPage)) {
    try {
      return there->read_at(into, offset);
    } catch (const std::exception&) {
      lost(there, errno_of_current_exception());
    }
  }
  copy_->read_at(into, offset);
}

void Mirror::write_at(ConstBytes from, std::uint64_t offset) {
  check_write_range(size_, offset, from.size());
  const Stripes held(*this, offset, from.size());
  const auto end = offset + from.size();
  // What a failed write leaves in the copy is not known, but who failed does not read it again.
  copy_->write_at(from, offset);
  written_.set(offset / kPage, (end + kPage - 1) / kPage);
  const Remote there = remote();
  if (!there) return;
  try {
    there->write_at(from, offset);
    stale_.clear((offset + kPage - 1) / kPage, end / kPage);
  } catch (const std::exception&) {
    lost(there, errno_of_current_exception());
  }
}

void Mirror::discard_at(std::uint64_t offset, std::uint64_t length) {
  check_read_range(size_, offset, length);
  const Stripes held(*this, offset, length);
  const auto first = (offset + kPage - 1) / kPage;
  const auto end = std::max(first, (offset + length) / kPage);
  written_.clear(first, end);
  stale_.clear(first, end);
  const Remote there = remote();
  if (!there || first == end) return;
  try {
    there->discard_at(first * kPage, (end - first) * kPage);
  } catch (const std::exception&) {
    lost(there, errno_of_current_exception());
  }
}

void Mirror::flush() {
  copy_->flush();
  const Remote there = remote();
  if (!there) return;
  try {
    there->flush();
  } catch (const std::exception&) {
    lost(there, errno_of_current_exception());
  }
}

void Mirror::abandon() noexcept {
  if (const Remote there = remote()) there->abandon();
}

void Mirror::tell(bool connected, const std::string& why) noexcept {
  if (options_.on_change) options_.on_change(connected, why);
}

// False at the end.
bool Mirror::pause(std::chrono::milliseconds time) { return !keeper_.stop().wait_for(time); }

// Everything that was ever written is stale then: what a remote that was away still has is not worth to know, for
// it may have been started anew. While nobody writes, so that no page is missed.
Mirror::Remote Mirror::open_again() {
  Remote fresh = open_();
  if (fresh->size() < size_) fail(EPROTO, "the remote is smaller than it was");
  if (fresh->read_only()) fail(EROFS, "the remote");
  for (auto& stripe : stripes_) stripe.lock();
  stale_.take_over(written_);
  {
    std::lock_guard lock(mutex_);
    remote_ = fresh;
  }
  for (auto& stripe : stripes_) stripe.unlock();
  return fresh;
}

void Mirror::catch_up(const Remote& there) {
  const auto pages = kStripe / kPage;
  for (std::uint64_t from = 0; remote() == there && !keeper_.stop().requested();) {
    const auto [seen, seen_end] = stale_.run(from, pages - from % pages);
    if (seen == seen_end) return;
    from = seen;
    const std::lock_guard alone(stripes_[seen * kPage / kStripe % kStripes]);
    const auto [first, end] = stale_.run(seen, pages - seen % pages);
    if (first / pages != seen / pages || first == end) continue;  // written or discarded meanwhile
    const Bytes piece = buffer_.bytes().first((end - first) * kPage);
    copy_->read_at(piece, first * kPage);
    there->write_at(piece, first * kPage);
    stale_.clear(first, end);
  }
}

// Its last user is the keeper, because the end of a remote may take a while. False at the end.
bool Mirror::take_leave(Remote& mine, std::string& said) {
  tell(false, said);
  while (mine.use_count() > 1)
    if (!pause(std::chrono::milliseconds(1))) return false;
  mine.reset();
  return true;
}

// The only thread that may take memory, resolve names or wait for long: nobody's page waits for it.
void Mirror::keep_remote() {
  std::string said;
  Remote mine = remote();
  for (auto wait = options_.first_pause;; wait = std::min(wait * 2, options_.longest_pause)) {
    try {
      if (!mine) mine = open_again();
      catch_up(mine);
      mine->flush();
      if (remote() == mine) {
        if (!said.empty()) tell(true, {});
        said.clear();
        wait = options_.first_pause;
      }
    } catch (const std::exception&) {
      const std::string why = text_of_current_exception();
      if (mine) lost(mine, errno_of_current_exception());
      else if (why != said) tell(false, said = why);
    }
    if (mine) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return ending_ || !remote_; });
      if (ending_) return;
      said = std::strerror(error_);
      lock.unlock();
      if (!take_leave(mine, said)) return;
    }
    if (!pause(wait)) return;
  }
}

}  // namespace r3
