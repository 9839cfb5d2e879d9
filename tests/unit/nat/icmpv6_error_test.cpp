// ICMPv6 errors about translated flows, in which everything is counted by a checksum: the quoted packet's,
// the error's own, and that one also covers the outer addresses (RFC 4443 section 2.3).
#include "nat/ip_header.hpp"
#include "nat/rewrite.hpp"
#include "tests/unit/nat/nat_testing.hpp"

namespace espalier::nat {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kHeader = 40, kIcmp = 40, kQuoted = 48;

// A packet of `flow` with `extensions` between the IPv6 header and what follows it; the last of them must
// name the flow's protocol. Checksums are right: extension headers are in none.
Bytes with_extensions(Bytes packet, uint8_t first, const Bytes& extensions) {
  packet.insert(packet.begin() + kHeader, extensions.begin(), extensions.end());
  put16(packet, 4, static_cast<uint16_t>(packet.size() - kHeader));
  packet[6] = first;
  return packet;
}

// Hop-by-hop options of 8 bytes, destination options of 16, a routing header of 8 (type 3, no segments left),
// and the fragment header of a first fragment.
Bytes all_extensions(uint8_t protocol) {
  return {kProtoDestinationOptions,
          0,
          1,
          4,
          0,
          0,
          0,
          0,  // hop by hop
          kProtoRouting,
          1,
          1,
          12,
          0,
          0,
          0,
          0,
          0,
          0,
          0,
          0,
          0,
          0,
          0,
          0,  // destination options
          kProtoFragment,
          0,
          3,
          0,
          0,
          0,
          0,
          0,  // routing
          protocol,
          0,
          0x00,
          0x01,
          1,
          2,
          3,
          4};  // fragment, more to come
}

// An ICMPv6 error from `source` to the sender of `packet`, that quotes its first `quoted` bytes.
Bytes make_error(uint8_t type, IpAddress source, const Bytes& packet, size_t quoted) {
  Bytes error(kQuoted + quoted);
  error[0] = 0x60;
  put16(error, 4, static_cast<uint16_t>(error.size() - kHeader));
  error[6] = kProtoIcmpv6;
  error[7] = 64;
  put_address(error, 8, source);
  std::copy(packet.begin() + 8, packet.begin() + 24, error.begin() + 24);
  error[kIcmp] = type;
  put16(error, kIcmp + 6, 1400);
  std::copy_n(packet.begin(), quoted, error.begin() + kQuoted);
  fill_checksums(error, kIcmp + 2);
  return error;
}

// Whether the error's checksum is what a computation from nothing gives.
bool has_right_checksum(const Bytes& error) {
  Bytes again = error;
  fill_checksums(again, kIcmp + 2);
  return again == error;
}

struct Icmpv6Errors : testing::Test {
  std::mt19937 random{6};
  const IpAddress inside = ip("2001:db8:1::45"), server = ip("2001:db8:ff::9"),
                  outside = ip("2001:db8:2::99");
  const IpAddress router = ip("2001:db8:2::fe");
  const Tuple original = udp(inside, 4000, server, 5000);
  const Tuple reply = udp(server, 5000, outside, 4444);
  const Bytes sent = make_packet(path_of(original, reply, FlowDirection::kOriginal).sent, 40, random);

