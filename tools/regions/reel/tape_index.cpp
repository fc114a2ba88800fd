// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/reel/tape_index.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <mutex>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kMagic = 0x3158444e49335201;  // "\1R3INDX1"
constexpr std::uint64_t kLeastMap = 64 * MiB;
constexpr std::uint64_t kMapOfBlock = 512;  // an entry, twice for copy on write, half filled pages: never written unless used
constexpr unsigned char kKnown = 'k', kBlock = 'b';

struct StoredKnown {
  std::uint64_t magic, tape, region, size, chunk, block, copied, generation, end, sequence, records;
  std::array<RecordHeader::Before, RecordHeader::kBefore> before;
};
static_assert(sizeof(StoredKnown) == 136);

// LMDB keeps keys in the order of their bytes.
struct Key {
  explicit Key(std::uint64_t block) {
    bytes[0] = std::byte{kBlock};
    store_be(bytes.data() + 1, block);
  }
  MDB_val value() { return {bytes.size(), bytes.data()}; }
  std::array<std::byte, 9> bytes;
};

bool is_block(const MDB_val& key) { return key.mv_size == 9 && *static_cast<unsigned char*>(key.mv_data) == kBlock; }

std::uint64_t block_of(const MDB_val& key) { return load_be<std::uint64_t>(static_cast<std::byte*>(key.mv_data) + 1); }

}  // namespace

class TapeIndex::Transaction {
 public:
  Transaction(const TapeIndex& index, unsigned flags) : index_(index) {
    index.check_lmdb(::mdb_txn_begin(index.env_.get(), nullptr, flags, &txn_));
  }
  ~Transaction() {
    if (txn_) ::mdb_txn_abort(txn_);
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  MDB_txn* get() const { return txn_; }
  void commit() { index_.check_lmdb(::mdb_txn_commit(std::exchange(txn_, nullptr))); }

 private:
  const TapeIndex& index_;
  MDB_txn* txn_ = nullptr;
};

TapeIndex::TapeIndex(const std::string& path, const std::optional<TapeKnown>& fresh)
    : path_(path), lock_(open_file(path, O_RDWR | (fresh ? O_CREAT : 0))) {
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0)
    fail(errno == EWOULDBLOCK ? EBUSY : errno, path_ + ": another process uses this index");
  const auto length = check(::lseek(lock_.get(), 0, SEEK_END), path_);
  if (length == 0 && !fresh) fail(EINVAL, path_ + " is empty (tapisk --rebuild makes it from the tape)");
  MDB_env* env = nullptr;
  check_lmdb(::mdb_env_create(&env));
  env_.reset(env);
  if (fresh) {
    const auto blocks = fresh->label.size / std::max<std::uint64_t>(fresh->label.chunk, 1);
    check_lmdb(::mdb_env_set_mapsize(env, round_up(kLeastMap + blocks * kMapOfBlock, MiB)));
  }
  // One process has it (the lock above), and one thread writes: LMDB's own lock file is not needed.
  check_lmdb(::mdb_env_open(env, path_.c_str(), MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS, 0666));
  Transaction txn(*this, 0);
  check_lmdb(::mdb_dbi_open(txn.get(), nullptr, 0, &table_));
  txn.commit();
  if (length == 0) apply({}, *fresh);
  load();
}

void TapeIndex::check_lmdb(int result) const {
  if (result == 0) return;
  if (result > 0) fail(result, path_);
  if (result == MDB_MAP_FULL) fail(ENOSPC, path_ + ": the index is full");
  fail(EINVAL, path_ + " is no index, or damaged (" + ::mdb_strerror(result) + "; tapisk --rebuild makes it anew)");
}

void TapeIndex::load() {
  Transaction txn(*this, MDB_RDONLY);
  auto name = kKnown;
  MDB_val key{1, &name}, value{};
  const int result = ::mdb_get(txn.get(), table_, &key, &value);
  StoredKnown stored{};
  if (result == 0 && value.mv_size == sizeof stored) std::memcpy(&stored, value.mv_data, sizeof stored);
  if (result != MDB_NOTFOUND) check_lmdb(result);
  if (stored.magic != kMagic) fail(EINVAL, path_ + " is no index of a tape");
  known_ = {{stored.tape, stored.region, stored.size, stored.chunk, static_cast<std::uint32_t>(stored.block), stored.copied},
            stored.generation, stored.end, stored.sequence, stored.records, stored.before};
}

