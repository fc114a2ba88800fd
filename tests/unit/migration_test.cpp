// SPDX-License-Identifier: Apache-2.0
// The seeder's side of a migration, its messages and its record. A leecher with a device is in tests/system.
#include <cmath>
#include <fstream>
#include <future>
#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/net/seeder.hpp"
#include "libcommon/storage/leeched.hpp"
#include "libcommon/storage/memory.hpp"
#include "libcommon/storage/pull_order.hpp"
#include "tests/unit/backend_suite.hpp"
#include "tests/unit/r3_host.hpp"
#include "tests/unit/test_bytes.hpp"
#include "tools/r3-leech/decision.hpp"

namespace r3::test {
namespace {

using namespace std::chrono_literals;
using wire::Type;
using State = OwnerRecord::State;

wire::LeecherId id_of(int n) {
  wire::LeecherId id{};
  id[0] = static_cast<std::byte>(n);
  return id;
}

// A seeder with an application that does what the test says.
struct Seeding {
  explicit Seeding(const std::string& path, std::chrono::milliseconds lease = 30s) : file(path) {
    SeederActions actions;
    actions.suspend = [this] { ++suspended; if (suspend) suspend(); };
    actions.resume = [this] { ++resumed; };
    actions.sync_device = [this] { if (sync) sync(); };
    seeder = std::make_unique<Seeder>(lock, tracked, region, file, actions, lease);
  }
  wire::MigrationReply ask(Type type, const wire::MigrationRequest& request) {
    return seeder->answer(type, request);
  }
  int error(Type type, const wire::MigrationRequest& request) {
    return error_of([&] { ask(type, request); });
  }

