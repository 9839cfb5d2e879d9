// An inbound SA that comes back to a dataplane that was started anew.
#include "dataplane/sa_store.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

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
  // What a process does that starts with this SA.
  Result<void> install(uint32_t replay_window, uint32_t flags) {
    store_ = SaStore::open(*vault_, *cells_, 1).value();
    SaRecord record;
    record.spi = Spi{0x3001};
    record.direction = Direction::kIn;
    record.flags = flags;
    record.replay_window = replay_window;
    record.key[0] = 1;
    auto change = TRY(store_->plan({&record, 1}));
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
  EXPECT_FALSE(window().check(SeqNo{99})) << "within the new window, and maybe accepted by the old one";
  EXPECT_FALSE(window().check(SeqNo{100}));
  EXPECT_TRUE(window().check(SeqNo{101}));
}

TEST_F(SaStoreTest, WithTheSameWindowItGoesOnWhereItWas) {
  ASSERT_TRUE(install(32, kSaStaticKey));
  cells_->cell(SaIndex{0}).window.top.store(100);
  cells_->cell(SaIndex{0}).owner.installed_s.store(7);
  store_.reset();
  ASSERT_TRUE(install(32, kSaStaticKey));
  EXPECT_TRUE(window().check(SeqNo{99})) << "not accepted yet";
  EXPECT_EQ(cells_->cell(SaIndex{0}).owner.installed_s.load(), 7u) << "it has not been out of use";
}

// Its cell would be made anew, and with it forget what was accepted.
TEST_F(SaStoreTest, OfAKeyThatIsNotRememberedItMayNot) {
  ASSERT_TRUE(install(32, 0));
  store_.reset();
  EXPECT_FALSE(install(512, 0));
  EXPECT_TRUE(install(32, 0));
}

}  // namespace
}  // namespace espalier::dataplane
