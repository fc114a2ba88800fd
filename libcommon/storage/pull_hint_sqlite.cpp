// SPDX-License-Identifier: Apache-2.0
// SQLite 3, after https://www.sqlite.org/fileformat2.html (1.3 the header, 1.6 b-tree pages, 2.1 records,
// 2.6 the schema). All integers are big-endian.
#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "libcommon/storage/pull_hints.hpp"

namespace r3 {

namespace {

constexpr unsigned kInteriorIndex = 2, kInteriorTable = 5, kLeafTable = 13;
constexpr std::size_t kMostDepth = 20;         // SQLite's own limit for a cursor
constexpr std::size_t kMostPages = 1 << 18;    // of one level, or of roots
constexpr std::size_t kMostPageReads = 1 << 15;
constexpr std::size_t kFirstPageHeader = 100;  // the file's header stands before the tree's on page 1

using PageNumber = std::uint32_t;

struct Page {
  PageNumber number = 0;
  std::vector<std::byte> bytes;

  std::size_t header() const { return number == 1 ? kFirstPageHeader : 0; }
  unsigned kind() const { return std::to_integer<unsigned>(bytes[header()]); }
  bool interior() const { return kind() == kInteriorIndex || kind() == kInteriorTable; }
  std::size_t cells() const { return load_be<std::uint16_t>(&bytes[header() + 3]); }
  // Where the cell begins; nothing if that, or `need` bytes from there, is not in the page.
  std::optional<std::size_t> cell(std::size_t index, std::size_t need) const {
    const std::size_t pointer = header() + (interior() ? 12 : 8) + 2 * index;
    if (pointer + 2 > bytes.size()) return {};
    const std::size_t cell = load_be<std::uint16_t>(&bytes[pointer]);
    if (cell + need > bytes.size()) return {};
    return cell;
  }
};

class Database {
 public:
  // `reserved`: bytes at the end of each page that are not SQLite's.
  Database(HintView& view, std::size_t page_size, std::size_t reserved)
      : view_(view),
        page_size_(page_size),
        usable_(page_size - reserved),
        wanted_(view.size() / page_size + 1) {}

  std::size_t usable() const { return usable_; }

  // Names a page once; false if it was named before, or is none.
  bool want(PageNumber number) {
    if (number == 0 || number >= wanted_.size() || wanted_[number]) return false;
    wanted_[number] = true;
    view_.want((number - 1ULL) * page_size_, page_size_);
    return true;
  }

  std::optional<Page> read(PageNumber number) {
    if (number == 0 || ++reads_ > kMostPageReads) return {};
    Page page{number, std::vector<std::byte>(page_size_)};
    if (!view_.read(page.bytes, (number - 1ULL) * page_size_)) return {};
    return page;
  }

 private:
  HintView& view_;
  const std::size_t page_size_;
  const std::size_t usable_;
  std::vector<bool> wanted_;  // a bit a page
  std::size_t reads_ = 0;
};

// Of an interior page: the children that its cells name, then the rightmost one.
std::vector<PageNumber> children_of(const Page& page) {
  std::vector<PageNumber> children;
  for (std::size_t i = 0; i < page.cells(); ++i)
    if (const auto cell = page.cell(i, 4))
      children.push_back(load_be<PageNumber>(&page.bytes[*cell]));
  children.push_back(load_be<PageNumber>(&page.bytes[page.header() + 8]));
  return children;
}

// The levels of interior pages below `root`, it included. All leaves are equally deep (1.6), so the
// leftmost path tells it.
std::size_t interior_levels(Database& database, PageNumber root) {
  std::size_t levels = 0;
  std::optional<Page> page = database.read(root);
  while (page && page->interior() && levels < kMostDepth) {
    ++levels;
    page = database.read(children_of(*page).front());
  }
  return levels;
}

// Names the interior pages of several trees, the highest levels first. Those of the lowest level need
// not be read for that.
class Forest {
 public:
  explicit Forest(Database& database) : database_(database) {}

  void add(PageNumber root) {
    const std::size_t levels = interior_levels(database_, root);
    if (levels == 0) {
      database_.want(root);
      return;
    }
    if (levels_.size() < levels) levels_.resize(levels);
    levels_[levels - 1].push_back(root);
  }

  void walk() {
    for (std::size_t level = levels_.size(); level-- > 0;) {
      std::vector<PageNumber>& pages = levels_[level];
      std::sort(pages.begin(), pages.end());
      for (const PageNumber number : pages)
        if (database_.want(number) && level > 0) descend(number, levels_[level - 1]);
    }
  }

 private:
  void descend(PageNumber number, std::vector<PageNumber>& below) {
    const std::optional<Page> page = database_.read(number);
    if (!page || !page->interior() || below.size() > kMostPages) return;
    const std::vector<PageNumber> children = children_of(*page);
    below.insert(below.end(), children.begin(), children.end());
  }

