// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/rados/store.hpp"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3 {

namespace {

constexpr const char* kConnectTime = "10";  // seconds for the monitors

// librados returns what errno would be, negative.
void check_rados(int result, const std::string& what) {
  if (result < 0) fail(-result, what);
}

// Operations under way at the same time; all are waited for, also when one of them fails.
class Batch {
 public:
  ~Batch() {
    for (const auto one : started_) {
      ::rados_aio_wait_for_complete(one);
      ::rados_aio_release(one);
    }
  }
  // start(completion) begins one.
  template <class Start>
  void add(const std::string& what, Start start) {
    rados_completion_t one = nullptr;
    check_rados(::rados_aio_create_completion2(nullptr, nullptr, &one), what);
    if (const int result = start(one); result < 0) {
      ::rados_aio_release(one);
      fail(-result, what);
    }
    started_.push_back(one);
  }
  // The result of the one that was added as the index-th.
  int wait(std::size_t index) {
    ::rados_aio_wait_for_complete(started_[index]);
    return ::rados_aio_get_return_value(started_[index]);
  }

 private:
  std::vector<rados_completion_t> started_;
};

// A cluster or a pool that is full is an error then (ENOSPC, EDQUOT), and not waited for.
constexpr int kNotWhenFull = LIBRADOS_OPERATION_FULL_TRY;

using WriteOperation = std::unique_ptr<void, decltype(&rados_release_write_op)>;

// `create`: only if the object is not there (EEXIST).
WriteOperation write_of(ConstBytes bytes, bool create) {
  WriteOperation operation(::rados_create_write_op(), ::rados_release_write_op);
  if (create) ::rados_write_op_create(operation.get(), LIBRADOS_CREATE_EXCLUSIVE, nullptr);
  ::rados_write_op_write_full(operation.get(), reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return operation;
}

}  // namespace

RadosCluster prepare_rados(const RadosAccess& access) {
  rados_t handle = nullptr;
  check_rados(::rados_create(&handle, access.user.c_str()), "client." + access.user);
  RadosCluster cluster(handle, ::rados_shutdown);
  const char* file = access.configuration.empty() ? nullptr : access.configuration.c_str();
  check_rados(::rados_conf_read_file(handle, file), file ? access.configuration : "/etc/ceph/ceph.conf");
  const auto set = [&](const char* option, const std::string& value) {
    check_rados(::rados_conf_set(handle, option, value.c_str()), option);
  };
  if (!access.key.empty()) set("key", access.key);
  set("client_mount_timeout", kConnectTime);
  if (access.io_timeout.count() > 0) {
    const auto seconds = std::to_string((access.io_timeout.count() + 999) / 1000);
    set("rados_osd_op_timeout", seconds);
    set("rados_mon_op_timeout", seconds);
  }
  set("log_to_stderr", "false");
  set("log_file", "/dev/null");
  return cluster;
}

RadosStore::RadosStore(RadosCluster cluster, RadosWhere where) : where_(std::move(where)), cluster_(std::move(cluster)) {
  check_rados(::rados_connect(cluster_.get()), "the monitors of the Ceph cluster");
  check_rados(::rados_ioctx_create(cluster_.get(), where_.pool.c_str(), &pool_), "pool " + where_.pool);
  ::rados_ioctx_set_namespace(pool_, where_.space.c_str());
}

RadosStore::~RadosStore() {
  if (pool_) ::rados_ioctx_destroy(pool_);
}

void RadosStore::abandon() noexcept {
  log_error("rados:" + where_.pool + ": no answer from the cluster");
  ::_exit(EXIT_FAILURE);
}

std::string RadosStore::object_of(std::uint64_t index) const {
  std::array<char, 24> number;
  std::snprintf(number.data(), number.size(), ".%016llx", static_cast<unsigned long long>(index));
  return where_.name + number.data();
}

std::string RadosStore::spoken(const std::string& object) const { return "rados:" + where_.pool + "/" + object; }

void RadosStore::get(std::span<Get> parts) {
  Batch batch;
  for (const Get& part : parts) {
    const std::string object = object_of(part.index);
    batch.add(spoken(object), [&](rados_completion_t one) {
      return ::rados_aio_read(pool_, object.c_str(), one, reinterpret_cast<char*>(part.into.data()), part.into.size(),
                              part.offset);
    });
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const int got = batch.wait(i);
    parts[i].found = got != -ENOENT;
    if (!parts[i].found) continue;
    check_rados(got, spoken(object_of(parts[i].index)));
    if (static_cast<std::size_t>(got) != parts[i].into.size())
      fail(EIO, spoken(object_of(parts[i].index)) + ": shorter than the chunk size says");
  }
}

void RadosStore::put(std::span<const Put> parts) {
  Batch batch;
  for (const Put& part : parts) {
    const std::string object = object_of(part.index);
    batch.add(spoken(object), [&](rados_completion_t one) {
      const auto operation = write_of(part.from, false);
      return ::rados_aio_write_op_operate(operation.get(), pool_, one, object.c_str(), nullptr, kNotWhenFull);
    });
  }
  for (std::size_t i = 0; i < parts.size(); ++i) check_rados(batch.wait(i), spoken(object_of(parts[i].index)));
}

void RadosStore::remove(std::span<const std::uint64_t> indices) {
  Batch batch;
  for (const auto index : indices) {
    const std::string object = object_of(index);
    batch.add(spoken(object),
              [&](rados_completion_t one) { return ::rados_aio_remove(pool_, object.c_str(), one); });
  }
  for (std::size_t i = 0; i < indices.size(); ++i)
    if (const int result = batch.wait(i); result != -ENOENT) check_rados(result, spoken(object_of(indices[i])));
}

std::optional<std::string> RadosStore::get_label() {
  std::string text(4096, '\0');
  const int got = ::rados_read(pool_, where_.name.c_str(), text.data(), text.size(), 0);
  if (got == -ENOENT) return std::nullopt;
  check_rados(got, spoken(where_.name));
  text.resize(static_cast<std::size_t>(got));
  return text;
}

bool RadosStore::make_label(const std::string& text) {
  const auto operation = write_of(as_bytes(text), true);
  const int result = ::rados_write_op_operate(operation.get(), pool_, where_.name.c_str(), nullptr, kNotWhenFull);
  if (result == -EEXIST) return false;
  check_rados(result, spoken(where_.name));
  return true;
}

}  // namespace r3
