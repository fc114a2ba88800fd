// SPDX-License-Identifier: Apache-2.0
#include "tools/ram-dl/record.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cstdio>
#include <filesystem>
#include <sstream>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongest = 16 * KiB;

bool is_locked(const Fd& file) { return ::flock(file.get(), LOCK_EX | LOCK_NB) != 0; }

// Whoever had it before may have removed it between our open and our lock.
bool is_removed(const Fd& file) {
  struct stat status {};
  return ::fstat(file.get(), &status) != 0 || status.st_nlink == 0;
}

std::string path_for(const std::string& directory, const std::string& region) {
  char name[24];
  std::snprintf(name, sizeof name, "%016llx",
                static_cast<unsigned long long>(XXH3_64bits(region.data(), region.size())));
  return directory + "/" + name;
}

}  // namespace

Record::Record(std::string path, Fd file) : path_(std::move(path)), file_(std::move(file)) { read(); }

Record::Record(const std::string& region, const std::string& directory) : path_(path_for(directory, region)) {
  fs::create_directories(directory);
  do {
    file_ = open_file(path_, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (is_locked(file_)) {
      read();
      fail(EBUSY, region + ": process " + pid_ + " swaps there already");
    }
  } while (is_removed(file_));
  read();
  region_ = region;
}

std::vector<Record> Record::left_behind(const std::string& directory) {
  std::vector<Record> left;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(directory, none)) {
    Fd file(::open(entry.path().c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
    if (file.valid() && !is_locked(file) && !is_removed(file)) left.push_back(Record(entry.path(), std::move(file)));
  }
  return left;
}

std::string Record::living_with(const std::string& uuid, const std::string& directory) {
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(directory, none)) {
    Fd file(::open(entry.path().c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
    if (!file.valid() || !is_locked(file)) continue;
    const Record record(entry.path(), std::move(file));
    if (record.uuid_ == uuid) return record.pid_;
  }
  return {};
}

void Record::read() {
  std::string text(kLongest, '\0');
  text.resize(pread_full(file_.get(), std::as_writable_bytes(std::span(text)), 0, path_));
  std::istringstream lines(text);
  std::getline(lines, pid_);
  std::getline(lines, device_);
  std::getline(lines, uuid_);
  std::getline(lines, region_);
}

void Record::set_device(const std::string& path, const std::string& uuid) {
  device_ = path;
  uuid_ = uuid;
  const std::string text = std::to_string(::getpid()) + "\n" + device_ + "\n" + uuid_ + "\n" + region_ + "\n";
  pwrite_full(file_.get(), as_bytes(text), 0, path_);
  check(::ftruncate(file_.get(), static_cast<off_t>(text.size())), path_);
}

void Record::remove() { ::unlink(path_.c_str()); }

}  // namespace r3
