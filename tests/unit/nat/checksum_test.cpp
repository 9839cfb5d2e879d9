#include "nat/checksum.hpp"

#include "tests/unit/nat/nat_testing.hpp"

namespace espalier::nat {
namespace {

uint16_t raw(uint16_t host) {
  return be16::from_host(host).raw();
}

// RFC 1071 section 3: the bytes 00 01 f2 03 f4 f5 f6 f7 sum to ddf2.
TEST(Checksum, SumsTheExampleOfRfc1071) {
  const std::vector<uint8_t> bytes{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(fold(sum_of(bytes)), raw(0xddf2));
  EXPECT_EQ(checksum(bytes), raw(0x220d));
}

// RFC 1624 section 4: 0xdd2f is the checksum, 0x5555 becomes 0x3285; equation 3 gives 0, equation 2 would
// give 0xffff.
TEST(Checksum, UpdatesTheExampleOfRfc1624) {
  const auto delta = ChecksumDelta{}.change(raw(0x5555), raw(0x3285));
  EXPECT_EQ(delta.apply(raw(0xdd2f)), 0x0000);
}

TEST(Checksum, OddLengthsAreAsThoughPaddedWithZero) {
  std::mt19937 random(1);
  for (size_t length = 0; length < 70; ++length) {
    std::vector<uint8_t> bytes(length);
    for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
    EXPECT_EQ(be16::from_raw(checksum(bytes)).host(), naive_checksum(bytes)) << length;
  }
}

TEST(Checksum, LargestPacketOfOnesDoesNotOverflow) {
  const std::vector<uint8_t> bytes(65535, 0xff);
  EXPECT_EQ(be16::from_raw(checksum(bytes)).host(), naive_checksum(bytes));
}

TEST(Checksum, L4ChecksumIsThatOfANaivePacket) {
  std::mt19937 random(2);
  const Tuple flows[] = {udp(ip("10.1.2.3"), 4711, ip("192.0.2.1"), 80),
                         tuple(kProtoTcp, ip("10.1.2.3"), 4711, ip("192.0.2.1"), 80),
                         echo(ip("10.1.2.3"), ip("192.0.2.1"), 7),
                         udp(ip("2001:db8:ffff::3"), 4711, ip("fd00::ffff:192.0.2.1"), 80),
                         tuple(kProtoTcp, ip("2001:db8::3"), 4711, ip("2001:db8::1"), 80),
                         echo(ip("fe80::1"), ip("ff02::1"), 7)};
  for (const Tuple& flow : flows)
    for (size_t bytes = 20; bytes < 90; ++bytes) {
      const auto packet = make_packet(flow, bytes, random);
      std::vector<uint8_t> l4(packet.end() - static_cast<ptrdiff_t>(bytes), packet.end());
      EXPECT_TRUE(l4_checksum_is_right(flow.source, flow.destination, flow.protocol, l4));
      const size_t at = l4_checksum_place(flow.protocol);
      const uint16_t right = static_cast<uint16_t>(l4[at] << 8 | l4[at + 1]);
      put16(l4, at, 0);
      const be16 made = be16::from_raw(l4_checksum(flow.source, flow.destination, flow.protocol, l4));
      EXPECT_EQ(made.host(), right);
      put16(l4, at, made.host());
      l4[bytes / 2] ^= 0x10;
      EXPECT_FALSE(l4_checksum_is_right(flow.source, flow.destination, flow.protocol, l4));
    }
}

// RFC 8200 section 8.1: in IPv6 a UDP packet without a checksum is no right packet.
TEST(Checksum, AZeroUdpChecksumIsNotRight) {
  std::mt19937 random(3);
  auto packet = make_packet(udp(ip("2001:db8::3"), 4711, ip("2001:db8::1"), 80), 40, random);
  put16(packet, 46, 0);
  EXPECT_FALSE(
      l4_checksum_is_right(ip("2001:db8::3"), ip("2001:db8::1"), kProtoUdp, std::span(packet).subspan(40)));
}

TEST(Checksum, UdpWithoutChecksumStaysWithout) {
  const auto delta = ChecksumDelta{}.change(raw(1), raw(2));
  EXPECT_EQ(delta.apply_udp(0), 0);
}

// All old checksums and many changes: an update is what a computation from nothing would give.
TEST(Checksum, UdpNeverBecomesZeroByAnUpdate) {
  for (uint32_t checksum_raw = 1; checksum_raw <= 0xffff; ++checksum_raw) {
    const auto old = static_cast<uint16_t>(checksum_raw);
    const auto to_zero = ChecksumDelta{}.change(0, old);  // makes the sum all ones
    ASSERT_EQ(to_zero.apply_udp(old), 0xffff);
    ASSERT_EQ(ChecksumDelta{}.apply_udp(old), old);
  }
}

TEST(Checksum, AddressesChangeASumAsTheirBytesDo) {
  std::mt19937 random(4);
  for (const char* const from_text :
       {"10.0.0.1", "255.255.255.255", "0.0.0.0", "2001:db8::1", "::", "ffff::ffff"}) {
    const IpAddress from = ip(from_text);
    const size_t bytes = from.is_v4() ? 4 : 16;
    std::vector<uint8_t> packet(40);
    for (auto& byte : packet) byte = static_cast<uint8_t>(random());
    put_address(packet, 8, from);
    std::vector<uint8_t> changed = packet;
    for (size_t i = 0; i < bytes; ++i) changed[8 + i] = static_cast<uint8_t>(random());
    IpAddress to = from;
    std::memcpy(reinterpret_cast<uint8_t*>(&to) + 16 - bytes, &changed[8], bytes);
    EXPECT_EQ(ChecksumDelta{}.change(from, to).apply(checksum(packet)), checksum(changed)) << from_text;
  }
}

TEST(Checksum, DeltasOfManyWordsAddUp) {
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint8_t> before(40), after;
    for (auto& byte : before) byte = static_cast<uint8_t>(random());
    after = before;
    ChecksumDelta delta;
    for (int i = 0; i < 4; ++i) {
      const size_t at = random() % 10 * 4;
      be32 from, to = be32::from_raw(round % 3 == 0 ? 0xffffffff : random());
      std::memcpy(&from, &after[at], 4);
      std::memcpy(&after[at], &to, 4);
      delta.change(from, to);
    }
    EXPECT_EQ(delta.apply(checksum(before)), checksum(after));
  }
}

}  // namespace
}  // namespace espalier::nat
