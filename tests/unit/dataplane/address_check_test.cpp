// The life of an own IPv6 address: joined, checked (RFC 4862 section 5.4), announced, or refused.
#include <gtest/gtest.h>

#include "tests/unit/dataplane/eal_environment.hpp"
#include "tests/unit/dataplane/nd_packets.hpp"
#include "tests/unit/dataplane/neighbor_fixture.hpp"

namespace espalier::dataplane {
namespace {

const char* const kOwn = "2001:db8:1::1";
const char* const kGroup = "ff02::1:ff00:1";
const char* const kLinkLocal = "fe80::ff:fe00:1";  // of kLanMac: another name in the same group

class AddressCheckTest : public NeighborTest {
 protected:
  std::vector<Interface> with(std::initializer_list<const char*> added, bool dad = true) {
    auto all = interfaces();
    for (const char* own : added) all[0].addresses.push_back(prefix(own));
    all[0].dad = dad;
    return all;
  }
  void start() {
    link_.up = false;
    tick_for(100);
    reconfigure(with({"2001:db8:1::1/64"}));
    link_.up = true;
    out_ = {};
    tick_for(0);
  }
  // What was sent, in words.
  std::vector<std::string> take_words() {
    std::vector<std::string> all;
    for (const NeighborFrame& f : std::exchange(out_.frames, {})) {
      if (f.ether_type == kEtherTypeIpv6) all.push_back(words(f));
    }
    return all;
  }
  static std::string words(const NeighborFrame& f) {
    const Bytes& p = f.payload;
    const auto address = [&](size_t offset) {
      char out[INET6_ADDRSTRLEN];
      return std::string(inet_ntop(AF_INET6, &p.at(offset), out, sizeof out));
    };
    const size_t icmp = p.at(6) == 0 ? 48 : 40;
    std::string text = p.at(icmp) == 135 ? "ask " : p.at(icmp) == 136 ? "tell " : "report ";
    if (icmp == 40) return text + address(icmp + 8) + " from " + address(8) + " to " + address(24);
    for (size_t i = 0; i < test::get16(p, icmp + 6); ++i) text += address(icmp + 12 + 20 * i) + " ";
    return text + "from " + address(8);
  }
  AddressState state_of(const char* address) const {
    for (const OwnAddress& own : (*table_of_interfaces_)[kLan].addresses)
      if (own.address() == ip(address)) return own.state ? own.state->load() : AddressState::kUsable;
    throw std::invalid_argument(address);
  }
  void receive_nd(const NdPacket& packet) { resolver_.handle_nd(kLan, packet.bytes(), 40, now_ms_, out_); }
  using Words = std::vector<std::string>;
};

TEST_F(AddressCheckTest, JoinedThenCheckedThenAnnounced) {
  start();
  EXPECT_EQ(take_words(),
            (Words{"report ff02::1:ff00:1 from ::", "ask 2001:db8:1::1 from :: to ff02::1:ff00:1",
                   "ask fe80::ff:fe00:1 from :: to ff02::1:ff00:1"}));
  EXPECT_EQ(state_of(kOwn), AddressState::kTentative);
  tick_for(900);
  EXPECT_EQ(take_words(), Words{});
  EXPECT_EQ(state_of(kOwn), AddressState::kTentative);
  tick_for(100);
  EXPECT_EQ(state_of(kOwn), AddressState::kUsable);
  EXPECT_EQ(state_of(kLinkLocal), AddressState::kUsable);
  EXPECT_EQ(take_words(), (Words{"tell 2001:db8:1::1 from 2001:db8:1::1 to ff02::1",
                                 "report ff02::1:ff00:1 from fe80::ff:fe00:1",
                                 "tell fe80::ff:fe00:1 from fe80::ff:fe00:1 to ff02::1"}));
  EXPECT_EQ(out_.conflicts.size(), 0u);
}

TEST_F(AddressCheckTest, ATentativeAddressIsNeitherUsedNorAnswered) {
  start();
  take_words();
  receive_nd(solicitation("2001:db8:1::45", kGroup, kOwn, kHostMac));
  EXPECT_EQ(take_words(), Words{});
  EXPECT_FALSE(table_of_interfaces_->is_own_address(ip(kOwn)));
  send_to(ip("2001:db8:1::45"));
  EXPECT_EQ(take_words(), Words{}) << "nobody can ask yet";
  tick_for(1000);
  const Words then = take_words();
  EXPECT_EQ(then.back(), "ask 2001:db8:1::45 from 2001:db8:1::1 to ff02::1:ff00:45");
}

TEST_F(AddressCheckTest, WhoHasTheAddressKeepsIt) {
  start();
  take_words();
  receive_nd(advertisement(kOwn, "ff02::1", kOverrideFlag, kHostMac));
  EXPECT_EQ(state_of(kOwn), AddressState::kDuplicate);
  EXPECT_EQ(state_of(kLinkLocal), AddressState::kTentative) << "the others are not touched";
  ASSERT_EQ(out_.conflicts.size(), 1u);
  EXPECT_EQ(out_.conflicts[0].address, ip(kOwn));
  EXPECT_EQ(out_.conflicts[0].mac, kHostMac);
  EXPECT_TRUE(out_.conflicts[0].refused);
  tick_for(5000);
  EXPECT_EQ(state_of(kOwn), AddressState::kDuplicate);
  EXPECT_EQ(state_of(kLinkLocal), AddressState::kUsable);
  receive_nd(solicitation("2001:db8:1::45", kGroup, kOwn, kHostMac));
  for (const std::string& said : take_words()) EXPECT_EQ(said.find("tell 2001"), std::string::npos) << said;
  receive_nd(advertisement(kOwn, "ff02::1", kOverrideFlag, kHostMac));
  EXPECT_EQ(out_.conflicts.size(), 1u) << "told once";
}

TEST_F(AddressCheckTest, WhoChecksAtTheSameTimeDoesNotGetItEither) {
  start();
  receive_nd(solicitation("::", kGroup, kOwn));
  EXPECT_EQ(state_of(kOwn), AddressState::kDuplicate);
  ASSERT_EQ(out_.conflicts.size(), 1u);
  EXPECT_EQ(out_.conflicts[0].mac, MacAddress{}) << "it did not say";
}

// RFC 7527: a looped cable brings our own question back.
TEST_F(AddressCheckTest, OurOwnQuestionIsNobody) {
  start();
  for (const NeighborFrame& f : std::exchange(out_.frames, {}))
    if (f.ether_type == kEtherTypeIpv6 && f.payload[6] != 0) {
      EXPECT_EQ(resolver_.handle_nd(kLan, f.payload, 40, now_ms_, out_), DropReason::kUsedNd);
    }
  tick_for(1000);
  EXPECT_EQ(state_of(kOwn), AddressState::kUsable);
  EXPECT_EQ(out_.conflicts.size(), 0u);
  NdPacket other = solicitation("::", "ff02::1:ff00:2", "2001:db8:1::2");
  reconfigure(with({"2001:db8:1::1/64", "2001:db8:1::2/64"}));
  receive_nd(other.option(14, {1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(state_of("2001:db8:1::2"), AddressState::kDuplicate) << "another's nonce";
}

TEST_F(AddressCheckTest, WithoutCheckingItIsOursAtOnce) {
  link_.up = false;
  tick_for(100);
  reconfigure(with({"2001:db8:1::1/64"}, false));
  EXPECT_TRUE(table_of_interfaces_->is_own_address(ip(kOwn)));
  link_.up = true;
  take_words();
  tick_for(100);
  EXPECT_EQ(take_words(), (Words{"report ff02::1:ff00:1 from fe80::ff:fe00:1",
                                 "tell 2001:db8:1::1 from 2001:db8:1::1 to ff02::1",
                                 "tell fe80::ff:fe00:1 from fe80::ff:fe00:1 to ff02::1"}));
}

TEST_F(AddressCheckTest, AFlappingLinkAnnouncesButDoesNotCheckAgain) {
  start();
  tick_for(1000);
  take_words();
  link_.up = false;
  tick_for(100);
  EXPECT_EQ(state_of(kOwn), AddressState::kUsable);
  link_.up = true;
  tick_for(100);
  EXPECT_EQ(take_words().size(), 3u);
  EXPECT_EQ(state_of(kOwn), AddressState::kUsable);
}

TEST_F(AddressCheckTest, ALinkThatGoesDownWhileCheckingStartsAnew) {
  start();
  tick_for(500);
  link_.up = false;
  tick_for(2000);
  EXPECT_EQ(state_of(kOwn), AddressState::kTentative);
  link_.up = true;
  take_words();
  tick_for(100);
  EXPECT_EQ(take_words().size(), 3u);
  tick_for(800);
  EXPECT_EQ(state_of(kOwn), AddressState::kTentative);
  tick_for(200);
  EXPECT_EQ(state_of(kOwn), AddressState::kUsable);
}

TEST_F(AddressCheckTest, ARefusedAddressIsCheckedAgainWhenTheLinkComesBack) {
  start();
  receive_nd(advertisement(kOwn, "ff02::1", kOverrideFlag, kHostMac));
  ASSERT_EQ(state_of(kOwn), AddressState::kDuplicate);
  link_.up = false;
  tick_for(100);
  link_.up = true;
  tick_for(1200);
  EXPECT_EQ(state_of(kOwn), AddressState::kUsable);
}

TEST_F(AddressCheckTest, ANewAddressIsCheckedTheOldOnesGoOn) {
  start();
  tick_for(1000);
  take_words();
  reconfigure(with({"2001:db8:1::1/64", "2001:db8:1::2/64"}));
  EXPECT_EQ(state_of(kOwn), AddressState::kUsable);
  EXPECT_EQ(state_of("2001:db8:1::2"), AddressState::kTentative);
  EXPECT_EQ(take_words(), (Words{"report ff02::1:ff00:2 from fe80::ff:fe00:1",
                                 "ask 2001:db8:1::2 from :: to ff02::1:ff00:2"}));
  reconfigure(with({"2001:db8:1::1/64"}));  // gone before it was settled
  tick_for(2000);
  EXPECT_EQ(take_words(), Words{});
}

TEST_F(AddressCheckTest, AnInterfaceThatIsGoneIsForgotten) {
  start();
  auto fewer = interfaces();
  fewer.clear();
  reconfigure(fewer);
  take_words();
  tick_for(2000);
  EXPECT_EQ(take_words(), Words{});
}

TEST_F(AddressCheckTest, QueriesAreAnsweredWithinTheirTime) {
  start();
  tick_for(1000);
  take_words();
  // From nd_test.cpp: scapy's general query, 10 s.
  const Bytes query = test::from_hex(
      "6000000000240001fe800000000000000000000000000009ff020000000000000000000000000001"
      "3a000502000001008200590b271000000000000000000000000000000000000000000000");
  EXPECT_EQ(resolver_.handle_nd(kLan, query, 48, now_ms_, out_), DropReason::kUsedNd);
  resolver_.handle_nd(kLan, query, 48, now_ms_, out_);
  tick_for(10'100);
  EXPECT_EQ(take_words(), Words{"report ff02::1:ff00:1 from fe80::ff:fe00:1"}) << "once";
}

}  // namespace
}  // namespace espalier::dataplane
