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
  for (const SavedState& each : result.states)
    states.emplace(each.id, Bytes(each.state.view().begin(), each.state.view().end()));
  return states;
}

Bytes bytes_of(size_t count, uint8_t value) {
  return Bytes(count, value);
}

Result<void> save(StateStore& store, uint64_t id, const Bytes& state) {
  SaveStates wanted;
  wanted.states.push_back({id, crypto::Secret(state)});
  return store.save(wanted);
}
void forget(StateStore& store, uint64_t id) {
  EXPECT_TRUE(store.save({.states = {}, .forgotten = {id}}));
}

struct Copy {
  Mark& mark;
  std::span<uint8_t> data;
};
Copy copy_of(const StateStore& store, uint64_t id, int which) {
  auto& layout = ike_state::of(store.segment());
  return {layout.marks[id][which], layout.data[id][which]};
}

bool newest_is_first(const StateStore& store) {
  return copy_of(store, 2, 0).mark.save > copy_of(store, 2, 1).mark.save;
}

bool holds(const StateStore& store, uint64_t id, uint8_t value) {
  for (int which : {0, 1})
    for (const uint8_t byte : copy_of(store, id, which).data)
      if (byte == value) return true;
  return false;
}

TEST(StateStore, AnotherProcessFindsWhatWasSaved) {
  auto store = new_store();
  ASSERT_TRUE(save(store, 0, bytes_of(1, 1)));
  ASSERT_TRUE(save(store, 7, bytes_of(1000, 2)));
  ASSERT_TRUE(save(store, 7, bytes_of(999, 3)));
  ASSERT_TRUE(save(store, ike_state::kSlots - 1, bytes_of(kCopyBytes, 4)));
  auto other = reopened(store);
  EXPECT_EQ(
      loaded(other),
      (States{{0, bytes_of(1, 1)}, {7, bytes_of(999, 3)}, {ike_state::kSlots - 1, bytes_of(kCopyBytes, 4)}}));
}

TEST(StateStore, WhatIsForgottenOrReplacedIsWiped) {
  auto store = new_store();
  ASSERT_TRUE(save(store, 3, bytes_of(500, 0xaa)));
  ASSERT_TRUE(holds(store, 3, 0xaa));
  ASSERT_TRUE(save(store, 3, bytes_of(500, 0xbb)));
  EXPECT_FALSE(holds(store, 3, 0xaa));
  forget(store, 3);
  EXPECT_FALSE(holds(store, 3, 0xbb));
  EXPECT_TRUE(loaded(store).empty());
  forget(store, 3);
  forget(store, ike_state::kSlots);
  ASSERT_TRUE(save(store, 3, bytes_of(5, 0xcc)));
  EXPECT_EQ(loaded(store), (States{{3, bytes_of(5, 0xcc)}}));
}

// An outdated state would use message ids and IVs again.
TEST(StateStore, AStateThatIsTooLongLeavesNoEarlierOne) {
  auto store = new_store();
  ASSERT_TRUE(save(store, 1, bytes_of(10, 1)));
  EXPECT_FALSE(save(store, 1, bytes_of(kCopyBytes + 1, 2)));
  EXPECT_TRUE(loaded(store).empty());
  ASSERT_TRUE(save(store, 1, bytes_of(10, 1)));
  EXPECT_FALSE(save(store, 1, {}));
  EXPECT_TRUE(loaded(store).empty());
  EXPECT_FALSE(save(store, ike_state::kSlots, bytes_of(1, 1)));
}

TEST(StateStore, DamagedStatesAreRefusedAndWiped) {
  const auto damage = [](auto change) {
    auto store = new_store();
    EXPECT_TRUE(save(store, 2, bytes_of(100, 0xaa)));
    EXPECT_TRUE(save(store, 2, bytes_of(100, 0xaa)));
    change(copy_of(store, 2, newest_is_first(store) ? 0 : 1));
    EXPECT_TRUE(loaded(store, 1).empty());
    EXPECT_TRUE(loaded(store, 0).empty());
    EXPECT_FALSE(holds(store, 2, 0xaa));
  };
  damage([](const Copy& copy) { copy.data[50] ^= 1; });
  damage([](const Copy& copy) { copy.mark.bytes = 99; });
  damage([](const Copy& copy) { copy.mark.bytes = kCopyBytes + 1; });
  damage([](const Copy& copy) { copy.mark.crc ^= 1; });
  damage([](const Copy& copy) { copy.mark.save = 1; });
}

