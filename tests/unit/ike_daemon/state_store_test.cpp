// The states of IKE SAs survive their process: a model, and a process that dies at every place inside of a
// write.
#include "ike/daemon/state_store.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <map>
#include <random>

namespace espalier::ike {
namespace {

using ike_state::kCopyBytes;
using ike_state::Mark;
using States = std::map<uint64_t, Bytes>;

StateStore new_store() {
  auto segment = ike_state::create();
  EXPECT_TRUE(segment) << segment.error().text;
  return StateStore(std::move(*segment));
}

// Another process's view of the same memory.
StateStore reopened(const StateStore& store) {
  auto segment = ike_state::attach(store.segment().fd().duplicate());
  EXPECT_TRUE(segment) << segment.error().text;
  return StateStore(std::move(*segment));
}

States loaded(StateStore& store, size_t damaged = 0) {
  auto result = store.load();
  EXPECT_EQ(result.damaged, damaged);
  States states;
  for (const SaveState& each : result.states)
    states.emplace(each.id, Bytes(each.state.view().begin(), each.state.view().end()));
  return states;
}

Bytes bytes_of(size_t count, uint8_t value) {
  return Bytes(count, value);
}

struct Copy {
  Mark& mark;
  std::span<uint8_t> data;
};
Copy copy_of(const StateStore& store, uint64_t id, int which) {
  auto& layout = ike_state::of(store.segment());
  return {layout.marks[id][which], layout.data[id][which]};
}

bool version_is_in_first(const StateStore& store) {
  return copy_of(store, 2, 0).mark.version > copy_of(store, 2, 1).mark.version;
}

bool holds(const StateStore& store, uint64_t id, uint8_t value) {
  for (int which : {0, 1})
    for (const uint8_t byte : copy_of(store, id, which).data)
      if (byte == value) return true;
  return false;
}

TEST(StateStore, AnotherProcessFindsWhatWasSaved) {
  auto store = new_store();
  ASSERT_TRUE(store.save(0, bytes_of(1, 1)));
  ASSERT_TRUE(store.save(7, bytes_of(1000, 2)));
  ASSERT_TRUE(store.save(7, bytes_of(999, 3)));
  ASSERT_TRUE(store.save(ike_state::kSlots - 1, bytes_of(kCopyBytes, 4)));
  auto other = reopened(store);
  EXPECT_EQ(
      loaded(other),
      (States{{0, bytes_of(1, 1)}, {7, bytes_of(999, 3)}, {ike_state::kSlots - 1, bytes_of(kCopyBytes, 4)}}));
}

TEST(StateStore, WhatIsForgottenOrReplacedIsWiped) {
  auto store = new_store();
  ASSERT_TRUE(store.save(3, bytes_of(500, 0xaa)));
  ASSERT_TRUE(holds(store, 3, 0xaa));
  ASSERT_TRUE(store.save(3, bytes_of(500, 0xbb)));
  EXPECT_FALSE(holds(store, 3, 0xaa));
  store.forget(3);
  EXPECT_FALSE(holds(store, 3, 0xbb));
  EXPECT_TRUE(loaded(store).empty());
  store.forget(3);
  store.forget(ike_state::kSlots);
  ASSERT_TRUE(store.save(3, bytes_of(5, 0xcc)));
  EXPECT_EQ(loaded(store), (States{{3, bytes_of(5, 0xcc)}}));
}

// An outdated state would use message ids and IVs again.
TEST(StateStore, AStateThatIsTooLongLeavesNoEarlierOne) {
  auto store = new_store();
  ASSERT_TRUE(store.save(1, bytes_of(10, 1)));
  EXPECT_FALSE(store.save(1, bytes_of(kCopyBytes + 1, 2)));
  EXPECT_TRUE(loaded(store).empty());
  ASSERT_TRUE(store.save(1, bytes_of(10, 1)));
  EXPECT_FALSE(store.save(1, {}));
  EXPECT_TRUE(loaded(store).empty());
  EXPECT_FALSE(store.save(ike_state::kSlots, bytes_of(1, 1)));
}

TEST(StateStore, DamagedStatesAreRefusedAndWiped) {
  const auto damage = [](auto change) {
    auto store = new_store();
    EXPECT_TRUE(store.save(2, bytes_of(100, 0xaa)));
    change(copy_of(store, 2, version_is_in_first(store) ? 0 : 1));
    EXPECT_TRUE(loaded(store, 1).empty());
    EXPECT_TRUE(loaded(store, 0).empty());
    EXPECT_FALSE(holds(store, 2, 0xaa));
  };
  damage([](const Copy& copy) { copy.data[50] ^= 1; });
  damage([](const Copy& copy) { copy.mark.bytes = 99; });
  damage([](const Copy& copy) { copy.mark.bytes = kCopyBytes + 1; });
  damage([](const Copy& copy) { copy.mark.crc ^= 1; });
  damage([](const Copy& copy) { copy.mark.version.fetch_add(1); });
}

TEST(StateStore, AStateCountsInItsOwnSlotOnly) {
  auto store = new_store();
  ASSERT_TRUE(store.save(2, bytes_of(100, 1)));
  auto& layout = ike_state::of(store.segment());
  std::memcpy(static_cast<void*>(layout.marks[5]), layout.marks[2], sizeof layout.marks[2]);
  std::memcpy(layout.data[5], layout.data[2], sizeof layout.data[2]);
  EXPECT_EQ(loaded(store, 1), (States{{2, bytes_of(100, 1)}}));
}

TEST(StateStore, ASegmentOfAnotherLayoutIsRefused) {
  const auto store = new_store();
  ike_state::of(store.segment()).layout = ike_state::kLayout + 1;
  EXPECT_FALSE(ike_state::attach(store.segment().fd().duplicate()));
  ike_state::of(store.segment()).layout = ike_state::kLayout;
  EXPECT_TRUE(ike_state::attach(store.segment().fd().duplicate()));
  auto small = Segment::create("small", 4096);
  EXPECT_FALSE(ike_state::attach(small->fd().duplicate()));
}

// The segment has room for half a gigabyte; what is not used takes no memory, also when it is looked through.
TEST(StateStore, WhatIsNotUsedTakesNoMemory) {
  auto store = new_store();
  ASSERT_TRUE(store.save(4000, bytes_of(3000, 1)));
  EXPECT_EQ(store.load().states.size(), 1u);
  struct stat about {};
  ASSERT_EQ(::fstat(store.segment().fd().get(), &about), 0);
  EXPECT_LT(about.st_blocks * 512, 512 * 1024);
}

// Random saves and forgets of a few slots; the model is a map. `acknowledge` is called after each with what
// is kept.
template <class Acknowledge>
void run_random(StateStore& store, unsigned seed, int steps, Acknowledge acknowledge) {
  std::mt19937 random(seed);
  for (int step = 0; step < steps; ++step) {
    const uint64_t id = random() % 4;
    const bool forget = random() % 4 == 0;
    const Bytes state =
        forget ? Bytes() : bytes_of(1 + random() % 3000, static_cast<uint8_t>(1 + random() % 255));
    acknowledge(id, state, false);
    if (forget)
      store.forget(id);
    else
      ASSERT_TRUE(store.save(id, state));
    acknowledge(id, state, true);
  }
}

TEST(StateStore, BehavesLikeAMap) {
  auto store = new_store();
  States model;
  run_random(store, 1, 3000, [&](uint64_t id, const Bytes& state, bool done) {
    if (!done) return;
    if (state.empty())
      model.erase(id);
    else
      model[id] = state;
  });
  EXPECT_EQ(loaded(store), model);
}

#ifdef ESPALIER_KILL_POINTS

// What the child wrote down before and after each step, in memory that outlives it.
struct Journal {
  struct Entry {
    uint64_t id;
    uint32_t bytes;
    uint8_t value;
    uint8_t done;
  };
  uint64_t count;
  Entry entries[4096];
};

// Runs until the kill point strikes, then compares: every slot has what was saved last, but for the one that
// was being written, which has the earlier or the new state.
void die_and_compare(const char* place, unsigned seed) {
  auto store = new_store();
  const auto shared = Segment::create("journal", sizeof(Journal));
  Journal& journal = *shared->as<Journal>();
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("ESPALIER_KILL_AT", place, 1);
    run_random(store, seed, 1000, [&](uint64_t id, const Bytes& state, bool done) {
      if (done)
        journal.entries[journal.count++].done = 1;
      else
        journal.entries[journal.count] = {id, static_cast<uint32_t>(state.size()),
                                          state.empty() ? uint8_t{0} : state[0], 0};
    });
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status)) << place;
  States model;
  for (uint64_t i = 0; i < journal.count; ++i) {
    const auto& entry = journal.entries[i];
    if (entry.bytes == 0)
      model.erase(entry.id);
    else
      model[entry.id] = bytes_of(entry.bytes, entry.value);
  }
  const auto& torn = journal.entries[journal.count];
  auto store2 = reopened(store);
  States found;
  for (const SaveState& each : store2.load().states)
    found.emplace(each.id, Bytes(each.state.view().begin(), each.state.view().end()));
  States after = model;
  if (torn.bytes == 0)
    after.erase(torn.id);
  else
    after[torn.id] = bytes_of(torn.bytes, torn.value);
  EXPECT_TRUE(found == model || found == after) << place << " seed " << seed;
  ASSERT_TRUE(store2.save(torn.id, bytes_of(9, 9)));  // and it goes on
  EXPECT_EQ(loaded(store2)[torn.id], bytes_of(9, 9));
}

TEST(StateStore, WhereverAProcessDiesTheEarlierOrTheNewStateIsThere) {
  for (const char* name :
       {"ike_state.save.before_write", "ike_state.save.half_written", "ike_state.save.before_publish",
        "ike_state.save.before_wipe", "ike_state.forget.half_done"})
    for (unsigned n = 1; n <= 40; ++n) die_and_compare(fmt::format("{}:{}", name, n).c_str(), n);
}

#endif

}  // namespace
}  // namespace espalier::ike
