// An inbound SA that comes back to a dataplane that was started anew.
#include "dataplane/sa_store.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <set>

namespace espalier::dataplane {
namespace {

class SaStoreTest : public testing::Test {
 protected:
  SaStoreTest() {
    std::string folder = (std::filesystem::temp_directory_path() / "espalier-sas-XXXXXX").string();
    folder_ = ::mkdtemp(folder.data());
    vault_ = Vault::create(8).value();
    cells_ = SaCells::open(folder_, folder_, {.capacity = 8, .window_words = 64}).value();
  }
  ~SaStoreTest() override {
    cells_.reset();
    std::filesystem::remove_all(folder_);
  }
  static SaRecord record(uint32_t replay_window, uint32_t flags) {
    SaRecord r;
    r.spi = Spi{0x3001};
    r.direction = Direction::kIn;
    r.flags = flags;
    r.replay_window = replay_window;
    r.key[0] = 1;
    return r;
  }
  // What a process does that starts with this SA.
  Result<void> install(uint32_t replay_window, uint32_t flags) {
    store_ = SaStore::open(*vault_, *cells_, 1).value();
    const SaRecord wanted = record(replay_window, flags);
    auto change = TRY(store_->plan({&wanted, 1}));
    store_->install(change);
    store_->release(change);
    return {};
  }
  const ReplayWindow& window() const { return store_->sad().find(Spi{0x3001}, {})->window(); }

  std::filesystem::path folder_;
  std::optional<Vault> vault_;
  std::optional<SaCells> cells_;
  std::unique_ptr<SaStore> store_;
};

TEST_F(SaStoreTest, AStaticKeysWindowMayChangeWithTheProcess) {
  ASSERT_TRUE(install(32, kSaStaticKey));
  cells_->cell(SaIndex{0}).window.top.store(100);  // as if packets up to 100 had come
  store_.reset();
  const auto done = install(512, kSaStaticKey);
  ASSERT_TRUE(done) << done.error().text;
  EXPECT_EQ(window().size(), 512u);
  EXPECT_FALSE(window().check(99)) << "within the new window, and maybe accepted by the old one";
  EXPECT_FALSE(window().check(100));
  EXPECT_TRUE(window().check(101));
}

TEST_F(SaStoreTest, WithTheSameWindowItGoesOnWhereItWas) {
  ASSERT_TRUE(install(32, kSaStaticKey));
  cells_->cell(SaIndex{0}).window.top.store(100);
  cells_->cell(SaIndex{0}).owner.installed_s.store(7);
  store_.reset();
  ASSERT_TRUE(install(32, kSaStaticKey));
  EXPECT_TRUE(window().check(99)) << "not accepted yet";
  EXPECT_EQ(cells_->cell(SaIndex{0}).owner.installed_s.load(), 7u) << "it has not been out of use";
}

// A key that IKE made is in its cell only as long as it is in use; what was accepted by it stays known as
// well.
TEST_F(SaStoreTest, ThatOfAKeyThatIsNotRememberedMayChangeToo) {
  ASSERT_TRUE(install(32, 0));
  cells_->cell(SaIndex{0}).window.top.store(100);
  store_.reset();
  const auto done = install(512, 0);
  ASSERT_TRUE(done) << done.error().text;
  EXPECT_EQ(window().size(), 512u);
  EXPECT_FALSE(window().check(99)) << "within the new window, and maybe accepted by the old one";
  EXPECT_FALSE(window().check(100));
  EXPECT_TRUE(window().check(101));
}

// The dataplane died: IKE names what it has, the rest goes. A configuration that comes before that has no
// say.
TEST_F(SaStoreTest, AfterADeathIkesSasGoOnWhereTheyWere) {
  SaRecord kept = record(0, 0), forgotten = record(0, 0);
  kept.direction = forgotten.direction = Direction::kOut;
  kept.key[0] = 3;
  forgotten.spi = Spi{0x3002};
  forgotten.key[0] = 2;
  const auto install_ike = [&](const SaRecord& r) {
    SaStore::Change change;
    ASSERT_TRUE(store_->plan_ike(r, change));
    store_->install(change);
  };
  store_ = SaStore::open(*vault_, *cells_, 1).value();
  install_ike(kept);
  install_ike(forgotten);
  const SaIndex index = store_->find_ike(SaName::of(kept))->index();
  EXPECT_EQ(cells_->cell(index).outbound.take(10).first, 1u);
  EXPECT_EQ(cells_->cell(store_->find_ike(SaName::of(forgotten))->index()).outbound.take(5).first, 1u);
  const auto used = [&] {
    size_t count = 0;
    for (uint32_t i = 0; i < vault_->capacity(); ++i) count += vault_->read(SaIndex{i}).value().has_value();
    return count;
  };
  store_.reset();
  ASSERT_TRUE(install(32, kSaStaticKey));  // another process: its configuration
  store_->release_left_behind(SaStore::Owner::kConfiguration);
  EXPECT_EQ(used(), 3u);
  install_ike(kept);
  store_->release_left_behind(SaStore::Owner::kIke);
  EXPECT_EQ(used(), 2u) << "the state of the configuration and what IKE named";
  EXPECT_EQ(cells_->cell(store_->find_ike(SaName::of(kept))->index()).outbound.take(1).first, 11u);
  install_ike(forgotten);  // was refused when it was named, and comes once more
  EXPECT_EQ(cells_->cell(store_->find_ike(SaName::of(forgotten))->index()).outbound.take(1).first, 6u)
      << "a nonce is never used twice";
}

// A peer that gets another address every day, for as many days as one likes.
TEST_F(SaStoreTest, PathsAreUsedAgain) {
  ASSERT_TRUE(install(32, 0));
  Sad& sad = store_->sad();
  const SecurityPath own = sad.find(Spi{0x3001}, {})->path();
  SaRecord moving = record(32, 0);
  moving.reqid = Reqid{7};
  std::set<SecurityPath> seen{own};
  SecurityPath before = kUnknownPath;
  for (uint32_t i = 1; i <= 70'000; ++i) {
    moving.source = Ipv4Address::from_host(i);
    const SecurityPath path = sad.intern_path(moving);
    ASSERT_NE(path, kUnknownPath) << i;
    ASSERT_TRUE(sad.path_info(path));
    ASSERT_EQ(sad.path_info(path)->layers[0].source, moving.source);
    ASSERT_FALSE(sad.path_info(before)) << "packets that came by it are nobody's";
    ASSERT_TRUE(seen.insert(path).second) << "flows of the earlier one would be taken for this one's";
    before = path;
    sad.reclaim_paths();
  }
  EXPECT_EQ(sad.intern_path(record(32, 0)), own) << "is that of an SA that is there";
  EXPECT_TRUE(sad.path_info(own));
}

// Workers may be at work with it.
TEST_F(SaStoreTest, OfAnInstalledStateItMayNot) {
  ASSERT_TRUE(install(32, 0));
  SaRecord other = record(64, 0);
  EXPECT_FALSE(store_->plan({&other, 1}));
  EXPECT_FALSE((other = record(32, kSaEsn), store_->plan({&other, 1})));
  other = record(32, 0);
  EXPECT_TRUE(store_->plan({&other, 1}));
}

}  // namespace
}  // namespace espalier::dataplane
