// ICMP against what Linux sent (tests/oracle), and byte by byte where no recording
// has it.
#include "dataplane/icmp.hpp"

#include <gtest/gtest.h>

#include "tests/unit/dataplane/eal_environment.hpp"
#include "tests/unit/dataplane/ipv6_packets.hpp"
#include "tests/unit/dataplane/mbuf_tools.hpp"
#include "tests/unit/dataplane/recorded_packets.hpp"

namespace espalier::dataplane {
namespace {

using test::Bytes;
constexpr std::string_view kHost = "192.168.10.45", kGateway = "192.168.10.1";

std::vector<Bytes> recorded(const std::string& scenario, const std::string& file, uint32_t step) {
  return test::recorded(std::string(ORACLE_GOLDEN) + "/" + scenario, file, step);
}
std::vector<Bytes> recorded6(const std::string& file, uint32_t step) {
  return test::recorded(std::string(ORACLE_GOLDEN) + "/40-ipv6-errors", file, step);
}

// Linux makes up flow labels for what it sends itself; RFC 6437 section 3 lets us leave them out.
Bytes without_flow_label(Bytes packet) {
  test::put32(packet, 0, test::get32(packet, 0) & 0xfff00000);
  return packet;
}

Bytes first_bytes(const Bytes& bytes, size_t count) {  // its end is the heap's
  return {bytes.begin(), bytes.begin() + static_cast<long>(count)};
}

class IcmpTest : public testing::Test {
 protected:
  Bytes error_about(const Bytes& packet, IcmpAnswer answer, uint16_t id, SecurityPath path = kClear,
                    IpAddress source = test::parse_address(kGateway), uint16_t flags = 0) {
    rte_mbuf* about = pool_.make(packet, path);
    dataplane::packet(about).flags |= flags;
    EXPECT_TRUE(may_answer_with_icmp_error(about));
    rte_mbuf* error = make_icmp_error(about, answer, source, id, pool_.get());
    const Bytes bytes = bytes_of(error);
    record_ = dataplane::packet(error);
    EXPECT_EQ(bytes_of(about), packet);
    EXPECT_EQ(error->pkt_len, error->data_len);
    rte_pktmbuf_free(about);
    rte_pktmbuf_free(error);
    return bytes;
  }
  Bytes error6_about(const Bytes& packet, IcmpAnswer answer) {
    return error_about(packet, answer, 0, kClear, test::address6(test::kGateway6));
  }
  bool may_answer(const Bytes& packet) {
    rte_mbuf* about = pool_.make(packet);
    const bool may = may_answer_with_icmp_error(about);
    rte_pktmbuf_free(about);
    return may;
  }
  // The reply, or nothing; then the request must be as it was.
  std::optional<Bytes> reply_to(const Bytes& request, uint16_t id) {
    rte_mbuf* mbuf = pool_.make(request, SecurityPath(9));
    std::optional<Bytes> reply;
    if (turn_echo_into_reply(mbuf, id)) {
      reply = bytes_of(mbuf);
      record_ = dataplane::packet(mbuf);
    } else {
      EXPECT_EQ(bytes_of(mbuf), request);
    }
    rte_pktmbuf_free(mbuf);
    return reply;
  }

