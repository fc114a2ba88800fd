// SPDX-License-Identifier: Apache-2.0
// A managed mount over memory with all that it borrows, for tests.
#pragma once

#include <memory>

#include "libcommon/storage/cached.hpp"
#include "tests/unit/doubles.hpp"

namespace r3::test {

struct CachedParts {
  std::unique_ptr<Backend> remote;
  std::unique_ptr<CacheStore> store;
  std::unique_ptr<PullSource> source;
  std::unique_ptr<Cached> cached;

  CachedParts(std::unique_ptr<Backend> from, const CachedOptions& options, bool pull)
      : remote(std::move(from)),
        store(std::make_unique<MemoryStore>(remote->size(), options.chunk)),
        source(std::make_unique<SequentialSource>(pull ? remote->size() : 0)),
        cached(std::make_unique<Cached>(*remote, *store, *source, options)) {}
};

// Passes on to what somebody else owns.
class BorrowedBackend : public PassingBackend {
 public:
  explicit BorrowedBackend(std::shared_ptr<Backend> below)
      : PassingBackend(std::make_unique<Shared>(below)) {}

 private:
  class Shared : public Backend {
   public:
    explicit Shared(std::shared_ptr<Backend> below) : below_(std::move(below)) {}
    std::uint64_t size() const override { return below_->size(); }
    bool read_only() const override { return below_->read_only(); }
    void read_at(Bytes into, std::uint64_t offset) override { below_->read_at(into, offset); }
    void write_at(ConstBytes from, std::uint64_t offset) override { below_->write_at(from, offset); }
    void flush() override { below_->flush(); }
    std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length,
                                std::size_t most) override {
      return below_->extents(offset, length, most);
    }
    void abandon() noexcept override { below_->abandon(); }

   private:
    std::shared_ptr<Backend> below_;
  };
};

}  // namespace r3::test