  bool translate(Bytes& error) {
    return translate_icmp_error(error, original, reply, FlowDirection::kReply, NatStep::kDestination);
  }
  IpAddress address(const Bytes& packet, size_t at) {
    IpAddress a;
    std::memcpy(&a, &packet[at], sizeof a);
    return a;
  }
};

TEST_F(Icmpv6Errors, EveryLengthOfAQuoteIsTranslatedOrRefusedWhole) {
  for (size_t quoted = 0; quoted <= sent.size(); ++quoted) {
    Bytes error = make_error(kIcmpv6TimeExceeded, router, sent, quoted);
    const Bytes before = error;
    const auto found = icmp_error_tuple(error);
    EXPECT_EQ(found.has_value(), quoted >= 44) << quoted;
    if (found) {
      EXPECT_EQ(*found, reply);
    }
    ASSERT_EQ(translate(error), quoted >= 40) << quoted;
    if (quoted < 40) {
      EXPECT_EQ(error, before);
      continue;
    }
    EXPECT_TRUE(has_right_checksum(error)) << quoted;
    EXPECT_EQ(address(error, 8), router);
    EXPECT_EQ(address(error, 24), inside);
    EXPECT_EQ(address(error, kQuoted + 8), inside);
    EXPECT_EQ(address(error, kQuoted + 24), server);
    EXPECT_EQ(error[kIcmp + 6] << 8 | error[kIcmp + 7], 1400) << "an MTU may stand here";
    if (quoted == sent.size()) {
      EXPECT_EQ(Bytes(error.begin() + kQuoted, error.end()), [&] {
        Bytes from_nothing = sent;
        put_tuple(from_nothing, original);
        return from_nothing;
      }());
    }
  }
}

TEST_F(Icmpv6Errors, ExtensionHeadersOfTheQuoteAndOfTheErrorAreSkipped) {
  const Bytes extensions = all_extensions(kProtoUdp);
  const Bytes long_packet = with_extensions(sent, kProtoHopByHop, extensions);
  Bytes error = make_error(kIcmpv6PacketTooBig, router, long_packet, long_packet.size());
  ASSERT_EQ(icmp_error_tuple(error), reply);
  ASSERT_TRUE(translate(error));
  EXPECT_TRUE(has_right_checksum(error));
  Bytes expected = sent;
  put_tuple(expected, original);
  expected = with_extensions(expected, kProtoHopByHop, extensions);
  EXPECT_EQ(Bytes(error.begin() + kQuoted, error.end()), expected);
  // The same error, itself behind extension headers.
  const Bytes outer{kProtoIcmpv6, 0, 1, 4, 0, 0, 0, 0};
  Bytes wrapped = with_extensions(make_error(kIcmpv6PacketTooBig, router, long_packet, long_packet.size()),
                                  kProtoDestinationOptions, outer);
  ASSERT_EQ(icmp_error_tuple(wrapped), reply);
  ASSERT_TRUE(translate(wrapped));
  EXPECT_EQ(wrapped, with_extensions(error, kProtoDestinationOptions, outer));
}

TEST_F(Icmpv6Errors, AQuoteThatEndsWithinItsExtensionHeadersIsRefused) {
  const Bytes long_packet = with_extensions(sent, kProtoHopByHop, all_extensions(kProtoUdp));
  for (size_t quoted = 41; quoted < 84; ++quoted) {
    const bool whole = quoted >= 80;  // but no ports: translated, though nobody can tell whose it is
    Bytes error = make_error(kIcmpv6TimeExceeded, router, long_packet, quoted);
    EXPECT_FALSE(icmp_error_tuple(error)) << quoted;
    EXPECT_EQ(translate(error), whole) << quoted;
  }
}

// RFC 4443 section 2.1; a quote is looked for also in errors of types that do not exist yet.
TEST_F(Icmpv6Errors, AreThoseOfTypesBelow128) {
  for (int type = 0; type < 256; ++type) {
    const Bytes error = make_error(static_cast<uint8_t>(type), router, sent, sent.size());
    EXPECT_EQ(icmp_error_tuple(error).has_value(), type < 128) << type;
  }
}

TEST_F(Icmpv6Errors, AboutAnEchoTranslateTheIdentifierAndBothPseudoHeaders) {
  const Tuple ping = echo(inside, server, 7);
  Tuple answer = *inverse(ping);
  answer.destination = outside;
  answer.source_port = be16::from_host(999);
  const Bytes query = make_packet(path_of(ping, answer, FlowDirection::kOriginal).sent, 30, random);
  Bytes error = make_error(kIcmpv6Unreachable, router, query, query.size());
  ASSERT_EQ(icmp_error_tuple(error), answer);
  ASSERT_TRUE(translate_icmp_error(error, ping, answer, FlowDirection::kReply, NatStep::kDestination));
  EXPECT_TRUE(has_right_checksum(error));
  Bytes expected = query;
  put_tuple(expected, ping);
  EXPECT_EQ(Bytes(error.begin() + kQuoted, error.end()), expected);
}

TEST_F(Icmpv6Errors, WrongChecksumsStayWrong) {
  Bytes error = make_error(kIcmpv6Unreachable, router, sent, sent.size());
  error[kIcmp + 3] ^= 0x40;
  ASSERT_TRUE(translate(error));
  EXPECT_FALSE(has_right_checksum(error));
  error[kIcmp + 3] ^= 0x40;
  EXPECT_TRUE(has_right_checksum(error));
}

TEST_F(Icmpv6Errors, MalformedOnesAreRefusedAndLeftAsTheyAre) {
  const Bytes good = make_error(kIcmpv6Unreachable, router, sent, sent.size());
  ASSERT_TRUE(icmp_error_tuple(good));
  const auto refuses = [&](Bytes bad, const char* why) {
    const Bytes before = bad;
    EXPECT_FALSE(icmp_error_tuple(bad)) << why;
    EXPECT_FALSE(translate(bad)) << why;
    EXPECT_EQ(bad, before) << why;
  };
  const auto changed = [&](size_t at, uint8_t value) {
    Bytes bad = good;
    bad[at] = value;
    return bad;
  };
  refuses(changed(0, 0x45), "IPv4 without IPv4's lengths");
  refuses(changed(6, kProtoUdp), "not ICMPv6");
  refuses(changed(6, kProtoIcmp), "the other family's ICMP");
  refuses(changed(kQuoted, 0x40), "a quote of the other family");
  Bytes too_short = with_extensions(sent, kProtoHopByHop, all_extensions(kProtoUdp));
  put16(too_short, 4, 16);
  refuses(make_error(kIcmpv6Unreachable, router, too_short, too_short.size()),
          "extension headers beyond the quoted packet's end");
  const Bytes ipv4 = make_packet(udp(ip("10.0.0.1"), 1, ip("10.0.0.2"), 2), 40, random);
  refuses(make_error(kIcmpv6Unreachable, router, ipv4, ipv4.size()), "an IPv4 quote in an ICMPv6 error");
  Bytes fragment = with_extensions(sent, kProtoFragment, {kProtoUdp, 0, 0x00, 0x08, 1, 2, 3, 4});
  refuses(make_error(kIcmpv6Unreachable, router, fragment, fragment.size()), "a later fragment");
  Bytes mapped = make_packet(udp(ip("2001:db8::1"), 1, server, 5000), 40, random);
  std::fill_n(mapped.begin() + 8, 10, uint8_t{0});
  mapped[18] = mapped[19] = 0xff;
  refuses(make_error(kIcmpv6Unreachable, router, mapped, mapped.size()), "an IPv4-mapped source");
}

TEST_F(Icmpv6Errors, AnyBytesAreSafe) {
  const Bytes long_packet = with_extensions(sent, kProtoHopByHop, all_extensions(kProtoUdp));
  const Bytes good = make_error(kIcmpv6Unreachable, router, long_packet, long_packet.size());
  int translated = 0;
  for (int round = 0; round < 20000; ++round) {
    Bytes error(good.begin(), good.begin() + static_cast<ptrdiff_t>(random() % (good.size() + 1)));
    for (int i = 0; i < 3 && !error.empty(); ++i)
      error[random() % error.size()] = static_cast<uint8_t>(random());
    error.shrink_to_fit();  // so that the address sanitizer sees a byte too many
    const Bytes before = error;
    if (translate(error))
      ++translated;
    else
      ASSERT_EQ(error, before);
    icmp_error_tuple(error);
  }
  EXPECT_GT(translated, 1000);
}

}  // namespace
}  // namespace espalier::nat