std::uint64_t TapeIndex::count() const {
  const std::shared_lock lock(mutex_);
  Transaction txn(*this, MDB_RDONLY);
  MDB_stat about{};
  check_lmdb(::mdb_stat(txn.get(), table_, &about));
  return about.ms_entries - 1;
}

std::optional<TapeEntry> TapeIndex::find(std::uint64_t block) const {
  const std::shared_lock lock(mutex_);
  Transaction txn(*this, MDB_RDONLY);
  Key name(block);
  MDB_val key = name.value(), value{};
  const int result = ::mdb_get(txn.get(), table_, &key, &value);
  if (result == MDB_NOTFOUND) return {};
  check_lmdb(result);
  TapeEntry entry;
  if (value.mv_size != sizeof entry) fail(EINVAL, path_ + " is damaged (tapisk --rebuild makes it anew)");
  std::memcpy(&entry, value.mv_data, sizeof entry);
  return entry;
}

std::optional<std::uint64_t> TapeIndex::next(std::uint64_t block) const {
  const std::shared_lock lock(mutex_);
  Transaction txn(*this, MDB_RDONLY);
  MDB_cursor* cursor = nullptr;
  check_lmdb(::mdb_cursor_open(txn.get(), table_, &cursor));
  const std::unique_ptr<MDB_cursor, decltype(&::mdb_cursor_close)> owned(cursor, ::mdb_cursor_close);
  Key name(block);
  MDB_val key = name.value(), value{};
  const int result = ::mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
  if (result != MDB_NOTFOUND) check_lmdb(result);
  if (result == MDB_NOTFOUND || !is_block(key)) return {};
  return block_of(key);
}

void TapeIndex::each(const std::function<void(std::uint64_t, const TapeEntry&)>& look) const {
  const std::shared_lock lock(mutex_);
  Transaction txn(*this, MDB_RDONLY);
  MDB_cursor* cursor = nullptr;
  check_lmdb(::mdb_cursor_open(txn.get(), table_, &cursor));
  const std::unique_ptr<MDB_cursor, decltype(&::mdb_cursor_close)> owned(cursor, ::mdb_cursor_close);
  Key name(0);
  MDB_val key = name.value(), value{};
  for (int result = ::mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); result != MDB_NOTFOUND;
       result = ::mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
    check_lmdb(result);
    if (!is_block(key)) return;
    TapeEntry entry;
    if (value.mv_size != sizeof entry) fail(EINVAL, path_ + " is damaged (tapisk --rebuild makes it anew)");
    std::memcpy(&entry, value.mv_data, sizeof entry);
    look(block_of(key), entry);
  }
}

void TapeIndex::apply(const TapeChanges& changes, const TapeKnown& known) {
  const std::lock_guard lock(mutex_);
  Transaction txn(*this, 0);
  for (const auto& [block, entry] : changes) {
    Key name(block);
    MDB_val key = name.value();
    if (entry) {
      TapeEntry stored = *entry;
      MDB_val value{sizeof stored, &stored};
      check_lmdb(::mdb_put(txn.get(), table_, &key, &value, 0));
    } else if (const int result = ::mdb_del(txn.get(), table_, &key, nullptr); result != MDB_NOTFOUND) {
      check_lmdb(result);
    }
  }
  const TapeLabel& label = known.label;
  StoredKnown stored{kMagic, label.tape, label.region, label.size, label.chunk, label.block, label.copied,
                     known.generation, known.end, known.sequence, known.records, known.before};
  auto name = kKnown;
  MDB_val key{1, &name}, value{sizeof stored, &stored};
  check_lmdb(::mdb_put(txn.get(), table_, &key, &value, 0));
  txn.commit();
  known_ = known;
}

}  // namespace r3
