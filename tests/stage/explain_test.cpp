// What `explain` says of packets of every kind, and that nothing comes of asking. That it says what then
// happens is held against Linux's recordings by tests/golden; here are the sentences, the things that a
// recording does not show, and what a rehearsal must not touch.
#include <algorithm>

#include "tests/stage/tunnel_fixture.hpp"

namespace espalier::test {
namespace {

constexpr std::string_view kInSa = "SA state 0x3001 SPI 0x3001 203.0.113.2 > 203.0.113.1 reqid 1";
constexpr std::string_view kOutSa = "SA state 0x2001 SPI 0x2001 203.0.113.1 > 203.0.113.2 reqid 1";

// The texts of a stage, in order.
std::vector<std::string> said(const Rehearsed& rehearsed, std::string_view stage) {
  std::vector<std::string> texts;
  const std::string begin = std::string(stage) + ": ";
  for (const std::string& line : rehearsed.lines)
    if (line.starts_with(begin)) texts.push_back(line.substr(begin.size()));
  return texts;
}

std::string last_said(const Rehearsed& rehearsed, std::string_view stage) {
  const auto texts = said(rehearsed, stage);
  return texts.empty() ? "" : texts.back();
}

uint64_t ended(const Rehearsed& rehearsed, DropReason reason) {
  return rehearsed.ended[static_cast<size_t>(reason)];
}

uint64_t all_ended(const Rehearsed& rehearsed) {
  uint64_t sum = 0;
  for (const uint64_t count : rehearsed.ended) sum += count;
  return sum;
}

std::vector<Bytes> frames(const Rehearsed& rehearsed, const char* interface) {
  const auto found = rehearsed.output.find(interface);
  return found == rehearsed.output.end() ? std::vector<Bytes>{} : found->second;
}

std::vector<Bytes> packets(const Rehearsed& rehearsed, const char* interface) {
  std::vector<Bytes> list;
  for (const Bytes& frame : frames(rehearsed, interface)) list.push_back(copy(ip_packet_of(frame)));
  return list;
}

uint32_t esp_number(const Bytes& packet) {
  return get32(packet, 24);  // behind an IPv4 header and the SPI
}

class ExplainTest : public TunnelTest {};

TEST_F(ExplainTest, EspThatComesIn) {
  apply(tunnel(gcm(), kPlain));
  const Bytes esp = sealed_tunnel(in_key(gcm()), 7, kPlain, inbound(Layer::kIpv4, 80));
  for (int time = 0; time < 2; ++time) {  // asking does not move the window
    const Rehearsed told = rehearse("wan0", {esp});
    EXPECT_EQ(last_said(told, "esp_input"),
              fmt::format("{}, number 7 (highest so far 0, window 32): authentic", kInSa));
    EXPECT_EQ(only(packets(told, "lan0")), inbound(Layer::kIpv4, 80, 63));
    EXPECT_EQ(all_ended(told), 0u);
  }
  from_wan(esp);
  EXPECT_EQ(only(to_lan()), inbound(Layer::kIpv4, 80, 63));
  const Rehearsed replayed = rehearse("wan0", {esp});
  EXPECT_EQ(ended(replayed, DropReason::kEspReplay), 1u);
  EXPECT_EQ(last_said(replayed, "esp_input"), fmt::format("{}, number 7 (highest so far 7, window 32): {}",
                                                          kInSa, info(DropReason::kEspReplay).help));
  EXPECT_EQ(last_said(replayed, "result"),
            fmt::format("dropped (esp_replay): {}", info(DropReason::kEspReplay).help));
}

TEST_F(ExplainTest, EspThatIsRefused) {
  apply(tunnel(gcm(), kPlain));
  EspKey other = in_key(gcm());
  other.key[0] ^= 1;
  const auto refused = [&](const Bytes& packet, DropReason reason) {
    const Rehearsed told = rehearse("wan0", {packet});
    EXPECT_EQ(ended(told, reason), 1u) << info(reason).name;
    EXPECT_TRUE(told.output.empty());
    return last_said(told, "esp_input");
  };
  EXPECT_EQ(
      refused(sealed_tunnel(other, 1, kPlain, inbound(Layer::kIpv4, 80)), DropReason::kEspIcv),
      fmt::format("{}, number 1 (highest so far 0, window 32): {}", kInSa, info(DropReason::kEspIcv).help));
  other.spi = 0x4444;
  EXPECT_EQ(refused(sealed_tunnel(other, 1, kPlain, inbound(Layer::kIpv4, 80)), DropReason::kEspNoState),
            fmt::format("SPI 0x4444 to 203.0.113.1: {}", info(DropReason::kEspNoState).help));
}

TEST_F(ExplainTest, EspInUdp) {
  apply(tunnel(gcm(), kInUdp));
  const Bytes esp = sealed_tunnel(in_key(gcm()), 1, kInUdp, inbound(Layer::kIpv4, 80));
  const Rehearsed told = rehearse("wan0", {esp});
  EXPECT_EQ(last_said(told, "esp_input"),
            fmt::format("{}, in UDP, number 1 (highest so far 0, window 32): authentic", kInSa));
  EXPECT_EQ(only(packets(told, "lan0")), inbound(Layer::kIpv4, 80, 63));
}

TEST_F(ExplainTest, NumbersAreLookedAtAndNotTaken) {
  apply(tunnel(gcm(), kPlain));
  const Bytes inner = outbound(Layer::kIpv4, 80);
  const Rehearsed told = rehearse("lan0", {inner, inner});
  const auto sent = packets(told, "wan0");
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(esp_number(sent[0]), 1u);
  EXPECT_EQ(esp_number(sent[1]), 2u);
  EXPECT_EQ(said(told, "esp_output"), (std::vector{fmt::format("{}: number 1, 136 bytes", kOutSa),
                                                   fmt::format("{}: number 2, 136 bytes", kOutSa)}));
  from_lan(inner);
  const Bytes esp = only(to_wan());
  EXPECT_EQ(esp_number(esp), 1u);
  EXPECT_FALSE(std::ranges::equal(ByteView(esp).subspan(36), ByteView(sent[0]).subspan(36)));
}

// What would be encrypted is never encrypted: the number's nonce is a real packet's.
TEST_F(ExplainTest, NothingIsEncrypted) {
  apply(tunnel(gcm(), kPlain));
  const Bytes inner = outbound(Layer::kIpv4, 80, 64), lowered = outbound(Layer::kIpv4, 80, 63);
  const Bytes esp = only(packets(rehearse("lan0", {inner}), "wan0"));
  EXPECT_TRUE(std::ranges::equal(ByteView(esp).subspan(36, lowered.size()), lowered));
}

TEST_F(ExplainTest, LimitsAreNotUsedUp) {
  apply(tunnel(gcm(), kPlain, "limit = { hard-packets = 2; }; "));
  const Bytes inner = outbound(Layer::kIpv4, 80);
  for (int time = 0; time < 2; ++time) {
    const Rehearsed told = rehearse("lan0", {inner, inner, inner});
    EXPECT_EQ(packets(told, "wan0").size(), 2u);
    EXPECT_EQ(ended(told, DropReason::kEspOutExpired), 1u);
  }
  from_lan(inner);
  from_lan(inner);
  EXPECT_EQ(to_wan().size(), 2u);
  EXPECT_EQ(ended(rehearse("lan0", {inner}), DropReason::kEspOutExpired), 1u);
}

TEST_F(ExplainTest, FragmentsWaitForTheOthers) {
  apply(tunnel(gcm(), kPlain));
  const auto parts = fragments(sealed_tunnel(in_key(gcm()), 1, kPlain, inbound(Layer::kIpv4, 800)), 600);
  ASSERT_EQ(parts.size(), 2u);
  const Rehearsed first = rehearse("wan0", {parts[0]});
  EXPECT_EQ(first.waiting, 1u);
  EXPECT_EQ(last_said(first, "result"), "a fragment: waits for the others of its datagram, up to 30 seconds");
  const Rehearsed both = rehearse("wan0", parts);
  EXPECT_EQ(both.waiting, 0u);
  EXPECT_EQ(only(packets(both, "lan0")), inbound(Layer::kIpv4, 800, 63));
  EXPECT_EQ(bed_->packets()->waiting, 0u);
}

TEST_F(ExplainTest, WhatIsTooLongIsCut) {
  apply({.wan_mtu = 1280});
  const Rehearsed told = rehearse("lan0", {outbound(Layer::kIpv4, 1400)});
  EXPECT_EQ(packets(told, "wan0").size(), 2u);
  EXPECT_EQ(last_said(told, "fragment_output"), "cut into fragments of at most 1280 bytes");
}

TEST_F(ExplainTest, AnswersAreToldApart) {
  apply({});
  const Rehearsed told = rehearse("lan0", {outbound(Layer::kIpv4, 80, 1)});
  EXPECT_EQ(last_said(told, "result"),
            fmt::format("dropped (ttl_exceeded): {}", info(DropReason::kTtlExceeded).help));
  EXPECT_EQ(last_said(told, "answer: packet"), "ICMP type 11 code 0 id 0 192.168.10.1 > 192.168.10.45");
  EXPECT_EQ(
      last_said(told, "answer: result"),
      "leaves IN CLEAR by lan0 to 192.168.10.45: ICMP type 11 code 0 id 0 192.168.10.1 > 192.168.10.45");
  EXPECT_EQ(packets(told, "lan0").size(), 1u);
}

TEST_F(ExplainTest, ThePacketsOfTheHostAndForIt) {
  apply(tunnel(gcm(), kPlain));
  EXPECT_EQ(only(rehearse("wan0", {from_peer(Layer::kIpv4, 80)}).to_host), from_peer(Layer::kIpv4, 80));
  EXPECT_TRUE(to_host().empty());
  const Rehearsed sent = rehearse("local", {from_gateway(Layer::kIpv4, 80)});
  EXPECT_EQ(only(packets(sent, "wan0")), from_gateway(Layer::kIpv4, 80));
  EXPECT_TRUE(to_wan().empty());
}

TEST_F(ExplainTest, ANextHopWithoutAMacAddress) {
  apply({.routes = R"({ prefix = "198.51.100.0/24"; via = "203.0.113.77"; })"});
  bed_->advance_time(std::chrono::seconds(10));  // its own addresses are announced by then
  bed_->take_sent("wan0");
  const Bytes packet = udp("192.168.10.45:4000", "198.51.100.9:5000").payload(20).bytes();
  for (int time = 0; time < 2; ++time) {
    const Rehearsed told = rehearse("lan0", {packet});
    EXPECT_EQ(told.waiting, 1u);
    EXPECT_EQ(last_said(told, "transmit"),
              "203.0.113.77 by wan0 has no MAC address yet: it is asked for, and the packet waits");
  }
  bed_->run_until_idle();
  EXPECT_TRUE(bed_->take_sent("wan0").empty());  // nobody asked
  EXPECT_EQ(bed_->packets()->waiting, 0u);
}

TEST_F(ExplainTest, CountersStandStill) {
  apply(tunnel(gcm(), kPlain));
  const DropCounts drops = bed_->drops();
  const FlowCounts flows = bed_->flow_counts();
  const Bytes state = bed_->sa_state();
  rehearse("lan0", {outbound(Layer::kIpv4, 80), outbound(Layer::kIpv4, 80, 1)});
  rehearse("wan0",
           {sealed_tunnel(in_key(gcm()), 3, kPlain, inbound(Layer::kIpv4, 80)), inbound(Layer::kIpv4, 80)});
  EXPECT_EQ(bed_->drops(), drops);
  EXPECT_EQ(bed_->flow_counts().misses, flows.misses);
  EXPECT_EQ(bed_->sa_state(), state);
  EXPECT_TRUE(to_lan().empty() && to_wan().empty());
}

TEST_F(ExplainTest, WhatCannotBeRehearsed) {
  apply({});
  EXPECT_THROW(rehearse("lan0", {Bytes(70000)}), std::exception);
  EXPECT_THROW(rehearse("lan9", {outbound(Layer::kIpv4, 80)}), std::out_of_range);
}

}  // namespace
}  // namespace espalier::test