TEST(StateStore, AStateCountsInItsOwnSlotOnly) {
  auto store = new_store();
  ASSERT_TRUE(save(store, 2, bytes_of(100, 1)));
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
  ASSERT_TRUE(save(store, 4000, bytes_of(3000, 1)));
  EXPECT_EQ(store.load().states.size(), 1u);
  struct stat about {};
  ASSERT_EQ(::fstat(store.segment().fd().get(), &about), 0);
  EXPECT_LT(about.st_blocks * 512, 512 * 1024);
}

// Of one state that does not fit the others are kept.
TEST(StateStore, OneThatDoesNotFitHarmsNoOther) {
  auto store = new_store();
  ASSERT_TRUE(save(store, 1, bytes_of(10, 1)));
  SaveStates wanted;
  wanted.states.push_back({1, crypto::Secret(bytes_of(kCopyBytes + 1, 2))});
  wanted.states.push_back({2, crypto::Secret(bytes_of(20, 3))});
  EXPECT_FALSE(store.save(wanted));
  EXPECT_EQ(loaded(store), (States{{2, bytes_of(20, 3)}}));
}

void change(const SaveStates& save, States& model) {
  for (const SavedState& each : save.states)
    model[each.id] = Bytes(each.state.view().begin(), each.state.view().end());
  for (const uint64_t id : save.forgotten) model.erase(id);
}

// Of several of a few slots; the same for the same state of `random`.
SaveStates random_save(std::mt19937& random) {
  SaveStates save;
  for (uint64_t id = 0; id < 4; ++id) {
    const auto wish = random() % 4;
    const Bytes state = bytes_of(1 + random() % 3000, static_cast<uint8_t>(1 + random() % 255));
    if (wish == 0) save.forgotten.push_back(id);
    if (wish == 1) save.states.push_back({id, crypto::Secret(state)});
  }
  return save;
}

TEST(StateStore, BehavesLikeAMap) {
  auto store = new_store();
  States model;
  std::mt19937 random(1);
  for (int step = 0; step < 3000; ++step) {
    const SaveStates save = random_save(random);
    ASSERT_TRUE(store.save(save));
    change(save, model);
  }
  EXPECT_EQ(loaded(store), model);
}

#ifdef ESPALIER_KILL_POINTS

// Saves until the kill point strikes, then compares: what was saved last is there, and of the save that was
// being done all or nothing.
void die_and_compare(const std::string& place, unsigned seed) {
  auto store = new_store();
  const auto done = Segment::create("done", sizeof(std::atomic<uint64_t>));  // outlives the process
  auto& saves = *done->as<std::atomic<uint64_t>>();
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("ESPALIER_KILL_AT", place.c_str(), 1);
    std::mt19937 random(seed);
    for (; saves < 1000; ++saves)
      if (!store.save(random_save(random))) break;
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status)) << place;
  std::mt19937 random(seed);
  States before;
  for (uint64_t i = 0; i < saves; ++i) change(random_save(random), before);
  States after = before;
  change(random_save(random), after);
  auto store2 = reopened(store);
  const States found = loaded(store2);
  EXPECT_TRUE(found == before || found == after) << place << " seed " << seed;
  const SaveStates next = random_save(random);  // and it goes on
  States expected = found;
  change(next, expected);
  ASSERT_TRUE(store2.save(next));
  EXPECT_EQ(loaded(store2), expected) << place << " seed " << seed;
}

TEST(StateStore, WhereverAProcessDiesASaveIsDoneAsAWholeOrNotAtAll) {
  for (const char* name :
       {"ike_state.save.before_write", "ike_state.save.half_written", "ike_state.save.before_commit",
        "ike_state.save.before_wipe", "ike_state.save.half_wiped"})
    for (unsigned n = 1; n <= 40; ++n) die_and_compare(fmt::format("{}:{}", name, n), n);
}

#endif

}  // namespace
}  // namespace espalier::ike