  Database& database_;
  std::vector<std::vector<PageNumber>> levels_;  // [0]: those whose children are leaves
};

// A variable-length integer (1.6); moves `at` on. Zero once the bytes have ended.
std::uint64_t take_varint(ConstBytes bytes, std::size_t& at) {
  std::uint64_t value = 0;
  for (int i = 0; i < 9; ++i) {
    if (at >= bytes.size()) return 0;
    const auto byte = std::to_integer<unsigned>(bytes[at++]);
    if (i == 8) return value << 8 | byte;
    value = value << 7 | (byte & 0x7f);
    if (byte < 0x80) return value;
  }
  return value;
}

// Bytes of a column in a record, from its serial type.
std::uint64_t column_length(std::uint64_t type) {
  constexpr std::array<std::uint8_t, 12> lengths = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0};
  return type < lengths.size() ? lengths[type] : (type - 12) / 2;
}

// A row of sqlite_schema: a cell of a table's leaf.
struct Row {
  std::uint64_t length = 0;  // of the record
  ConstBytes record;         // what there is of it in the page, and what follows there
};

Row read_row(ConstBytes cell) {
  std::size_t at = 0;
  const std::uint64_t length = take_varint(cell, at);
  take_varint(cell, at);  // rowid
  return {length, cell.subspan(at)};
}

// The fourth column (type, name, tbl_name, rootpage, sql); 0 for a view or a trigger, or if it cannot be
// found.
PageNumber root_page(ConstBytes record) {
  std::size_t at = 0;
  std::uint64_t skip = take_varint(record, at);
  for (int column = 0; column < 3; ++column) {
    const std::uint64_t length = column_length(take_varint(record, at));
    if (length > record.size()) return 0;
    skip += length;
  }
  const std::uint64_t length = column_length(take_varint(record, at));
  if (skip > record.size() || length > 4 || length > record.size() - skip) return 0;
  PageNumber number = 0;
  for (std::size_t i = 0; i < length; ++i)
    number = number << 8 | std::to_integer<PageNumber>(record[skip + i]);
  return number;
}

// Names the pages of a row that is too long for its leaf, each of which begins with the next one's number.
void want_overflow(Database& database, const Row& row) {
  const std::uint64_t usable = database.usable();
  if (row.length <= usable - 35) return;
  const std::uint64_t least = (usable - 12) * 32 / 255 - 23;
  const std::uint64_t fitting = least + (row.length - least) % (usable - 4);
  const std::uint64_t local = fitting <= usable - 35 ? fitting : least;
  if (local + 4 > row.record.size()) return;
  PageNumber number = load_be<PageNumber>(&row.record[local]);
  while (database.want(number)) {
    const std::optional<Page> page = database.read(number);
    if (!page) return;
    number = load_be<PageNumber>(page->bytes.data());
  }
}

void read_leaf(Database& database, const Page& page, std::vector<PageNumber>& roots) {
  for (std::size_t i = 0; i < page.cells(); ++i) {
    const std::optional<std::size_t> cell = page.cell(i, 0);
    if (!cell) continue;
    const Row row = read_row(ConstBytes(page.bytes).subspan(*cell));
    want_overflow(database, row);
    if (const PageNumber root = root_page(row.record); root != 0) roots.push_back(root);
  }
}

// All pages of the schema, a tree like any other, whose leaves are read too; the roots that they name.
std::vector<PageNumber> read_schema(Database& database) {
  std::vector<PageNumber> roots;
  std::vector<PageNumber> pages = {1};
  for (std::size_t i = 0; i < pages.size() && roots.size() < kMostPages; ++i) {
    if (!database.want(pages[i])) continue;
    const std::optional<Page> page = database.read(pages[i]);
    if (!page) break;
    if (page->interior() && pages.size() < kMostPages) {
      const std::vector<PageNumber> children = children_of(*page);
      pages.insert(pages.end(), children.begin(), children.end());
    } else if (page->kind() == kLeafTable) {
      read_leaf(database, *page, roots);
    }
  }
  return roots;
}

}  // namespace

bool hint_sqlite(HintView& view) {
  std::array<std::byte, kFirstPageHeader> header;
  if (!view.read(header, 0) || std::memcmp(header.data(), "SQLite format 3", 16) != 0) return false;
  const std::size_t raw = load_be<std::uint16_t>(&header[16]);
  const std::size_t page_size = raw == 1 ? 65536 : raw;
  const auto reserved = std::to_integer<std::size_t>(header[20]);
  if (page_size < 512 || !std::has_single_bit(page_size) || page_size - reserved < 480) return false;
  Database database(view, page_size, reserved);
  Forest forest(database);
  for (const PageNumber root : read_schema(database)) forest.add(root);
  forest.walk();
  return true;
}

}  // namespace r3
