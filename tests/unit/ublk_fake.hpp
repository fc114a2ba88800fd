// SPDX-License-Identifier: Apache-2.0
// The kernel's side of ublk in memory, with the rules of drivers/block/ublk_drv.c (Linux 6.1) that a server
// has to keep: what breaks one throws, or is answered as the kernel does. Requests come from do_io().
#pragma once

#include <unistd.h>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>

#include "libcommon/device/ublk_kernel.hpp"

namespace r3::test {

class FakeUblk : public UblkKernel {
 public:
  struct Tag {
    bool active = false;    // the kernel has it
    bool serving = false;   // the server has it
    Bytes buffer;
    int result = 0;
    bool done = false;
    bool taken = false;     // by a request that has not got its answer
    ublksrv_io_desc descriptor{};
  };
  struct Queue {
    std::vector<Tag> tags;
    std::deque<UblkEvent> events;
    std::thread::id owner{};
    bool rang = false;
  };
  struct Device {
    ublksrv_ctrl_dev_info info{};
    ublk_params params{};
    bool open = false;       // /dev/ublkcN
    bool disk = false;       // /dev/ublkbN
    unsigned users = 0;      // of the disk; they stay when it has gone
    bool partitions_read = false;
    std::vector<Queue> queues;
  };

  int control(unsigned command, const ublksrv_ctrl_cmd& c) override {
    std::unique_lock lock(mutex_);
    if (command == UBLK_CMD_ADD_DEV) return add(c);
    const auto found = devices_.find(c.dev_id);
    if (found == devices_.end()) return -ENODEV;
    Device& device = found->second;
    switch (command) {
      case UBLK_CMD_GET_DEV_INFO: std::memcpy(at(c), &device.info, sizeof device.info); return 0;
      case UBLK_CMD_GET_PARAMS: std::memcpy(at(c), &device.params, sizeof device.params); return 0;
      case UBLK_CMD_SET_PARAMS:
        if (device.disk || device.users > 0) return -EACCES;
        std::memcpy(&device.params, at(c), sizeof device.params);
        return 0;
      case UBLK_CMD_START_DEV:
        if (!all_fetched(device)) throw std::logic_error("START_DEV would wait for ever");
        if (device.disk) return -EEXIST;
        device.disk = true;
        device.info.state = UBLK_S_DEV_LIVE;
        device.info.ublksrv_pid = static_cast<int>(c.data[0]);
        return 0;
      case UBLK_CMD_STOP_DEV:
        idle_.wait(lock, [&] { return !is_serving(device); });
        end_tags(device);
        device.disk = false;
        device.info.state = UBLK_S_DEV_DEAD;
        return 0;
      case UBLK_CMD_DEL_DEV:
        if (device.open || device.users > 0) throw std::logic_error("DEL_DEV would hang for ever");
        devices_.erase(found);
        return 0;
      case UBLK_CMD_START_USER_RECOVERY:
        if ((device.info.flags & UBLK_F_USER_RECOVERY) == 0) return -EINVAL;
        if (device.open || device.info.state != UBLK_S_DEV_QUIESCED) return -EBUSY;
        for (Queue& queue : device.queues) {
          queue.owner = {};
          queue.events.clear();
          for (Tag& tag : queue.tags) tag.active = tag.serving = false;
        }
        return 0;
      case UBLK_CMD_END_USER_RECOVERY:
        if (!all_fetched(device)) throw std::logic_error("END_USER_RECOVERY would wait for ever");
        device.info.state = UBLK_S_DEV_LIVE;
        return 0;
      default: return -EOPNOTSUPP;
    }
  }

  std::vector<unsigned> devices() override {
    std::lock_guard lock(mutex_);
    std::vector<unsigned> numbers;
    for (const auto& [number, device] : devices_) numbers.push_back(number);
    return numbers;
  }

  std::unique_ptr<UblkChannel> open(unsigned number) override {
    std::lock_guard lock(mutex_);
    const auto found = devices_.find(number);
    if (found == devices_.end() || found->second.open) return nullptr;
    found->second.open = true;
    return std::make_unique<Channel>(*this, number);
  }

  // One request of the disk, to its end. Returns what the server committed.
  int do_io(unsigned number, unsigned queue_number, ublksrv_io_desc descriptor, Bytes data) {
    std::unique_lock lock(mutex_);
    Queue& queue = devices_.at(number).queues.at(queue_number);
    Tag* tag = nullptr;
    unsigned which = 0;
    idle_.wait(lock, [&] {
      for (which = 0; which < queue.tags.size(); ++which)
        if (queue.tags[which].active && !queue.tags[which].taken) return (tag = &queue.tags[which]) != nullptr;
      return false;
    });
    if ((descriptor.op_flags & 0xff) == UBLK_IO_OP_WRITE) std::memcpy(tag->buffer.data(), data.data(), data.size());
    tag->descriptor = descriptor;
    tag->active = false;
    tag->serving = true;
    tag->taken = true;
    queue.events.push_back({static_cast<std::uint16_t>(which), UBLK_IO_RES_OK});
    came_.notify_all();
    idle_.wait(lock, [&] { return tag->done; });
    tag->done = tag->taken = false;
    idle_.notify_all();
    if ((descriptor.op_flags & 0xff) == UBLK_IO_OP_READ && tag->result > 0)
      std::memcpy(data.data(), answer_.data(), static_cast<std::size_t>(tag->result));
    return tag->result;
  }