  MemoryBackend region{1 * MiB};
  Tracked tracked{region};
  Lockable lock{tracked};
  OwnerFile file;
  std::atomic<int> suspended{0}, resumed{0};
  std::function<void()> suspend, sync;
  std::unique_ptr<Seeder> seeder;
};

class SeederTest : public testing::Test {
 protected:
  std::string path() const { return directory_.path() + "/owner"; }
  State recorded() const {
    std::ifstream file(path(), std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    return decode_owner_record(as_bytes(text), "owner").state;
  }
  TemporaryDirectory directory_;
};

TEST(MigrationMessages, AreWhatTheyWere) {
  const wire::MigrationRequest request{id_of(7), 0x123456789abcdefULL, 3, 1000, 42, wire::kPeek};
  EXPECT_EQ(wire::decode_migration_request(encode(request)), request);
  const wire::MigrationReply reply{9, 2, 100, 8, 77, 123456, 654321, {{1, 2}, {7, ~0ULL}}};
  EXPECT_EQ(wire::decode_migration_reply(encode(reply)), reply);
  auto bytes = encode(reply);
  EXPECT_THROW(wire::decode_migration_reply(ConstBytes(bytes).first(bytes.size() - 1)), ProtocolError);
  EXPECT_THROW(wire::decode_migration_reply(ConstBytes(bytes).first(47)), ProtocolError);
  EXPECT_THROW(wire::decode_migration_request(bytes), ProtocolError);
  store_le(bytes.data() + 16, std::uint32_t{7});  // the next page begins inside of this one
  EXPECT_THROW(wire::decode_migration_reply(bytes), ProtocolError);
  store_le(bytes.data() + 48, std::uint32_t{7});  // twice the same group
  EXPECT_THROW(wire::decode_migration_reply(bytes), ProtocolError);
}

TEST(OwnerRecord, IsKeptWholeOrRefused) {
  const OwnerRecord record{State::given, 1 * MiB, id_of(3), 99};
  std::string text = encode(record);
  EXPECT_EQ(decode_owner_record(as_bytes(text), "x"), record);
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string damaged = text;
    damaged[i] = static_cast<char>(damaged[i] ^ 4);
    EXPECT_EQ(error_of([&] { decode_owner_record(as_bytes(damaged), "x"); }), EINVAL) << i;
  }
  EXPECT_EQ(error_of([&] { decode_owner_record(as_bytes(text).first(55), "x"); }), EINVAL);
  const TemporaryDirectory directory;
  const OwnerFile file(directory.path() + "/o");
  EXPECT_FALSE(file.read());
  file.write(record);
  EXPECT_EQ(file.read(), record);
  EXPECT_EQ(error_of([&] { OwnerFile(directory.path() + "/o"); }), EBUSY);
}

TEST_F(SeederTest, HandsOverWhatWasWritten) {
  Seeding one(path());
  EXPECT_EQ(recorded(), State::owner);
  one.ask(Type::track, {.leecher = id_of(1)});
  one.lock.write_at(filled(4096, 1), 8192);
  EXPECT_EQ(one.ask(Type::dirty, {.leecher = id_of(1), .flags = wire::kPeek}).written, 1u);
  auto reply = one.ask(Type::dirty, {.leecher = id_of(1), .round = 1});
  EXPECT_EQ(reply.blocks, (WrittenBlocks{{0, 4}}));
  // Its answer was lost, and more was written.
  one.lock.write_at(filled(1, 1), 0);
  EXPECT_EQ(one.ask(Type::dirty, {.leecher = id_of(1), .round = 1}).blocks, (WrittenBlocks{{0, 5}}));
  one.lock.write_at(filled(1, 1), 300 * KiB);
  reply = one.ask(Type::finalize, {.leecher = id_of(1), .round = 2, .lease = 5000});
  EXPECT_EQ(reply.blocks, (WrittenBlocks{{1, 1ULL << 11}}));
  EXPECT_NE(reply.token, 0u);
  EXPECT_EQ(recorded(), State::suspended);
  EXPECT_FALSE(one.lock.is_open());
  // Asked again, answered the same; others have to wait.
  EXPECT_EQ(one.ask(Type::finalize, {.leecher = id_of(1), .round = 2}).token, reply.token);
  EXPECT_EQ(one.suspended, 1);
  one.ask(Type::track, {.leecher = id_of(2)});
  EXPECT_EQ(one.error(Type::finalize, {.leecher = id_of(2), .round = 1}), EBUSY);
  EXPECT_EQ(one.ask(Type::dirty, {.leecher = id_of(2), .round = 1}).round, 0u);  // none begins now
  EXPECT_EQ(one.error(Type::commit, {.leecher = id_of(2), .token = reply.token}), ESTALE);
  EXPECT_EQ(one.error(Type::commit, {.leecher = id_of(1), .token = reply.token + 1}), ESTALE);
  EXPECT_EQ(one.error(Type::commit, {.leecher = id_of(1), .token = 0}), ESTALE);  // only asks
  one.ask(Type::commit, {.leecher = id_of(1), .token = reply.token});
  EXPECT_EQ(recorded(), State::given);
  EXPECT_EQ(one.ask(Type::commit, {.leecher = id_of(1), .token = 0}).token, reply.token);
  EXPECT_EQ(one.error(Type::commit, {.leecher = id_of(2), .token = 0}), ESTALE);
  one.ask(Type::commit, {.leecher = id_of(1), .token = reply.token});
  EXPECT_EQ(error_of([&] { one.lock.write_at(filled(1, 1), 0); }), ESHUTDOWN);
  EXPECT_EQ(one.error(Type::finalize, {.leecher = id_of(2), .round = 1}), ESHUTDOWN);
  EXPECT_EQ(one.error(Type::track, {.leecher = id_of(2)}), ESHUTDOWN);
  EXPECT_EQ(one.error(Type::abort, {.leecher = id_of(1)}), ESHUTDOWN);
  EXPECT_EQ(one.error(Type::close, {.leecher = id_of(2), .token = reply.token}), ESTALE);
  one.ask(Type::close, {.leecher = id_of(1), .token = reply.token});
  EXPECT_EQ(recorded(), State::gone);
  EXPECT_TRUE(one.seeder->gone().requested());
  EXPECT_EQ(one.resumed, 0);
}

TEST_F(SeederTest, AnEndedLeaseGivesTheRegionBackAndMakesTheTokenVoid) {
  Seeding one(path(), 1s);
  one.ask(Type::track, {.leecher = id_of(1)});
  const auto reply = one.ask(Type::finalize, {.leecher = id_of(1), .round = 1, .lease = 1});
  one.lock.write_at(filled(1, 1), 0);  // waits for the end of the lease
  EXPECT_EQ(recorded(), State::owner);
  EXPECT_EQ(one.error(Type::commit, {.leecher = id_of(1), .token = reply.token}), ESTALE);
  const auto again = one.ask(Type::finalize, {.leecher = id_of(1), .round = 2, .lease = 1});
  EXPECT_NE(again.token, reply.token);
  EXPECT_EQ(again.blocks, (WrittenBlocks{{0, 1}}));
  one.ask(Type::abort, {.leecher = id_of(1)});
  EXPECT_TRUE(one.lock.is_open());
  EXPECT_EQ(one.resumed, 2);
}

TEST_F(SeederTest, AWriteAfterTheSuspensionKeepsTheRegionHere) {
  Seeding one(path());
  one.ask(Type::track, {.leecher = id_of(1)});
  const auto reply = one.ask(Type::finalize, {.leecher = id_of(1), .round = 1});
  auto write = std::async(std::launch::async, [&] { one.lock.write_at(filled(1, 9), 0); });
  for (auto rings = one.lock.bell().rings(); one.lock.waiting_changes() == 0; rings = one.lock.bell().rings())
    one.lock.bell().wait(rings);
  EXPECT_EQ(one.error(Type::commit, {.leecher = id_of(1), .token = reply.token}), EAGAIN);
  write.get();
  EXPECT_EQ(one.region.bytes()[0], std::byte{9});
  EXPECT_EQ(recorded(), State::owner);
  // One that only the kernel knows of: it comes when the device is written out.
  const auto again = one.ask(Type::finalize, {.leecher = id_of(1), .round = 2});
  one.sync = [&] { one.lock.write_at(filled(1, 8), 0); };
  EXPECT_EQ(one.error(Type::commit, {.leecher = id_of(1), .token = again.token}), EAGAIN);
  EXPECT_EQ(one.region.bytes()[0], std::byte{8});
}

TEST_F(SeederTest, ASuspensionThatFailsMovesNothing) {
  Seeding one(path());
  one.ask(Type::track, {.leecher = id_of(1)});
  one.suspend = [] { throw std::runtime_error("it says no"); };
  EXPECT_EQ(one.error(Type::finalize, {.leecher = id_of(1), .round = 1}), EAGAIN);
  EXPECT_EQ(one.resumed, 1);
  EXPECT_TRUE(one.lock.is_open());
  EXPECT_EQ(recorded(), State::owner);
}

TEST_F(SeederTest, StartedAgainItIsWhatItsRecordSays) {
  std::uint64_t token = 0;
  {
    Seeding one(path());
    one.ask(Type::track, {.leecher = id_of(1)});
    token = one.ask(Type::finalize, {.leecher = id_of(1), .round = 1}).token;
  }
  {
    Seeding one(path());  // nobody committed: the application goes on
    EXPECT_EQ(one.resumed, 1);
    EXPECT_EQ(recorded(), State::owner);
    EXPECT_EQ(one.error(Type::commit, {.leecher = id_of(1), .token = token}), ESTALE);
    EXPECT_EQ(one.error(Type::dirty, {.leecher = id_of(1), .round = 1}), ESTALE);
    one.ask(Type::track, {.leecher = id_of(1)});
    token = one.ask(Type::finalize, {.leecher = id_of(1), .round = 1}).token;
    one.ask(Type::commit, {.leecher = id_of(1), .token = token});
  }
  {
    Seeding one(path());
    EXPECT_EQ(one.seeder->phase(), Seeder::Phase::given);
    one.ask(Type::commit, {.leecher = id_of(1), .token = token});
    EXPECT_EQ(error_of([&] { one.lock.write_at(filled(1, 1), 0); }), ESHUTDOWN);
    one.ask(Type::close, {.leecher = id_of(1), .token = token});
  }
  EXPECT_EQ(error_of([&] { Seeding one(path()); }), EBUSY);
}

TEST_F(SeederTest, OverTheWireOnlyForWhoMayWrite) {
  Seeding one(path());
  R3Export exported{.name = "", .backend = &one.region, .read_only = true, .migration = one.seeder.get()};
  R3Host host(std::vector<R3Export>{exported});
  R3ClientOptions reading;
  reading.read_only = true;
  const auto client = host.client(reading);
  client->ask(Type::track, {.leecher = id_of(1)});
  one.lock.write_at(filled(1, 1), 4096);
  EXPECT_EQ(client->ask(Type::dirty, {.leecher = id_of(1), .round = 1}).blocks, (WrittenBlocks{{0, 2}}));
  EXPECT_EQ(error_of([&] { client->ask(Type::dirty, {.leecher = id_of(2), .round = 1}); }), ESTALE);
  R3Host plain(std::vector<R3Export>{R3Export{.name = "", .backend = &one.region}});
  EXPECT_EQ(error_of([&] { plain.client()->ask(Type::track, {}); }), EOPNOTSUPP);
}

// An application that writes 100 MB/s for `busy` seconds, then 1 MB/s for `quiet`, seen every 20 ms.
struct Worker {
  double busy = 0.4, quiet = 0.6, now = 0, changed = 0;
  Rhythm rhythm;
  bool is_busy() const { return std::fmod(now, busy + quiet) < busy; }
  void work(double seconds) {
    for (const double end = now + seconds; now < end; now += 0.02) {
      rhythm.look(now, static_cast<std::uint64_t>(changed));
      changed += (is_busy() ? 100e6 : 1e6) * 0.02;
    }
  }
  void work_until(bool wanted) { while (is_busy() != wanted) work(0.02); }
};

TEST(Rhythm, IsLearntFromWhatWasSeen) {
  Worker worker;
  worker.work(0.4);
  EXPECT_EQ(worker.rhythm.state(), Rhythm::State::unknown);
  worker.work(0.2);
  EXPECT_EQ(worker.rhythm.state(), Rhythm::State::quiet);  // whose end was never seen
  EXPECT_EQ(worker.rhythm.lasts(worker.now, 1), 0.5);
  worker.work(4);
  EXPECT_TRUE(worker.rhythm.known());
  EXPECT_NEAR(worker.rhythm.length(Rhythm::State::busy), 0.4, 0.05);
  EXPECT_NEAR(worker.rhythm.length(Rhythm::State::quiet), 0.6, 0.05);
  worker.work_until(true);
  worker.work_until(false);
  worker.work(0.1);
  EXPECT_EQ(worker.rhythm.state(), Rhythm::State::quiet);
  EXPECT_GT(worker.rhythm.lasts(worker.now, 0.2), 0.7);
  EXPECT_LT(worker.rhythm.lasts(worker.now, 0.6), 0.3);
  worker.work(0.6);
  EXPECT_EQ(worker.rhythm.state(), Rhythm::State::busy);
}

TEST(Rhythm, WhoAlwaysWritesTheSameIsSteady) {
  Worker worker;
  worker.busy = 100;
  worker.work(3);
  EXPECT_EQ(worker.rhythm.state(), Rhythm::State::steady);
  Worker idle;
  idle.busy = 0;
  idle.work(3);
  EXPECT_EQ(idle.rhythm.state(), Rhythm::State::steady);
}

TEST(Decision, WaitsForAQuietPhaseThatIsWorthIt) {
  using Step = Decision::Step;
  Worker worker;
  Decision decision({0.3, 0, 5});
  decision.link(100e6, 0.01);
  worker.work(3);
  worker.work_until(true);
  worker.work(0.1);
  EXPECT_EQ(decision.next(4e6, worker.now, worker.rhythm), Step::hold);  // 40 ms more than in the quiet
  EXPECT_EQ(Decision({0.3, 0, 0}).next(4e6, worker.now, worker.rhythm), Step::move);
  worker.work_until(false);
  worker.work(0.1);
  EXPECT_EQ(decision.next(4e6, worker.now, worker.rhythm), Step::round);  // what the busy phase left
  decision.pulled_again(4e6, worker.now);
  EXPECT_EQ(decision.next(20e3, worker.now, worker.rhythm), Step::move);
  // One that always comes too late waits no longer than it may.
  worker.work(6);
  worker.work_until(true);
  worker.work(0.1);
  EXPECT_EQ(decision.next(4e6, worker.now, worker.rhythm), Step::move);
}

TEST(Decision, WhoWritesTooMuchEndsByPolicy) {
  using Step = Decision::Step;
  Worker steady;
  steady.busy = 1000;
  steady.work(2);
  Decision decision({0.3, 0, 5});
  decision.link(10e6, 0.01);
  for (int round = 0; round < 5; ++round) {
    EXPECT_EQ(decision.next(50e6, steady.now, steady.rhythm), Step::round);
    decision.pulled_again(50e6, steady.now);
  }
  EXPECT_EQ(decision.next(50e6, steady.now, steady.rhythm), Step::timeout);
  Decision limited({0.3, 1, 5});
  limited.link(10e6, 0.01);
  EXPECT_EQ(limited.next(50e6, 0.5, steady.rhythm), Step::round);
  EXPECT_EQ(limited.next(50e6, 1.5, steady.rhythm), Step::timeout);
  EXPECT_EQ(limited.next(1e6, 1.5, steady.rhythm), Step::move);
}

// What a leecher pulls, and what it has to pull again.
TEST(Leeched, PullsAgainWhatChanged) {
  MemoryBackend remote(1 * MiB), local(1 * MiB);
  remote.write_at(filled(1 * MiB, 1), 0);
  LeechStore store(local, "", LeechStore::Begin::anew);
  PullOrder order(1 * MiB, {}, PullRest::sequential);
  LeechSource source(order);
  Leeched leeched(remote, local, store, source, {});
  const auto wait = [&] { while (!leeched.complete()) std::this_thread::yield(); };
  wait();
  remote.write_at(filled(8192, 2), 64 * KiB);
  leeched.invalidate({{0, 3ULL << 16}});
  wait();
  EXPECT_TRUE(std::ranges::equal(local.bytes(), remote.bytes()));
  leeched.pause();
  EXPECT_EQ(leeched.invalidate({{0, 1}}), 4096u);
  leeched.write_at(filled(10, 3), 0);  // a part: the rest is fetched
  leeched.resume();
  wait();
  EXPECT_EQ(read_bytes(leeched, 0, 11), (std::vector<std::byte>{
      std::byte{3}, std::byte{3}, std::byte{3}, std::byte{3}, std::byte{3}, std::byte{3}, std::byte{3},
      std::byte{3}, std::byte{3}, std::byte{3}, std::byte{1}}));
  EXPECT_EQ(remote.bytes()[0], std::byte{1});  // nothing goes back
}

TEST(LeechStore, TheMapOutlivesTheProcess) {
  const TemporaryDirectory directory;
  MemoryBackend remote(1 * MiB), local(1 * MiB);
  const std::string map = directory.path() + "/map";
  {
    LeechStore store(local, map, LeechStore::Begin::anew);
    PullOrder order(1 * MiB, {}, PullRest::nothing);
    LeechSource source(order);
    Leeched leeched(remote, local, store, source, {});
    leeched.write_at(filled(8192, 5), 4096);
  }
  remote.write_at(filled(1 * MiB, 9), 0);
  LeechStore store(local, map, LeechStore::Begin::where_it_was);
  PullOrder order(1 * MiB, {}, PullRest::sequential);
  LeechSource source(order);
  Leeched leeched(remote, local, store, source, {});
  while (!leeched.complete()) std::this_thread::yield();
  EXPECT_EQ(read_bytes(leeched, 4096, 8192), filled(8192, 5));
  EXPECT_EQ(read_bytes(leeched, 0, 4096), filled(4096, 9));
  MemoryBackend other(2 * MiB);
  EXPECT_EQ(error_of([&] { LeechStore(other, map, LeechStore::Begin::where_it_was); }), EINVAL);
}

BackendUnderTest make_leeched(std::uint64_t size) {
  struct Kept {
    explicit Kept(std::uint64_t bytes)
        : remote(bytes), local(bytes), store(local, "", LeechStore::Begin::anew),
          order(bytes, {}, PullRest::sequential), source(order) {}
    MemoryBackend remote, local;
    LeechStore store;
    PullOrder order;
    LeechSource source;
  };
  auto kept = std::make_shared<Kept>(size);
  return {std::make_unique<Leeched>(kept->remote, kept->local, kept->store, kept->source, PullerOptions{}), kept};
}

INSTANTIATE_TEST_SUITE_P(Migration, BackendSuite, testing::Values(BackendCase{"leeched", make_leeched}),
                         case_name);

}  // namespace
}  // namespace r3::test