  TestPool pool_{8, 4096};
  dataplane::Packet record_;
};

// --- Errors ---

TEST_F(IcmpTest, ErrorsAreThoseThatLinuxSent) {
  struct Case {
    const char* scenario;
    uint32_t step;
    IcmpAnswer answer;
    const char* what;
  };
  const Case cases[] = {
      {"01-forward", 3, {IcmpReason::kTimeExceeded}, "ttl1"},
      {"01-forward", 6, {IcmpReason::kHostUnreachable}, "unreachable-route"},
      {"01-forward", 7, {IcmpReason::kProhibited}, "prohibit-route"},
      {"16-pmtu", 2, {IcmpReason::kTooBig, 1446}, "too big: cut to 576 bytes"},
  };
  for (const Case& c : cases) {
    const auto sent = recorded(c.scenario, "in-lan0", c.step);
    const auto answered = recorded(c.scenario, "out-lan0", c.step);
    ASSERT_EQ(sent.size(), 1u) << c.what;
    ASSERT_EQ(answered.size(), 1u) << c.what;
    EXPECT_EQ(error_about(sent[0], c.answer, test::get16(answered[0], 4)), answered[0]) << c.what;
  }
}

// As Linux 6.1 answered such packets: precedence 6, the rest of the TOS kept but for its lowest bit.
TEST_F(IcmpTest, ErrorsKeepPartOfTheTos) {
  const std::pair<uint8_t, uint8_t> seen[] = {{0x00, 0xc0}, {0x02, 0xc2}, {0x12, 0xd2},
                                              {0x1e, 0xde}, {0x2b, 0xca}, {0xff, 0xde}};
  for (const auto& [sent, answered] : seen) {
    const Bytes packet = test::udp("192.168.10.45:4000", "198.51.100.9:5000").tos(sent).ttl(1).bytes();
    EXPECT_EQ(error_about(packet, {IcmpReason::kTimeExceeded}, 1).at(1), answered) << int{sent};
  }
}

TEST_F(IcmpTest, TheRecordOfAnErrorIsReadyForTheWayOut) {
  const Bytes packet = test::udp("192.168.10.45:4000", "198.51.100.9:5000").bytes();
  error_about(packet, {IcmpReason::kTooBig, 1400}, 1);
  EXPECT_EQ(record_.flags, kFromGateway | kIcmpError);
  EXPECT_EQ(record_.tuple.source, IpAddress(test::parse_address(kGateway)));
  EXPECT_EQ(record_.tuple.destination, IpAddress(test::parse_address(kHost)));
  EXPECT_EQ(record_.tuple.source_port.host(), 0);
  EXPECT_EQ(record_.tuple.destination_port.host(), 3 << 8 | 4);
  EXPECT_EQ(record_.tuple.protocol, kProtoIcmp);
  EXPECT_EQ(record_.in, kNoInterface);
  EXPECT_EQ(record_.path, kClear);
  EXPECT_EQ(record_.l4_offset, 20);
  EXPECT_EQ(record_.ip_bytes, 28 + packet.size());
  error_about(packet, {IcmpReason::kTimeExceeded}, 1, SecurityPath(4));
  EXPECT_EQ(record_.flags, kFromGateway | kIcmpError | kAboutProtected);
  error_about(packet, {IcmpReason::kTimeExceeded}, 1, kClear, test::parse_address(kGateway), kCameProtected);
  EXPECT_EQ(record_.flags, kFromGateway | kIcmpError | kAboutProtected) << "GRE was taken off after ESP";
}

TEST_F(IcmpTest, NothingBehindThePacketIsQuoted) {
  Bytes padded = test::udp("192.168.10.45:1", "198.51.100.9:2").payload(4).bytes();
  const Bytes packet = padded;
  padded.resize(46, 0xee);
  const Bytes error = error_about(padded, {IcmpReason::kTimeExceeded}, 1);
  EXPECT_EQ(Bytes(error.begin() + 28, error.end()), packet);
}

TEST_F(IcmpTest, ExactlyAsMuchIsQuotedAsFits) {
  for (const size_t total : {547, 548, 549}) {
    const Bytes packet = test::udp("192.168.10.45:1", "198.51.100.9:2").payload(total - 28).bytes();
    const Bytes error = error_about(packet, {IcmpReason::kTimeExceeded}, 1);
    EXPECT_EQ(error.size(), std::min<size_t>(576, 28 + total));
    EXPECT_EQ(test::internet_checksum(test::ByteView(error).subspan(20)), 0);
  }
}

TEST_F(IcmpTest, WithoutBuffersThereIsNoError) {
  TestPool one(1, 2048);
  rte_mbuf* about = one.make(test::udp("192.168.10.45:1", "198.51.100.9:2").bytes());
  EXPECT_EQ(
      make_icmp_error(about, {IcmpReason::kHostUnreachable}, test::parse_address(kGateway), 1, one.get()),
      nullptr);
  rte_pktmbuf_free(about);
}

TEST_F(IcmpTest, AboutSomePacketsNoErrorMayBeSent) {
  EXPECT_TRUE(may_answer(test::udp("10.0.0.1:1", "10.0.0.2:2").bytes()));
  EXPECT_TRUE(may_answer(test::udp("240.0.0.1:1", "10.0.0.2:2").bytes()));
  for (const std::string source : {"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.5", "255.255.255.255"})
    EXPECT_FALSE(may_answer(test::udp(source + ":1", "10.0.0.2:2").bytes())) << source;
  for (const std::string destination : {"224.0.0.5", "255.255.255.255"})
    EXPECT_FALSE(may_answer(test::udp("10.0.0.1:1", destination + ":2").bytes())) << destination;

  const auto parts = test::fragments(test::udp("10.0.0.1:1", "10.0.0.2:2").payload(1000).bytes(), 600);
  EXPECT_TRUE(may_answer(parts[0]));
  EXPECT_FALSE(may_answer(parts[1]));
}

TEST_F(IcmpTest, ErrorsAndUnknownIcmpTypesAreNotAnswered) {
  for (unsigned type = 0; type < 256; ++type) {
    const bool is_known_query =
        (type <= 18 && type != 3 && type != 4 && type != 5 && type != 11 && type != 12);
    const Bytes packet =
        test::icmp(static_cast<uint8_t>(type), 0, 0, "10.0.0.1", "10.0.0.2", test::counting_bytes(8)).bytes();
    EXPECT_EQ(may_answer(packet), is_known_query) << "type " << type;
  }
  Bytes no_type = test::ip(kProtoIcmp, "10.0.0.1", "10.0.0.2", {}).bytes();
  no_type.push_back(8);  // frame padding
  EXPECT_FALSE(may_answer(no_type));
}

// --- Errors of ICMPv6 ---

TEST_F(IcmpTest, Icmpv6ErrorsAreThoseThatLinuxSent) {
  struct Case {
    uint32_t step;
    IcmpAnswer answer;
    const char* what;
  };
  const Case cases[] = {
      {1, {IcmpReason::kTimeExceeded}, "ttl1"},
      {2, {IcmpReason::kNetUnreachable}, "unreachable-route"},
      {3, {IcmpReason::kProhibited}, "prohibit-route"},
      {5, {IcmpReason::kPortUnreachable}, "port-unreachable"},
      {6, {IcmpReason::kProtocolUnreachable}, "unknown-protocol"},
      {7, {IcmpReason::kProtocolUnreachable}, "unknown-protocol-behind-options"},
      {12, {IcmpReason::kTimeExceeded}, "ttl1-unknown-informational"},
      {14, {IcmpReason::kTimeExceeded}, "ttl1-later-fragment"},
      {15, {IcmpReason::kTimeExceeded}, "ttl1-first-fragment-icmp"},
      {21, {IcmpReason::kTooBig, 1300}, "big: cut to 1280 bytes"},
      {25, {IcmpReason::kTooBig, 1300}, "fragments-big"},
  };
  for (const Case& c : cases) {
    const auto sent = recorded6("in-lan0", c.step);
    const auto answered = recorded6("out-lan0", c.step);
    ASSERT_EQ(sent.size(), 1u) << c.what;
    ASSERT_EQ(answered.size(), 1u) << c.what;
    EXPECT_EQ(error6_about(sent[0], c.answer), without_flow_label(answered[0])) << c.what;
  }
}

TEST_F(IcmpTest, WhatLinuxDidNotAnswerWithIcmpv6IsNotAnswered) {
  for (const uint32_t step : {11, 13}) {  // ttl1-icmp-error, ttl1-unknown-error
    const auto sent = recorded6("in-lan0", step);
    ASSERT_EQ(sent.size(), 1u);
    ASSERT_TRUE(recorded6("out-lan0", step).empty());
    EXPECT_FALSE(may_answer(sent[0])) << step;
  }
}

TEST_F(IcmpTest, AnUnreachableNeighborIsAnAddressUnreachable) {
  const Bytes packet = test::ipv6(kProtoUdp, test::udp6(16));
  const Bytes error = error6_about(packet, {IcmpReason::kHostUnreachable});
  Bytes quote = packet;
  EXPECT_EQ(error, test::ipv6(kProtoIcmpv6, test::icmpv6(1, 3, 0, quote, test::kGateway6, test::kHost6),
                              {.source = test::kGateway6, .destination = test::kHost6}));
}

TEST_F(IcmpTest, AnMtuAbove16BitsIsToldWhole) {
  const Bytes error = error6_about(test::ipv6(kProtoUdp, test::udp6(16)), {IcmpReason::kTooBig, 0x12345});
  EXPECT_EQ(test::get32(error, 44), 0x12345u);
  const Bytes v4 =
      error_about(test::udp("192.168.10.45:1", "198.51.100.9:2").bytes(), {IcmpReason::kTooBig, 0x12345}, 1);
  EXPECT_EQ(test::get32(v4, 24), 0xffffu);
}

TEST_F(IcmpTest, TheRecordOfAnIcmpv6ErrorIsReadyForTheWayOut) {
  error6_about(test::ipv6(kProtoUdp, test::udp6(16)), {IcmpReason::kTooBig, 1400});
  EXPECT_EQ(record_.flags, kFromGateway | kDontFragment | kIcmpError);
  EXPECT_EQ(record_.tuple.source, test::address6(test::kGateway6));
  EXPECT_EQ(record_.tuple.destination, test::address6(test::kHost6));
  EXPECT_EQ(record_.tuple.source_port.host(), 0);
  EXPECT_EQ(record_.tuple.destination_port.host(), 2 << 8);
  EXPECT_EQ(record_.tuple.protocol, kProtoIcmpv6);
  EXPECT_EQ(record_.l4_offset, 40);
  EXPECT_EQ(record_.ip_bytes, 40 + 8 + 64);
}

TEST_F(IcmpTest, AboutSomeIpv6PacketsNoErrorMayBeSent) {
  const auto may = [&](const test::Ipv6Fields& fields, uint8_t protocol = kProtoUdp,
                       const Bytes& payload = test::udp6(16)) {
    return may_answer(test::ipv6(protocol, payload, fields));
  };
  EXPECT_TRUE(may({}));
  EXPECT_TRUE(may({.source = "fe80::1"}));
  for (const char* source : {"::", "::1", "ff02::1"}) EXPECT_FALSE(may({.source = source})) << source;
  EXPECT_FALSE(may({.destination = "ff02::5"}));
  EXPECT_FALSE(may({}, kProtoRouting, test::joined({test::routing_header(kProtoUdp, 0, 1), test::udp6(16)})));
  for (unsigned type = 0; type < 256; ++type)
    EXPECT_EQ(may({}, kProtoIcmpv6, test::icmpv6(static_cast<uint8_t>(type), 0, 0, {})),
              type >= 128 && type != 137)
        << type;
  EXPECT_FALSE(may({}, kProtoIcmpv6, {})) << "no type";
  EXPECT_FALSE(may({}, kProtoDestinationOptions,
                   test::joined({test::options_header(kProtoIcmpv6), test::icmpv6(1, 0, 0, {})})));
}

// --- Echo ---

TEST_F(IcmpTest, TheReplyIsTheOneThatLinuxSent) {
  const auto request = recorded("01-forward", "in-lan0", 4);  // ttl1-to-self
  const auto reply = recorded("01-forward", "out-lan0", 4);
  ASSERT_EQ(request.size(), 1u);
  ASSERT_EQ(reply.size(), 1u);
  EXPECT_EQ(reply_to(request[0], test::get16(reply[0], 4)), reply[0]);
  EXPECT_EQ(record_.flags, kFromGateway);
  EXPECT_EQ(record_.tuple.source, IpAddress(test::parse_address(kGateway)));
  EXPECT_EQ(record_.tuple.source_port.host(), 7);
  EXPECT_EQ(record_.tuple.destination_port.host(), 0);
  EXPECT_EQ(record_.path, kClear) << "the reply to a decrypted request is a new packet";
  EXPECT_EQ(record_.in, kNoInterface);
}

TEST_F(IcmpTest, RepliesHaveNoOptionsNoDfAndNoPadding) {
  Bytes request = test::echo_request(kHost, kGateway, 9, 3)
                      .tos(0x2a)
                      .ttl(1)
                      .df()
                      .options(test::from_hex("94040000"))
                      .payload(33)
                      .bytes();
  const Bytes expected = test::echo_reply(kGateway, kHost, 9, 3).id(5).tos(0x2a).payload(33).bytes();
  EXPECT_EQ(reply_to(request, 5), expected);
  EXPECT_EQ(record_.ip_bytes, expected.size());
  request.resize(request.size() + 9, 0xee);
  EXPECT_EQ(reply_to(request, 5), expected);
}

TEST_F(IcmpTest, OnlyGoodEchoRequestsAreAnswered) {
  EXPECT_FALSE(reply_to(test::echo_reply(kHost, kGateway).bytes(), 1));
  EXPECT_FALSE(reply_to(test::echo_request(kHost, kGateway).bad_checksum().bytes(), 1));
  EXPECT_FALSE(reply_to(test::udp("192.168.10.45:8", "192.168.10.1:9").bytes(), 1));
  EXPECT_FALSE(reply_to(test::ip(kProtoIcmp, kHost, kGateway, test::from_hex("0800f7ff000000")).bytes(), 1));
  const auto parts = test::fragments(test::echo_request(kHost, kGateway).payload(1000).bytes(), 600);
  EXPECT_FALSE(reply_to(parts[0], 1));
  EXPECT_FALSE(reply_to(parts[1], 1));
  // The checksum is right for these two, but they are not the whole.
  Bytes cut_off = test::echo_request(kHost, kGateway).payload(Bytes(16, 0)).bytes();
  cut_off.resize(cut_off.size() - 2);
  EXPECT_FALSE(reply_to(cut_off, 1));
  Bytes first_fragment = test::echo_request(kHost, kGateway).bytes();
  test::put16(first_fragment, 6, 0x2000);
  EXPECT_FALSE(reply_to(first_fragment, 1));
  EXPECT_TRUE(reply_to(test::echo_request(kHost, kGateway).payload(0).bytes(), 1));
}

TEST_F(IcmpTest, TheIcmpv6ReplyIsTheOneThatLinuxSent) {
  for (const uint32_t step : {8, 9}) {  // echo, echo-behind-options
    const auto request = recorded6("in-lan0", step);
    const auto reply = recorded6("out-lan0", step);
    ASSERT_EQ(request.size(), 1u);
    ASSERT_EQ(reply.size(), 1u);
    EXPECT_EQ(reply_to(request[0], 0), without_flow_label(reply[0])) << step;
    EXPECT_EQ(record_.flags, kFromGateway | kDontFragment);
    EXPECT_EQ(record_.tuple.source, test::address6(test::kGateway6));
    EXPECT_EQ(record_.tuple.source_port.host(), 7);
    EXPECT_EQ(record_.tuple.destination_port.host(), 129 << 8);
    EXPECT_EQ(record_.tuple.protocol, kProtoIcmpv6);
    EXPECT_EQ(record_.l4_offset, 40);
    EXPECT_EQ(record_.ip_bytes, reply[0].size());
    EXPECT_EQ(record_.path, kClear);
  }
  EXPECT_FALSE(reply_to(recorded6("in-lan0", 10).at(0), 0)) << "echo-bad-checksum";
}

TEST_F(IcmpTest, OnlyGoodIcmpv6EchoRequestsAreAnswered) {
  const test::Ipv6Fields fields{.destination = test::kGateway6, .flow_label = 0x12345};
  const auto echo = [](const char* destination = test::kGateway6, uint8_t type = 128) {
    return test::icmpv6(type, 0, 0x00090003, test::counting_bytes(33), test::kHost6, destination);
  };
  Bytes good = test::ipv6(kProtoIcmpv6, echo(), fields);
  const Bytes expected = test::ipv6(
      kProtoIcmpv6, test::icmpv6(129, 0, 0x00090003, test::counting_bytes(33), test::kGateway6, test::kHost6),
      {.source = test::kGateway6, .destination = test::kHost6});
  EXPECT_EQ(reply_to(good, 0), expected);
  good.resize(good.size() + 9, 0xee);
  EXPECT_EQ(reply_to(good, 0), expected) << "padded";

  const auto answers = [&](uint8_t protocol, const Bytes& payload,
                           const test::Ipv6Fields& f = {.destination = test::kGateway6}) {
    return reply_to(test::ipv6(protocol, payload, f), 0).has_value();
  };
  EXPECT_FALSE(answers(kProtoIcmpv6, echo(test::kGateway6, 129)));
  EXPECT_FALSE(answers(kProtoIcmpv6, echo(test::kGateway6, 8))) << "the type of IPv4";
  EXPECT_FALSE(answers(kProtoIcmp, echo()));
  EXPECT_FALSE(answers(kProtoIcmpv6, echo("ff02::1"), {.destination = "ff02::1"})) << "a group is no source";
  EXPECT_FALSE(answers(kProtoFragment, test::joined({test::fragment_header(kProtoIcmpv6, 0, true), echo()})));
  EXPECT_FALSE(answers(kProtoRouting, test::joined({test::routing_header(kProtoIcmpv6, 4, 1), echo()})));
  EXPECT_TRUE(answers(kProtoRouting, test::joined({test::routing_header(kProtoIcmpv6, 4, 0), echo()})));
  EXPECT_FALSE(answers(kProtoIcmpv6, first_bytes(echo(), 7)));
  Bytes cut_off =
      test::ipv6(kProtoIcmpv6, test::icmpv6(128, 0, 0, Bytes(16, 0), test::kHost6, test::kGateway6),
                 {.destination = test::kGateway6});
  cut_off.resize(cut_off.size() - 2);
  EXPECT_FALSE(reply_to(cut_off, 0));
}

// --- Quotes ---

TEST_F(IcmpTest, QuotesAreReadAsPacketsAre) {
  Quote quote;
  ASSERT_TRUE(parse_quote(test::tcp("10.0.0.1:33", "10.0.0.2:80").options(test::from_hex("01010101")).bytes(),
                          quote));
  EXPECT_EQ(quote.tuple.source, IpAddress(test::parse_address("10.0.0.1")));
  EXPECT_EQ(quote.tuple.destination, IpAddress(test::parse_address("10.0.0.2")));
  EXPECT_EQ(quote.tuple.source_port.host(), 33);
  EXPECT_EQ(quote.tuple.destination_port.host(), 80);
  EXPECT_EQ(quote.tuple.protocol, kProtoTcp);
  EXPECT_EQ(quote.l4_offset, 24);
  EXPECT_FALSE(quote.is_fragment);

  ASSERT_TRUE(parse_quote(test::echo_request("10.0.0.1", "10.0.0.2", 0x1234).bytes(), quote));
  EXPECT_EQ(quote.tuple.source_port.host(), 0x1234);
  EXPECT_EQ(quote.tuple.destination_port.host(), 8 << 8);
  EXPECT_EQ(quote.l4_offset, 20);

  const Bytes esp = test::ip(kProtoEsp, "10.0.0.1", "10.0.0.2", test::from_hex("0000200100000005aa")).bytes();
  ASSERT_TRUE(parse_quote(esp, quote));
  EXPECT_EQ(quote.tuple.protocol, kProtoEsp);
  EXPECT_EQ(quote.tuple.source_port.host(), 0);
  EXPECT_EQ(test::get32(esp, quote.l4_offset), 0x2001u);

  const auto parts = test::fragments(test::udp("10.0.0.1:1", "10.0.0.2:2").payload(1000).bytes(), 600);
  ASSERT_TRUE(parse_quote(parts[0], quote));
  EXPECT_FALSE(quote.is_fragment);
  EXPECT_EQ(quote.tuple.source_port.host(), 1);
  ASSERT_TRUE(parse_quote(parts[1], quote));
  EXPECT_TRUE(quote.is_fragment);
  EXPECT_EQ(quote.tuple.source_port.host(), 0);
  EXPECT_EQ(quote.tuple.destination_port.host(), 0);
}

TEST_F(IcmpTest, ShortAndForeignQuotesAreRefused) {
  const Bytes packet = test::udp("10.0.0.1:1", "10.0.0.2:2").options(test::from_hex("01010101")).bytes();
  Quote quote;
  for (size_t length = 0; length <= 33; ++length) {
    const Bytes quoted(packet.begin(), packet.begin() + static_cast<long>(length));  // its end is the heap's
    EXPECT_EQ(parse_quote(quoted, quote), length >= 32) << length;
  }
  Bytes foreign = packet;
  foreign[0] = 0x56;
  EXPECT_FALSE(parse_quote(foreign, quote)) << "version 5";
  foreign[0] = 0x44;
  EXPECT_FALSE(parse_quote(foreign, quote)) << "a header of 16 bytes";
}

TEST_F(IcmpTest, Ipv6QuotesAreReadThroughTheirExtensionHeaders) {
  Quote quote;
  ASSERT_TRUE(parse_quote(test::ipv6(kProtoUdp, test::udp6(16)), quote));
  EXPECT_EQ(quote.tuple.source, test::address6(test::kHost6));
  EXPECT_EQ(quote.tuple.destination, test::address6(test::kPeer6));
  EXPECT_EQ(quote.tuple.source_port.host(), 4000);
  EXPECT_EQ(quote.tuple.destination_port.host(), 5000);
  EXPECT_EQ(quote.tuple.protocol, kProtoUdp);
  EXPECT_EQ(quote.l4_offset, 40);
  EXPECT_FALSE(quote.is_fragment);

  const Bytes esp = test::from_hex("0000200100000005aa");
  ASSERT_TRUE(
      parse_quote(test::ipv6(kProtoHopByHop, test::joined({test::options_header(kProtoFragment, 16),
                                                           test::fragment_header(kProtoEsp, 0, true), esp})),
                  quote));
  EXPECT_EQ(quote.tuple.protocol, kProtoEsp);
  EXPECT_EQ(quote.tuple.source_port.host(), 0);
  EXPECT_EQ(quote.l4_offset, 64);
  EXPECT_FALSE(quote.is_fragment);

  ASSERT_TRUE(parse_quote(test::ipv6(kProtoIcmpv6, test::icmpv6(128, 0, 0x12340001, {})), quote));
  EXPECT_EQ(quote.tuple.source_port.host(), 0x1234);
  EXPECT_EQ(quote.tuple.destination_port.host(), 128 << 8);

  ASSERT_TRUE(parse_quote(
      test::ipv6(kProtoFragment, test::joined({test::fragment_header(kProtoUdp, 8, true), Bytes(8, 1)})),
      quote));
  EXPECT_TRUE(quote.is_fragment);
  EXPECT_EQ(quote.tuple.source_port.host(), 0);
  ASSERT_TRUE(parse_quote(test::ipv6(kProtoIcmp, Bytes(8, 1)), quote));
  EXPECT_EQ(quote.tuple.source_port.host(), 0) << "ICMP in IPv6 is nothing";
}

TEST_F(IcmpTest, ShortAndForeignIpv6QuotesAreRefused) {
  const Bytes packet = test::ipv6(kProtoDestinationOptions,
                                  test::joined({test::options_header(kProtoUdp, 16), test::udp6(16)}));
  Quote quote;
  for (size_t length = 0; length <= 65; ++length)
    EXPECT_EQ(parse_quote(first_bytes(packet, length), quote), length >= 40 + 16 + 8) << length;
  EXPECT_FALSE(parse_quote(
      test::ipv6(kProtoRouting, test::joined({test::routing_header(kProtoUdp, 0, 1), test::udp6(16)})),
      quote));
  EXPECT_FALSE(parse_quote(test::ipv6(kProtoUdp, test::udp6(16), {.source = "::ffff:10.0.0.1"}), quote))
      << "an IPv6 packet must not pass for an IPv4 one";
  EXPECT_FALSE(parse_quote(test::ipv6(kProtoUdp, test::udp6(16), {.destination = "::ffff:10.0.0.1"}), quote));
}

}  // namespace
}  // namespace espalier::dataplane
