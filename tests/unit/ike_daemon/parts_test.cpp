// The log's filter, the way from names to addresses, reports.
#include <gtest/gtest.h>

#include "ike/daemon/log.hpp"
#include "ike/daemon/name_resolution.hpp"
#include "ike/daemon/reports.hpp"

namespace espalier::ike {
namespace {

TEST(LogFilter, ConfiguredLevelsAreOfTheNamedSubsystems) {
  LogFilter filter;
  const Subsystem child[] = {Subsystem::kChild};
  filter.configure(2, child);
  EXPECT_TRUE(filter.wants(LogLevel::kDebug, Subsystem::kChild, "A"));
  EXPECT_FALSE(filter.wants(LogLevel::kDebug, Subsystem::kIke, "A"));
  EXPECT_TRUE(filter.wants(LogLevel::kInfo, Subsystem::kIke, "A"));
  filter.configure(0, {});
  EXPECT_FALSE(filter.wants(LogLevel::kDebug, Subsystem::kChild, "A"));
  filter.configure(1, {});
  EXPECT_TRUE(filter.wants(LogLevel::kDebug, Subsystem::kNetwork, ""));
}

TEST(LogFilter, APeerTellsMoreThanTheOthers) {
  LogFilter filter;
  filter.set(LogLevel::kWarning, std::nullopt, "");
  filter.set(LogLevel::kDebug, Subsystem::kIke, "A");
  EXPECT_TRUE(filter.wants(LogLevel::kDebug, Subsystem::kIke, "A"));
  EXPECT_FALSE(filter.wants(LogLevel::kDebug, Subsystem::kIke, "B"));
  EXPECT_FALSE(filter.wants(LogLevel::kInfo, Subsystem::kChild, "A"));
  EXPECT_TRUE(filter.wants(LogLevel::kWarning, Subsystem::kChild, "A"));
  filter.set(LogLevel::kError, Subsystem::kIke, "A");
  EXPECT_FALSE(filter.wants(LogLevel::kInfo, Subsystem::kIke, "A"));
  EXPECT_TRUE(filter.wants(LogLevel::kWarning, Subsystem::kIke, "A"));  // as everybody
  filter.configure(0, {});
  EXPECT_TRUE(filter.wants(LogLevel::kInfo, Subsystem::kIke, "A"));
}

TEST(LogFilter, NamesAreThereAndBack) {
  for (const auto level : {LogLevel::kError, LogLevel::kWarning, LogLevel::kInfo, LogLevel::kDebug})
    EXPECT_EQ(log_level_named(name_of(level)), level);
  for (const auto subsystem :
       {Subsystem::kIke, Subsystem::kChild, Subsystem::kConfig, Subsystem::kNetwork, Subsystem::kCrypto})
    EXPECT_EQ(subsystem_named(name_of(subsystem)), subsystem);
  EXPECT_FALSE(log_level_named("loud"));
  EXPECT_FALSE(subsystem_named(""));
}

IpAddress address(uint32_t last) {
  return Ipv4Address::from_host(0xc0000200 + last);
}

class NameResolutionTest : public ::testing::Test {
 protected:
  void answer_ways(const std::vector<IpAddress>& locals) {
    const auto asked = std::exchange(ways_, {});
    ASSERT_EQ(asked.size(), locals.size());
    for (size_t i = 0; i < asked.size(); ++i) asked[i].second(locals[i]);
  }
  std::vector<std::pair<uint64_t, std::string>> names_;
  std::vector<std::pair<IpAddress, std::function<void(IpAddress)>>> ways_;
  std::vector<Resolved> resolved_;
  bool away_ = false;
  NameResolution resolution_{{[this](uint64_t id, const std::string& name) -> Result<void> {
                                if (away_) return fail("away");
                                names_.emplace_back(id, name);
                                return {};
                              },
                              [this](IpAddress remote, auto on_way) { ways_.emplace_back(remote, on_way); },
                              [this](const Resolved& resolved) { resolved_.push_back(resolved); }}};
};

TEST_F(NameResolutionTest, AnAddressIsAskedOfTheDataplaneOnly) {
  for (const char* text : {"192.0.2.2", "2001:db8::2"}) {
    resolution_.resolve({"B", text});
    EXPECT_TRUE(names_.empty());
    answer_ways({address(1)});
    ASSERT_EQ(resolved_.size(), 1u);
    EXPECT_EQ(resolved_[0].connection, "B");
    EXPECT_EQ(resolved_[0].name, text);
    ASSERT_EQ(resolved_[0].ways.size(), 1u);
    EXPECT_EQ(resolved_[0].ways[0].local, address(1));
    EXPECT_EQ(resolved_[0].ways[0].remote, address_in_text(text));
    resolved_.clear();
  }
}

TEST_F(NameResolutionTest, ANameHasTheWaysOfItsAddresses) {
  resolution_.resolve({"B", "gw.example.org"});
  ASSERT_EQ(names_.size(), 1u);
  EXPECT_EQ(names_[0].second, "gw.example.org");
  resolution_.on_addresses(names_[0].first, {address(7), address(8)});
  answer_ways({IpAddress{}, address(1)});
  ASSERT_EQ(resolved_.size(), 1u);
  ASSERT_EQ(resolved_[0].ways.size(), 1u);
  EXPECT_EQ(resolved_[0].ways[0].remote, address(8));
  EXPECT_TRUE(resolved_[0].failure.empty());
  resolution_.on_addresses(names_[0].first, {address(7)});  // once more: nobody asked
  EXPECT_TRUE(ways_.empty());
}

TEST_F(NameResolutionTest, FailuresSayWhy) {
  resolution_.resolve({"B", "gw.example.org"});
  resolution_.on_failure(names_[0].first, "no such name");
  resolution_.resolve({"B", "gw.example.org"});
  resolution_.on_addresses(names_[1].first, {});
  resolution_.resolve({"B", "192.0.2.2"});
  answer_ways({IpAddress{}});
  away_ = true;
  resolution_.resolve({"B", "gw.example.org"});
  away_ = false;
  resolution_.resolve({"B", "gw.example.org"});
  resolution_.fail_all("espalierd went away");
  const char* reasons[] = {"no such name", "the name has no address", "there is no route to 192.0.2.2",
                           "away", "espalierd went away"};
  ASSERT_EQ(resolved_.size(), std::size(reasons));
  for (size_t i = 0; i < resolved_.size(); ++i) {
    EXPECT_EQ(resolved_[i].failure, reasons[i]);
    EXPECT_TRUE(resolved_[i].ways.empty());
  }
}

TEST_F(NameResolutionTest, OnlyAddressesOfTheConfiguredInterfacesAreUsed) {
  resolution_.allow({address(1)});
  resolution_.resolve({"B", "gw.example.org"});
  resolution_.on_addresses(names_[0].first, {address(7), address(8)});
  answer_ways({address(5), address(1)});
  ASSERT_EQ(resolved_[0].ways.size(), 1u);
  EXPECT_EQ(resolved_[0].ways[0].local, address(1));
  resolution_.resolve({"B", "192.0.2.2"});
  answer_ways({address(5)});
  EXPECT_TRUE(resolved_[1].ways.empty());
  EXPECT_NE(resolved_[1].failure.find("192.0.2.5"), std::string::npos);
}

TEST_F(NameResolutionTest, ANameWithManyAddressesIsCutShort) {
  resolution_.resolve({"B", "gw.example.org"});
  resolution_.on_addresses(names_[0].first, std::vector<IpAddress>(1000, address(7)));
  EXPECT_EQ(ways_.size(), 16u);
}

TEST(Reports, TimesThatAreOverAreLeftOut) {
  IkeSaReport sa;
  sa.connection = "B";
  sa.initiator_spi = 0x0123456789abcdef;
  sa.rekey_in = std::chrono::seconds(-1);
  sa.children.resize(1);
  sa.children[0].name = "tunnel-0";
  sa.children[0].rekey_in = std::chrono::seconds(5);
  const auto json = to_json(sa);
  EXPECT_FALSE(json.contains("rekey_in_s"));
  EXPECT_EQ(json["initiator_spi"], "0x0123456789abcdef");
  EXPECT_EQ(json["tunnels"][0]["rekey_in_s"], 5);
}

TEST(Reports, AConnectionThatIsUpHasNoReason) {
  ConnectionReport connection;
  connection.up = true;
  connection.why_down = "old";
  EXPECT_FALSE(to_json(connection).contains("reason"));
  EXPECT_FALSE(to_json(connection).contains("last_failure"));
  connection.up = false;
  connection.last_failure = "they chose nothing";
  connection.last_failure_ago = std::chrono::seconds(7);
  EXPECT_EQ(to_json(connection)["reason"], "old");
  EXPECT_EQ(to_json(connection)["last_failure"]["ago_s"], 7);
}

}  // namespace
}  // namespace espalier::ike
