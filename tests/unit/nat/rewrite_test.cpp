#include "nat/rewrite.hpp"

#include <fstream>
#include <sstream>

#include "nat/ip_header.hpp"
#include "tests/unit/nat/nat_testing.hpp"

namespace espalier::nat {
namespace {

using Bytes = std::vector<uint8_t>;

IpAddress random_address(Family family, std::mt19937& random) {
  if (family == Family::kIpv4) return Ipv4Address::from_host(static_cast<uint32_t>(random()));
  uint128 bits = 0x2001;
  for (int i = 0; i < 4; ++i) bits = bits << 28 | (random() & 0xfffffff);
  return IpAddress::from_host(bits);
}

Tuple random_tuple(Family family, uint8_t protocol, std::mt19937& random) {
  Tuple t = tuple(protocol, random_address(family, random), 0, random_address(family, random), 0);
  if (has_ports(protocol)) {
    t.source_port = be16::from_host(static_cast<uint16_t>(random()));
    t.destination_port = be16::from_host(static_cast<uint16_t>(random()));
  }
  return has_identifier(t) ? echo(t.source, t.destination, static_cast<uint16_t>(random())) : t;
}

// Family and protocol of what the tests below rewrite.
constexpr std::pair<Family, uint8_t> kKinds[] = {{Family::kIpv4, kProtoTcp},    {Family::kIpv4, kProtoUdp},
                                                 {Family::kIpv4, kProtoIcmp},   {Family::kIpv4, kProtoGre},
                                                 {Family::kIpv4, kProtoIcmpv6}, {Family::kIpv6, kProtoTcp},
                                                 {Family::kIpv6, kProtoUdp},    {Family::kIpv6, kProtoIcmpv6},
                                                 {Family::kIpv6, kProtoGre},    {Family::kIpv6, kProtoIcmp}};

// `packet` with the other tuple, its checksums computed from nothing.
Bytes retupled(Bytes packet, const Tuple& to) {
  put_tuple(packet, to);
  return packet;
}

void apply_to(Bytes& packet, const Rewrite& rewrite) {
  const size_t l4 = header_bytes(rewrite.family);
  apply(rewrite, packet.data(), packet.data() + l4, static_cast<uint32_t>(packet.size() - l4));
}

TEST(Rewrite, GivesTheBytesOfAPacketMadeWithTheNewTuple) {
  std::mt19937 random(1);
  for (const auto& [family, protocol] : kKinds)
    for (int round = 0; round < 3000; ++round) {
      const Tuple from = random_tuple(family, protocol, random), to = random_tuple(family, protocol, random);
      Bytes packet = make_packet(from, 20 + random() % 60, random);
      const Bytes expected = retupled(packet, to);
      apply_to(packet, make_rewrite(from, to));
      ASSERT_EQ(packet, expected);
      apply_to(packet, make_rewrite(to, from));
      ASSERT_EQ(packet, retupled(packet, from));
    }
}

TEST(Rewrite, LaterFragmentsChangeInTheIpHeaderOnly) {
  std::mt19937 random(2);
  for (const auto& [family, protocol] : kKinds) {
    const Tuple from = random_tuple(family, protocol, random), to = random_tuple(family, protocol, random);
    Bytes packet = make_packet(from, 100, random);
    Bytes expected = retupled(packet, to);
    const auto l4 = static_cast<ptrdiff_t>(header_bytes(family));
    std::copy(packet.begin() + l4, packet.end(), expected.begin() + l4);
    apply(make_rewrite(from, to), packet.data(), nullptr, 0);
    EXPECT_EQ(packet, expected);
  }
}

TEST(Rewrite, WritesNothingBeyondTheBytesThatAreThere) {
  std::mt19937 random(3);
  for (const auto& [family, protocol] : kKinds)
    for (uint32_t there = 0; there <= 20; ++there) {
      const Tuple from = random_tuple(family, protocol, random), to = random_tuple(family, protocol, random);
      Bytes packet = make_packet(from, 20, random);
      const Bytes before = packet;
      const size_t l4 = header_bytes(family);
      apply(make_rewrite(from, to), packet.data(), packet.data() + l4, there);
      for (size_t i = l4 + there; i < packet.size(); ++i)
        ASSERT_EQ(packet[i], before[i]) << there << " " << i;
    }
}

TEST(Rewrite, AWrongChecksumStaysWrong) {
  std::mt19937 random(4);
  for (const auto& [family, protocol] : kKinds) {
    const Tuple from = random_tuple(family, protocol, random), to = random_tuple(family, protocol, random);
    if (l4_checksum_offset(from) == 0) continue;
    Bytes packet = make_packet(from, 40, random);
    const size_t at = packet.size() - 10;
    packet[at] ^= 1;
    apply_to(packet, make_rewrite(from, to));
    const auto l4 = std::span(packet).subspan(header_bytes(family));
    EXPECT_FALSE(l4_checksum_is_right(to.source, to.destination, protocol, l4));
    packet[at] ^= 1;
    EXPECT_TRUE(l4_checksum_is_right(to.source, to.destination, protocol, l4));
  }
}

// In IPv6 it is wrong before and after (RFC 8200 section 8.1): the host that gets it decides.
TEST(Rewrite, AZeroUdpChecksumStaysZero) {
  std::mt19937 random(4);
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const Tuple from = random_tuple(family, kProtoUdp, random), to = random_tuple(family, kProtoUdp, random);
    Bytes packet = make_packet(from, 40, random);
    const size_t at = l4_checksum_offset(from);
    put16(packet, at, 0);
    apply_to(packet, make_rewrite(from, to));
    EXPECT_EQ(packet[at] | packet[at + 1], 0);
  }
}

TEST(FlowPaths, EachStepChangesItsEnd) {
  const Tuple original = udp(ip(10, 0, 0, 1), 1, ip(203, 0, 113, 1), 2);
  const Tuple reply = udp(ip(192, 168, 0, 9), 20, ip(172, 16, 0, 1), 10);
  const FlowPath there = path_of(original, reply, FlowDirection::kOriginal);
  EXPECT_EQ(there.received, original);
  EXPECT_EQ(there.routed, udp(ip(10, 0, 0, 1), 1, ip(192, 168, 0, 9), 20));
  EXPECT_EQ(there.sent, udp(ip(172, 16, 0, 1), 10, ip(192, 168, 0, 9), 20));
  const FlowPath back = path_of(original, reply, FlowDirection::kReply);
  EXPECT_EQ(back.received, reply);
  EXPECT_EQ(back.routed, udp(ip(192, 168, 0, 9), 20, ip(10, 0, 0, 1), 1));
  EXPECT_EQ(back.sent, udp(ip(203, 0, 113, 1), 2, ip(10, 0, 0, 1), 1));
}

// What Linux received and sent, from data/linux_nat.txt.
struct Recording {
  std::string kind, step;
  Tuple original, reply;
  FlowDirection direction;
  Bytes received, sent;
};

Tuple read_tuple(std::istream& in) {
  std::string source, destination;
  unsigned protocol = 0, source_port = 0, destination_port = 0;
  in >> protocol >> source >> source_port >> destination >> destination_port;
  return tuple(static_cast<uint8_t>(protocol), ip(source.c_str()), static_cast<uint16_t>(source_port),
               ip(destination.c_str()), static_cast<uint16_t>(destination_port));
}

Bytes read_hex(std::istream& in) {
  std::string text;
  in >> text;
  Bytes bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<uint8_t>(std::stoul(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

std::vector<Recording> read_recordings() {
  std::ifstream file(NAT_TEST_DATA "/linux_nat.txt");
  std::vector<Recording> recordings;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    std::istringstream in(line);
    Recording r;
    std::string direction;
    in >> r.kind >> r.step;
    r.original = read_tuple(in);
    r.reply = read_tuple(in);
    in >> direction;
    r.direction = direction == "reply" ? FlowDirection::kReply : FlowDirection::kOriginal;
    r.received = read_hex(in);
    r.sent = read_hex(in);
    recordings.push_back(r);
  }
  return recordings;
}

// A router lowers the TTL between the two steps.
void lower_ttl(Bytes& packet) {
  if (family_of(packet[0]) == Family::kIpv6) {
    --packet[7];
    return;
  }
  put16(packet, 8, static_cast<uint16_t>(packet[8] << 8 | packet[9]) - 0x100);
  fill_checksums(packet, 0);
}

// Finds what follows the IP header as the parser of packets does.
void apply_behind_headers(Bytes& packet, const Rewrite& rewrite) {
  const uint32_t l4 = read_ip_header(packet).value().l4_offset;
  apply(rewrite, packet.data(), packet.data() + l4, static_cast<uint32_t>(packet.size()) - l4);
}

TEST(LinuxRecordings, PacketsAreRewrittenAsLinuxDoes) {
  int packets = 0;
  for (auto& r : read_recordings()) {
    if (r.kind != "packet") continue;
    const FlowPath path = path_of(r.original, r.reply, r.direction);
    apply_behind_headers(r.received, make_rewrite(path.received, path.sent));
    lower_ttl(r.received);
    EXPECT_EQ(r.received, r.sent) << r.step;
    ++packets;
  }
  EXPECT_EQ(packets, 45);
}

TEST(LinuxRecordings, TwoStepsGiveTheSameBytes) {
  for (auto& r : read_recordings()) {
    if (r.kind != "packet") continue;
    const FlowPath path = path_of(r.original, r.reply, r.direction);
    apply_behind_headers(r.received, make_rewrite(path.received, path.routed));
    apply_behind_headers(r.received, make_rewrite(path.routed, path.sent));
    lower_ttl(r.received);
    EXPECT_EQ(r.received, r.sent) << r.step;
  }
}

TEST(LinuxRecordings, IcmpErrorsAreTranslatedAsLinuxDoes) {
  int errors = 0;
  for (auto& r : read_recordings()) {
    if (r.kind != "error") continue;
    const auto found = icmp_error_tuple(r.received);
    ASSERT_TRUE(found) << r.step;
    EXPECT_EQ(*found, r.direction == FlowDirection::kOriginal ? r.original : r.reply) << r.step;
    EXPECT_TRUE(translate_icmp_error(r.received, r.original, r.reply, r.direction, NatStep::kDestination));
    lower_ttl(r.received);
    EXPECT_TRUE(translate_icmp_error(r.received, r.original, r.reply, r.direction, NatStep::kSource));
    EXPECT_EQ(r.received, r.sent) << r.step;
    ++errors;
  }
  EXPECT_EQ(errors, 32);
}

// An ICMP error from `source` that quotes the first `quoted` bytes of `packet`.
Bytes make_error(uint8_t type, IpAddress source, const Bytes& packet, size_t quoted) {
  Bytes error(28 + quoted);
  error[0] = 0x45;
  error[8] = 64;
  error[9] = kProtoIcmp;
  put_address(error, 12, source);
  std::copy(packet.begin() + 12, packet.begin() + 16, error.begin() + 16);
  error[20] = type;
  std::copy_n(packet.begin(), quoted, error.begin() + 28);
  put16(error, 2, static_cast<uint16_t>(error.size()));
  fill_checksums(error, 22);
  return error;
}

struct IcmpErrors : testing::Test {
  std::mt19937 random{5};
  Tuple original = udp(ip(192, 168, 10, 45), 4000, ip(198, 51, 100, 9), 5000);
  Tuple reply = udp(ip(198, 51, 100, 9), 5000, ip(203, 0, 113, 1), 4444);
  Bytes outgoing = make_packet(path_of(original, reply, FlowDirection::kOriginal).sent, 40, random);

  bool translate(Bytes& error) {
    return translate_icmp_error(error, original, reply, FlowDirection::kReply, NatStep::kDestination);
  }
};

TEST_F(IcmpErrors, EveryLengthOfAQuoteIsTranslatedOrRefusedWhole) {
  for (size_t quoted = 0; quoted <= outgoing.size(); ++quoted) {
    Bytes error = make_error(kIcmpTimeExceeded, ip(198, 51, 100, 1), outgoing, quoted);
    const Bytes before = error;
    EXPECT_EQ(icmp_error_tuple(error).has_value(), quoted >= 24) << quoted;
    EXPECT_EQ(translate(error), quoted >= 20) << quoted;
    if (quoted < 20) {
      EXPECT_EQ(error, before);
      continue;
    }
    Bytes quote(error.begin() + 28, error.end());
    EXPECT_EQ(naive_checksum({quote.begin(), quote.begin() + 20}), 0) << quoted;
    EXPECT_EQ(naive_checksum({error.begin() + 20, error.end()}), 0) << quoted;
    EXPECT_EQ(naive_checksum({error.begin(), error.begin() + 20}), 0) << quoted;
    EXPECT_EQ(quote[15], 45);
    if (quoted >= 24) {
      EXPECT_EQ(quote[20] << 8 | quote[21], 4000);
    }
    if (quoted == outgoing.size()) {
      EXPECT_TRUE(l4_checksum_is_right(original.source, original.destination, kProtoUdp,
                                       std::span(quote).subspan(20)));
    }
  }
}

TEST_F(IcmpErrors, WrongChecksumsStayWrong) {
  Bytes error = make_error(kIcmpUnreachable, ip(198, 51, 100, 1), outgoing, 60);
  error[23] ^= 0x40;  // ICMP
  error[39] ^= 0x20;  // quoted IP
  ASSERT_TRUE(translate(error));
  EXPECT_NE(naive_checksum({error.begin() + 20, error.end()}), 0);
  EXPECT_NE(naive_checksum({error.begin() + 28, error.begin() + 48}), 0);
  error[23] ^= 0x40;
  error[39] ^= 0x20;
  EXPECT_EQ(naive_checksum({error.begin() + 28, error.begin() + 48}), 0);
  EXPECT_EQ(naive_checksum({error.begin() + 20, error.end()}), 0);
}

TEST_F(IcmpErrors, MalformedQuotesAreRefusedAndLeftAsTheyAre) {
  const Bytes good = make_error(kIcmpUnreachable, ip(198, 51, 100, 1), outgoing, 60);
  const auto refuses = [&](size_t at, uint8_t value) {
    Bytes bad = good;
    bad[at] = value;
    const Bytes before = bad;
    EXPECT_FALSE(icmp_error_tuple(bad)) << at;
    EXPECT_FALSE(translate(bad)) << at;
    EXPECT_EQ(bad, before) << at;
  };
  refuses(20, kIcmpEcho);   // no error
  refuses(28, 0x65);        // quoted version 6
  refuses(28, 0x44);        // quoted header too short
  refuses(31, 0x13);        // quoted total length below the header
  refuses(35, 0x01);        // quoted later fragment
  refuses(9, kProtoUdp);    // outer protocol
  refuses(0, 0x46 | 0x0f);  // outer header beyond what follows
  Bytes other = good;
  other[37] = kProtoTcp;
  EXPECT_FALSE(translate(other));  // another protocol than the session's
}

// RFC 4884: behind the quoted packet there may be padding and extensions.
TEST_F(IcmpErrors, WhatLiesBehindTheQuotedPacketIsNotTouched) {
  put16(outgoing, 2, 24);  // as though it ended behind the ports, before the UDP checksum
  fill_checksums(outgoing, 0);
  Bytes error = make_error(kIcmpUnreachable, ip(198, 51, 100, 1), outgoing, 60);
  const Bytes before = error;
  ASSERT_TRUE(translate(error));
  EXPECT_EQ(error[48] << 8 | error[49], 4000);
  EXPECT_TRUE(std::equal(error.begin() + 52, error.end(), before.begin() + 52));
  EXPECT_EQ(naive_checksum({error.begin() + 20, error.end()}), 0);
}

TEST_F(IcmpErrors, RedirectsOfTranslatedFlowsAreRefused) {
  Bytes error = make_error(kIcmpRedirect, ip(198, 51, 100, 1), outgoing, 60);
  EXPECT_FALSE(translate(error));
  const Tuple plain = *inverse(original);
  EXPECT_TRUE(translate_icmp_error(error, original, plain, FlowDirection::kReply, NatStep::kDestination));
}

TEST_F(IcmpErrors, AStepWithoutTranslationChangesNothing) {
  Bytes error = make_error(kIcmpUnreachable, ip(198, 51, 100, 1), outgoing, 60);
  const Bytes before = error;
  EXPECT_TRUE(translate_icmp_error(error, original, reply, FlowDirection::kReply, NatStep::kSource));
  EXPECT_EQ(error, before);
}

TEST_F(IcmpErrors, AnyBytesAreSafe) {
  const Bytes good = make_error(kIcmpUnreachable, ip(198, 51, 100, 1), outgoing, 60);
  for (int round = 0; round < 20000; ++round) {
    Bytes error(good.begin(), good.begin() + static_cast<ptrdiff_t>(random() % (good.size() + 1)));
    for (int i = 0; i < 3 && !error.empty(); ++i)
      error[random() % error.size()] = static_cast<uint8_t>(random());
    error.shrink_to_fit();  // so that the address sanitizer sees a byte too many
    const Bytes before = error;
    if (!translate(error)) {
      ASSERT_EQ(error, before);
    }
    icmp_error_tuple(error);
  }
}

}  // namespace
}  // namespace espalier::nat
