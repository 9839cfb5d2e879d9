// What the network does to IKE: NAT and floating to 4500, mappings that change, forced encapsulation,
// fragments, and floods.
#include "tests/exchange/lab.hpp"

namespace espalier::ike::exchange {
namespace {

constexpr IpAddress kNat = Ipv4Address::from_host(0xcb007101);  // 203.0.113.1

class Network : public Lab {
 protected:
  // The left side is behind a NAT: its address and ports are others for the right one.
  void nat(uint16_t shift) {
    shift_ = shift;
    net.owns(kNat, left);
    right_config.change = [](ConnectionConfig& c) { c.remotes = {"any"}; };
    net.translate = [this](Datagram& datagram) {
      if (datagram.from.address == kLeft)
        datagram.from = {kNat, static_cast<uint16_t>(datagram.from.port + shift_)};
      if (datagram.to.address != kNat) return;
      datagram.to = {kLeft, static_cast<uint16_t>(datagram.to.port - shift_)};
    };
  }
  uint16_t shift_ = 0;
};

TEST_F(Network, NatFloatsAndEncapsulates) {
  nat(10000);
  configure();
  bring_up();
  const auto l = left.established().front(), r = right.established().front();
  EXPECT_EQ(l.local_address, "192.0.2.1[4500]");
  EXPECT_EQ(l.remote_address, "198.51.100.2[4500]");
  EXPECT_EQ(r.remote_address, "203.0.113.1[14500]");
  EXPECT_TRUE(l.nat_local && r.nat_remote && !l.nat_remote && !r.nat_local);
  const SaRecord& out = right.outbound(reqid_of(0)).front()->record;
  EXPECT_EQ(out.destination, kNat);
  EXPECT_EQ(out.encap_destination_port, 14500);
  EXPECT_EQ(out.keepalive_s, 0);
  const SaRecord& left_out = left.outbound(reqid_of(0)).front()->record;
  EXPECT_EQ(left_out.encap_source_port, 4500);
  EXPECT_NE(left_out.keepalive_s, 0);
}

// Of an IKE SA that has lost its children; while there is one its dataplane sends them.
TEST_F(Network, AMappingWithoutChildrenIsKeptAlive) {
  nat(10000);
  configure();
  bring_up();
  const auto keepalives = [&] {
    const size_t before = net.sent.size();
    settle(seconds{70});
    return std::ranges::count_if(net.sent.begin() + static_cast<ptrdiff_t>(before), net.sent.end(),
                                 [](const Datagram& datagram) {
                                   return datagram.from.address == kLeft && datagram.bytes == Bytes{0xff};
                                 });
  };
  EXPECT_EQ(keepalives(), 0);
  ASSERT_TRUE(right.command(Terminate{"left", "tunnel-0"}));
  settle(seconds{1});
  ASSERT_EQ(left.live_children().size(), 0u);
  ASSERT_EQ(left.established().size(), 1u);
  EXPECT_EQ(keepalives(), 3);
  // Who repeats the peer's request from elsewhere gets the response again, and the mapping is kept alive all
  // the same.
  const auto from_right = std::ranges::find_if(
      net.sent.rbegin(), net.sent.rend(),
      [](const Datagram& datagram) { return datagram.from.address == kRight && datagram.bytes.size() > 1; });
  ASSERT_NE(from_right, net.sent.rend());
  const Bytes request = from_right->bytes;
  const Endpoint elsewhere{Ipv4Address::from_host(0x05050505), 4500};
  int sent = 0;
  for (int i = 0; i < 7; ++i) {
    const size_t before = net.sent.size();
    left.receive({kLeft, 4500}, elsewhere, request);
    settle(seconds{10});
    for (const Datagram& datagram :
         std::vector(net.sent.begin() + static_cast<ptrdiff_t>(before), net.sent.end()))
      sent += datagram.bytes == Bytes{0xff} && datagram.from.address == kLeft;
  }
  EXPECT_GE(sent, 3);
}

TEST_F(Network, MappingChangeIsFollowedWhenAuthentic) {
  nat(10000);
  left_config.change = [](ConnectionConfig& c) { c.dpd_interval = seconds{10}; };
  configure();
  bring_up();
  shift_ = 20000;
  settle(seconds{30});
  EXPECT_EQ(right.established().front().remote_address, "203.0.113.1[24500]");
  EXPECT_EQ(right.outbound(reqid_of(0)).front()->record.encap_destination_port, 24500);
  // ESP tells it as well.
  right.event(MappingChanged{right.live_children().front().spi_in, {kNat, 25500}});
  EXPECT_EQ(right.outbound(reqid_of(0)).front()->record.encap_destination_port, 25500);
}

TEST_F(Network, ForgedSourceMovesNothing) {
  nat(10000);
  configure();
  bring_up();
  const Endpoint elsewhere{Ipv4Address::from_host(0x05050505), 4500};
  for (const Datagram& datagram : std::vector(net.sent)) {
    if (datagram.from.address != kLeft) continue;
    Bytes damaged = datagram.bytes;
    damaged.back() ^= 1;
    right.receive({kRight, 4500}, elsewhere, damaged);
    right.receive({kRight, 4500}, elsewhere, datagram.bytes);
  }
  EXPECT_EQ(right.established().front().remote_address, "203.0.113.1[14500]");
}

TEST_F(Network, RekeyingBehindNat) {
  nat(10000);
  configure();
  bring_up();
  for (const char* child : {"tunnel-0", ""}) {
    ASSERT_TRUE(right.command(Rekey{"left", child}));
    settle(seconds{70});
    ASSERT_TRUE(left.command(Rekey{"right", child}));
    settle(seconds{70});
  }
  EXPECT_EQ(left.live_children().size(), 1u);
  EXPECT_NE(left.outbound(reqid_of(0)).front()->record.flags & kSaEncap, 0u);
  EXPECT_EQ(right.sas().size(), 2u);
}

TEST_F(Network, ForcedEncapsulation) {
  left_config.change = [](ConnectionConfig& c) { c.force_encapsulation = true; };
  configure();
  bring_up();
  expect_settled();
  EXPECT_NE(right.outbound(reqid_of(0)).front()->record.flags & kSaEncap, 0u);
  EXPECT_EQ(left.established().front().remote_address, "198.51.100.2[4500]");
}

TEST_F(Network, MessagesAreFragmented) {
  left_config.change = right_config.change = [](ConnectionConfig& c) {
    c.fragment_bytes = 300;
    c.children[0].local.prefixes.resize(1);
    for (uint32_t i = 0; i < 60; ++i)
      c.children[0].local.prefixes.push_back(IpPrefix::host(Ipv4Address::from_host(0x0b000000 + 2 * i)));
  };
  right_config.change = [](ConnectionConfig& c) {
    c.fragment_bytes = 300;
    for (uint32_t i = 0; i < 60; ++i)
      c.children[0].remote.prefixes.push_back(IpPrefix::host(Ipv4Address::from_host(0x0b000000 + 2 * i)));
  };
  net.conditions.jitter = milliseconds{30};
  net.conditions.duplicate = 0.3;
  configure();
  bring_up();
  expect_settled();
  EXPECT_GT(net.sent.size(), 8u);
  for (const Datagram& datagram : net.sent)
    EXPECT_TRUE(datagram.bytes[18] == static_cast<uint8_t>(ExchangeType::kIkeSaInit) ||
                datagram.bytes.size() + 32 <= 300);
}

TEST_F(Network, FloodLeavesNoStateBeforeItsCookie) {
  configure();
  ASSERT_TRUE(left.command(Initiate{"right", ""}));
  const Bytes first = net.sent.front().bytes;
  net.drop_all();
  for (uint32_t i = 0; i < 2000; ++i) {
    Bytes forged = first;
    std::memcpy(forged.data(), &i, sizeof i);
    right.receive({kRight, 500}, {Ipv4Address::from_host(0x0c000000 + i), 500}, forged);
  }
  EXPECT_LE(right.core().ike_sas(net.now).size(), 33u);
  settle(seconds{60});
  EXPECT_LE(right.core().ike_sas(net.now).size(), 2u);
  const auto up = [&] { return !left.live_children().empty() && !right.live_children().empty(); };
  EXPECT_TRUE(net.run_until(up, seconds{60})) << story();
}

TEST_F(Network, HostNamesAreResolvedAtEveryTry) {
  left_config.change = [](ConnectionConfig& c) {
    c.remotes = {"gw.example"};
    c.local = IpAddress();
  };
  int asked = 0;
  left.resolve = [&](const Resolve& question) {
    Resolved answer{question.connection, question.name, {}, ""};
    ++asked == 1 ? void(answer.failure = "no such name") : void(answer.ways = {{kLeft, kRight}});
    return answer;
  };
  configure(ConnectionType::kInitiate, ConnectionType::kNone);
  settle(milliseconds{500});
  EXPECT_NE(left.core().connections(net.now).front().last_failure.find("no such name"), std::string::npos);
  settle();
  expect_settled();
  EXPECT_EQ(asked, 2);
}

// The answer for the name that was configured before must not be taken for that of the new one.
TEST_F(Network, LateAnswerForAnotherName) {
  left_config.change = [](ConnectionConfig& c) { c.remotes = {"old.example"}; };
  std::vector<Resolve> asked;
  left.resolve = [&](const Resolve& question) {
    asked.push_back(question);
    return Resolved{"nobody", question.name, {}, ""};
  };
  configure(ConnectionType::kInitiate, ConnectionType::kNone);
  settle(seconds{1});
  left_config.change = [](ConnectionConfig& c) { c.remotes = {"new.example"}; };
  left.configure(left.make_configuration());
  settle(seconds{1});
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_EQ(asked[1].name, "new.example");
  left.event(Resolved{"right", "old.example", {{kLeft, kRight}}, ""});
  settle(seconds{1});
  EXPECT_TRUE(net.sent.empty());
  left.event(Resolved{"right", "new.example", {{kLeft, kRight}}, ""});
  settle();
  expect_settled();
}

TEST_F(Network, NextRemoteIsTried) {
  left_config.change = [](ConnectionConfig& c) { c.remotes = {"192.0.2.77", "198.51.100.2"}; };
  configure(ConnectionType::kInitiate, ConnectionType::kNone);
  settle(seconds{200});
  expect_settled();
}

}  // namespace
}  // namespace espalier::ike::exchange
