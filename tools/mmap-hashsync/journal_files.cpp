// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/journal_files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3::sync {

namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

std::vector<std::string> journals_in(const Directory& directory) {
  const std::unique_ptr<DIR, CloseDirectory> open(::opendir(directory.path().c_str()));
  if (!open) fail(errno, directory.path());
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(open.get()))
    if (std::string_view(entry->d_name).starts_with(kJournalPrefix)) names.emplace_back(entry->d_name);
  return names;
}

}  // namespace

void apply_contents(const Contents& contents, const Directory& directory, bool sparse) {
  std::map<std::uint32_t, LandingFile> files;
  for (const auto& [number, size] : contents.sizes) {
    const auto name = contents.names.find(number);
    if (name == contents.names.end()) throw ProtocolError("a journal with a file that has no name");
    check_name(name->second);
    files.try_emplace(number, directory, name->second, sparse).first->second.create();
  }
  for (const auto& [record, payload] : contents.writes) {
    const auto file = files.find(record.number);
    if (file == files.end()) continue;  // begun over a connection that broke off, and not part of this
    if (record.type == RecordType::data) file->second.write(record.offset, payload);
    else file->second.zero(record.offset, record.length);
  }
  for (auto& [number, file] : files) {
    file.set_size(contents.sizes.at(number));
    file.sync();
  }
}

void recover_journals(const Directory& directory) {
  for (const std::string& name : journals_in(directory)) {
    const Fd fd = directory.open(name, O_RDWR);
    if (!fd.valid()) continue;
    const auto size = check(::lseek(fd.get(), 0, SEEK_END), directory.path_of(name));
    const Mapping mapping = Mapping::of_file(fd.get(), 0, static_cast<std::size_t>(size), false);
    const Contents contents = read_journal(mapping.bytes());
    if (contents.whole) {
      log_warning(directory.path_of(name) + ": an epoch that had not reached the files is applied now");
      apply_contents(contents, directory, false);
    }
    directory.remove(name);
    check(::fsync(directory.fd()), directory.path());
  }
}

}  // namespace r3::sync