  // As if the process that serves it were killed, and the kernel had noticed.
  void kill_server(unsigned number) {
    std::lock_guard lock(mutex_);
    Device& device = devices_.at(number);
    const bool stays = (device.info.flags & UBLK_F_USER_RECOVERY) != 0;
    device.info.state = stays ? UBLK_S_DEV_QUIESCED : UBLK_S_DEV_DEAD;
    device.disk = stays;
  }
  unsigned add_left(const ublksrv_ctrl_dev_info& info, const ublk_params& params, unsigned users) {
    ublksrv_ctrl_dev_info copy = info;
    ublksrv_ctrl_cmd c{};
    c.dev_id = copy.dev_id;
    c.addr = reinterpret_cast<std::uintptr_t>(&copy);
    control(UBLK_CMD_ADD_DEV, c);
    {
      std::lock_guard lock(mutex_);
      Device& device = devices_.at(copy.dev_id);
      device.params = params;
      device.disk = true;
      device.users = users;
    }
    kill_server(copy.dev_id);
    return copy.dev_id;
  }
  Device& device(unsigned number) { return devices_.at(number); }

 private:
  class Port : public UblkQueuePort {
   public:
    Port(FakeUblk& kernel, unsigned number, unsigned queue) : kernel_(kernel), number_(number), queue_(queue) {}
    const ublksrv_io_desc& request(unsigned tag) const override {
      std::lock_guard lock(kernel_.mutex_);
      return queue().tags.at(tag).descriptor;
    }
    void fetch(unsigned tag, Bytes buffer) override {
      std::lock_guard lock(kernel_.mutex_);
      check_owner();
      Tag& one = queue().tags.at(tag);
      if (one.active || one.serving) throw std::logic_error("FETCH_REQ of a tag in use");
      one.active = true;
      one.buffer = buffer;
      kernel_.idle_.notify_all();
    }
    void commit(unsigned tag, int result, Bytes buffer) override {
      std::lock_guard lock(kernel_.mutex_);
      check_owner();
      Tag& one = queue().tags.at(tag);
      if (!one.serving) throw std::logic_error("COMMIT of a tag that is not being served");
      one.serving = false;
      one.result = result;
      one.done = true;
      if (result > 0) kernel_.answer_.assign(buffer.begin(), buffer.begin() + result);
      one.active = true;
      one.buffer = buffer;
      kernel_.idle_.notify_all();
    }
    void submit() override {}
    std::span<const UblkEvent> wait() override {
      std::unique_lock lock(kernel_.mutex_);
      check_owner();
      kernel_.came_.wait(lock, [&] { return queue().rang || !queue().events.empty(); });
      queue().rang = false;
      events_.assign(queue().events.begin(), queue().events.end());
      queue().events.clear();
      return events_;
    }
    void ring() noexcept override {
      std::lock_guard lock(kernel_.mutex_);
      queue().rang = true;
      kernel_.came_.notify_all();
    }

   private:
    Queue& queue() const { return kernel_.devices_.at(number_).queues.at(queue_); }
    void check_owner() {  // EINVAL in the kernel
      if (queue().owner == std::thread::id()) queue().owner = std::this_thread::get_id();
      if (queue().owner != std::this_thread::get_id()) throw std::logic_error("another thread's queue");
    }
    FakeUblk& kernel_;
    const unsigned number_, queue_;
    std::vector<UblkEvent> events_;
  };

  class Channel : public UblkChannel {
   public:
    Channel(FakeUblk& kernel, unsigned number) : kernel_(kernel), number_(number) {}
    ~Channel() override {
      std::lock_guard lock(kernel_.mutex_);
      kernel_.devices_.at(number_).open = false;
    }
    std::unique_ptr<UblkQueuePort> queue(unsigned number, unsigned) override {
      return std::make_unique<Port>(kernel_, number_, number);
    }

   private:
    FakeUblk& kernel_;
    const unsigned number_;
  };

  static void* at(const ublksrv_ctrl_cmd& c) { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(c.addr)); }

  int add(const ublksrv_ctrl_cmd& c) {
    ublksrv_ctrl_dev_info info{};
    std::memcpy(&info, at(c), sizeof info);
    // Numbers are held by name on the whole machine: each process of tests has its own.
    unsigned number = static_cast<unsigned>(::getpid()) * 16;
    while (devices_.contains(number)) ++number;
    info.dev_id = number;
    info.state = UBLK_S_DEV_DEAD;
    Device& device = devices_[number];
    device.info = info;
    device.queues.resize(info.nr_hw_queues);
    for (Queue& queue : device.queues) queue.tags.resize(info.queue_depth);
    std::memcpy(at(c), &info, sizeof info);
    return 0;
  }
  static bool all_fetched(const Device& device) {
    for (const Queue& queue : device.queues)
      for (const Tag& tag : queue.tags)
        if (!tag.active) return false;
    return true;
  }
  static bool is_serving(const Device& device) {
    for (const Queue& queue : device.queues)
      for (const Tag& tag : queue.tags)
        if (tag.serving) return true;
    return false;
  }
  void end_tags(Device& device) {
    for (Queue& queue : device.queues)
      for (unsigned i = 0; i < queue.tags.size(); ++i)
        if (queue.tags[i].active) {
          queue.tags[i].active = false;
          queue.events.push_back({static_cast<std::uint16_t>(i), UBLK_IO_RES_ABORT});
        }
    came_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable came_;  // an event, or a ring
  std::condition_variable idle_;  // a tag was fetched or committed
  std::map<unsigned, Device> devices_;
  std::vector<std::byte> answer_;  // of the read that was committed last: one reader at a time
};

}  // namespace r3::test
