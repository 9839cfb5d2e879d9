// IKE_SA_INIT and IKE_AUTH: coming up, in good and bad conditions, and what the operator is told when it does
// not.
#include "tests/exchange/lab.hpp"

namespace espalier::ike::exchange {
namespace {

class Establish : public Lab {};

std::string last_failure(const Side& side, Time now) {
  const auto reports = side.core().connections(now);
  return reports.empty() ? "" : reports.front().last_failure;
}

TEST_F(Establish, PreSharedKeyWithOneChild) {
  configure();
  bring_up();
  expect_settled();
  const auto report = left.established().front();
  EXPECT_TRUE(report.initiator);
  EXPECT_EQ(report.connection, "right");
  EXPECT_EQ(report.remote_id, "right.example");
  EXPECT_EQ(right.established().front().remote_id, "left.example");
  EXPECT_EQ(report.initiator_spi, right.established().front().initiator_spi);
  EXPECT_EQ(net.sent.size(), 4u);  // two exchanges, nothing twice
}

// Of several peers with any address, in the configuration's order: which of them the left one is taken for.
// An identity "host" is that of a peer with a host name and without a remote-id, whose address is its
// identity.
struct AnyPeers {
  const char* local_id;  // the left one's
  std::vector<const char*> remote_ids;
  const char* chosen;
};
class AmongPeersOfAnyAddress : public Lab, public ::testing::WithParamInterface<AnyPeers> {};

TEST_P(AmongPeersOfAnyAddress, TheIdentityChooses) {
  left_config.change = [](ConnectionConfig& c) { c.local_id = *parse_identity(GetParam().local_id); };
  right.make_configuration = [this] {
    Configuration made = configuration_of(right_config);
    const ConnectionConfig model = made.connections[0];
    made.connections.clear();
    for (const char* id : GetParam().remote_ids) {
      ConnectionConfig& one = made.connections.emplace_back(model);
      const bool by_name = std::string_view(id) == "host";
      one.name = id;
      one.remotes = {by_name ? "gw.example.net" : "any"};
      one.remote_id = by_name ? std::nullopt : *parse_identity(id);
      one.remote_id_is_address = by_name;
    }
    return made;
  };
  const auto with_key_of_all = [](Configuration made) {
    made.keys = {};
    made.keys.push_back({"all", {}, crypto::Secret(Bytes(8, 1))});
    return made;
  };
  right.configure(with_key_of_all(right.make_configuration()));
  left.configure(with_key_of_all(configuration_of(left_config)));
  bring_up();
  ASSERT_EQ(right.established().size(), 1u);
  EXPECT_EQ(right.established().front().connection, GetParam().chosen);
}
INSTANTIATE_TEST_SUITE_P(
    All, AmongPeersOfAnyAddress,
    ::testing::Values(
        AnyPeers{"left.example", {"%any", "*.example", "right.example", "LEFT.example"}, "LEFT.example"},
        AnyPeers{"left.example", {"%any", "*.example", "right.example"}, "*.example"},
        AnyPeers{"left.example", {"right.example", "%any"}, "%any"},
        AnyPeers{"C=CH, CN=left", {"%any", "C=CH, CN=*", "C=CH, CN=left"}, "C=CH, CN=left"},
        AnyPeers{"192.0.2.1", {"host", "192.0.2.1"}, "host"},
        AnyPeers{"192.0.2.1", {"%any", "192.0.2.1", "host"}, "192.0.2.1"}));

TEST_F(Establish, SeveralChildren) {
  left_config.children = right_config.children = 3;
  configure();
  bring_up();
  expect_settled(3);
}

TEST_F(Establish, BothBeginAtOnceAndOneRemains) {
  configure(ConnectionType::kInitiate, ConnectionType::kInitiate);
  settle(seconds{40});
  expect_settled();
}

TEST_F(Establish, EveryDatagramTwice) {
  net.conditions.duplicate = 1;
  configure();
  bring_up();
  settle();
  expect_settled();
}

TEST_F(Establish, WithLoss) {
  net.conditions = {
      .loss = 0.4, .duplicate = 0.2, .corrupt = 0.1, .delay = milliseconds{20}, .jitter = milliseconds{50}};
  configure(ConnectionType::kInitiate, ConnectionType::kRespond);
  ASSERT_TRUE(net.run_until([&] { return !left.live_children().empty() && !right.live_children().empty(); },
                            std::chrono::hours{1}))
      << story();
  net.conditions = {};
  settle(seconds{200});
  expect_settled();
}

TEST_F(Establish, OtherGroupIsAskedFor) {
  left_config.change = [](ConnectionConfig& c) { c.suites = {ike_suite(19), ike_suite(31)}; };
  right_config.change = [](ConnectionConfig& c) { c.suites = {ike_suite(31)}; };
  configure();
  bring_up();
  expect_settled();
  EXPECT_NE(left.established().front().suite.find("dh31"), std::string::npos);
}

TEST_F(Establish, CookieIsAskedForAndGiven) {
  right.options.half_open_cookies = 0;
  right.make_configuration = [this] { return configuration_of(right_config); };
  configure();
  right.restart();
  bring_up();
  expect_settled();
  EXPECT_EQ(right.core().counters().cookies_asked, 1u);
}

TEST_F(Establish, WrongSecret) {
  right_config.secret = "another";
  configure();
  ASSERT_TRUE(left.command(Initiate{"right", ""}));
  settle(seconds{100});
  expect_down();
  EXPECT_NE(last_failure(left, net.now).find("AUTHENTICATION_FAILED"), std::string::npos) << story();
  EXPECT_FALSE(last_failure(right, net.now).empty());
  EXPECT_EQ(left.core().counters().ike_established + right.core().counters().ike_established, 0u);
}

TEST_F(Establish, UnknownIdentity) {
  left_config.change = [](ConnectionConfig& c) { c.local_id = Identity{IdType::kFqdn, {'x'}}; };
  configure();
  ASSERT_TRUE(left.command(Initiate{"right", ""}));
  settle(seconds{100});
  expect_down();
}

TEST_F(Establish, NoCommonProposal) {
  right_config.change = [](ConnectionConfig& c) { c.suites = {ike_suite(19)}; };
  configure();
  ASSERT_TRUE(left.command(Initiate{"right", ""}));
  settle(seconds{100});
  expect_down();
  EXPECT_NE(last_failure(left, net.now).find("NO_PROPOSAL_CHOSEN"), std::string::npos) << story();
  EXPECT_NE(last_failure(right, net.now).find("dh19"), std::string::npos) << story();
  EXPECT_NE(last_failure(right, net.now).find("dh31"), std::string::npos) << story();
}

// RFC 7296 section 2.21.2: the IKE SA stays without the child.
TEST_F(Establish, ChildFailsAndIkeSaStays) {
  right_config.change = [](ConnectionConfig& c) {
    c.children[0].suites = {{.algorithm = {EspCipher::kAesGcm, EspIntegrity::kNone, 32, 16}, .group = 0}};
  };
  configure();
  ASSERT_TRUE(left.command(Initiate{"right", ""}));
  settle();
  EXPECT_EQ(left.established().size(), 1u) << story();
  EXPECT_EQ(right.established().size(), 1u) << story();
  EXPECT_TRUE(left.sas().empty() && right.sas().empty());
  EXPECT_NE(last_failure(right, net.now).find("aes256gcm128"), std::string::npos)
      << last_failure(right, net.now);
}

// Both sides say what both wanted: in IKE_AUTH, and in CREATE_CHILD_SA where the IKE SA stays for the next
// try.
TEST_F(Establish, SelectorsThatDoNotFitAreToldByBothSides) {
  right_config.change = [](ConnectionConfig& c) {
    c.children[0].local.prefixes = {IpPrefix::of(Ipv4Address::from_host(0x0a630000), 16)};
  };
  configure();
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(left.command(Initiate{"right", ""}));
    settle();
    ASSERT_EQ(left.established().size(), 1u) << story();
    EXPECT_NE(last_failure(left, net.now).find("TS_UNACCEPTABLE; we offered 10.1.0.0/24 === 10.2.0.0/24"),
              std::string::npos)
        << last_failure(left, net.now);
    EXPECT_NE(last_failure(right, net.now)
                  .find("selectors: we 10.99.0.0/16 === 10.1.0.0/24, they 10.2.0.0/24 === 10.1.0.0/24"),
              std::string::npos)
        << last_failure(right, net.now);
  }
}

TEST_F(Establish, SelectorsAreNarrowed) {
  right_config.change = [](ConnectionConfig& c) {
    c.children[0].local.prefixes = {IpPrefix::of(Ipv4Address::from_host(0x0a020080), 25)};
  };
  configure();
  bring_up();
  expect_settled();
  EXPECT_EQ(left.live_children().front().remote_selectors, "10.2.0.128/25");
  const SaRecord& record = left.outbound(reqid_of(0)).front()->record;
  EXPECT_NE(record.flags & kSaHasSelector, 0u);
  EXPECT_EQ(record.selector.destination, IpPrefix::of(Ipv4Address::from_host(0x0a020080), 25));
}

TEST_F(Establish, NobodyAnswers) {
  net.filter = [](Side&, Datagram&) { return false; };
  configure(ConnectionType::kInitiate, ConnectionType::kNone);
  settle(std::chrono::hours{2});
  EXPECT_NE(last_failure(left, net.now).find("no answer"), std::string::npos);
  EXPECT_EQ(left.core().ike_sas(net.now).size() <= 1, true);
  net.filter = {};
  settle(seconds{300});
  expect_settled();
}

// The answer of somebody who forges it must not end the try (section 2.21.1).
TEST_F(Establish, ForgedErrorsDoNotEndTheTry) {
  configure();
  net.filter = [&](Side& from, Datagram& datagram) {
    if (&from != &left || net.sent.size() > 1) return true;
    Bytes forged(datagram.bytes.begin(), datagram.bytes.begin() + 16);
    const uint8_t rest[] = {41, 0x20, 34, 0x20, 0, 0, 0, 0, 0, 0, 0, 36, 0, 0, 0, 8, 0, 0, 0, 14};
    forged.insert(forged.end(), std::begin(rest), std::end(rest));
    left.receive(datagram.from, datagram.to, forged);
    return true;
  };
  ASSERT_TRUE(left.command(Initiate{"right", ""}));
  settle();
  expect_settled();
  EXPECT_TRUE(left.logged("NO_PROPOSAL_CHOSEN"));
}

TEST_F(Establish, RespondersConnectsOnTraffic) {
  configure(ConnectionType::kRespond, ConnectionType::kRespond);
  settle();
  EXPECT_TRUE(net.sent.empty());
  left.event(Acquire{reqid_of(0), {}});
  settle();
  expect_settled();
}

TEST_F(Establish, NoneDoesNotConnectOnTraffic) {
  configure();
  left.event(Acquire{reqid_of(0), {}});
  settle();
  EXPECT_TRUE(net.sent.empty());
}

}  // namespace
}  // namespace espalier::ike::exchange
