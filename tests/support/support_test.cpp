// The tests' own tools against things we did not write: RFC examples and packets that Linux made.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/packet_builder.hpp"
#include "tests/support/packet_rewriter.hpp"
#include "tests/support/pcap_file.hpp"

namespace espalier::test {
namespace {

const std::filesystem::path kRecordings = GOLDEN_RECORDINGS;
const MacAddress kHost = parse_mac("02:00:00:00:ff:01");
const MacAddress kLan = parse_mac("02:00:00:00:01:01");
const MacAddress kWan = parse_mac("02:00:00:00:02:01");
const KeyRing kKeys = {{0x2001, {0x2001, from_hex("2121212121212121212121212121212121212121"), false}},
                       {0x3001, {0x3001, from_hex("3131313131313131313131313131313131313131"), false}}};

std::vector<PcapFrame> recording(const std::string& file) {
  auto frames = read_pcap(kRecordings / file);
  if (!frames) throw std::runtime_error(frames.error().text);
  return *std::move(frames);
}

// The frame of a recording's step, from 1.
Bytes recorded(const std::string& file, uint32_t step, uint32_t place = 0) {
  for (const PcapFrame& each : recording(file))
    if (each.seconds == step && each.microseconds == place) return each.frame;
  throw std::out_of_range("no such frame in " + file);
}

TEST(Bytes, ChecksumOfRfc1071Section3) {
  EXPECT_EQ(ones_sum(from_hex("0001f203f4f5f6f7")), 0xddf2);
  EXPECT_EQ(internet_checksum(from_hex("0001f203f4f5f6f7")), 0x220d);
}

TEST(Bytes, ChecksumUpdateOfRfc1624Section4) {
  EXPECT_EQ(adjusted_checksum(0xdd2f, 0x5555, 0x3285), 0x0000);
}

TEST(Bytes, RefusesWhatIsNoAddress) {
  EXPECT_EQ(parse_address("192.168.10.45").host(), 0xc0a80a2du);
  for (const char* text : {"", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.", "a.b.c.d", "1.2.3.4 "})
    EXPECT_THROW(parse_address(text), std::invalid_argument) << text;
  EXPECT_THROW(from_hex("abc"), std::invalid_argument);
  EXPECT_THROW(from_hex("zz"), std::invalid_argument);
  EXPECT_THROW(parse_mac("02:00:00:00:00"), std::invalid_argument);
}

TEST(Pcap, WritesWhatItReads) {
  const auto file = std::filesystem::path(::testing::TempDir()) / "support_test.pcap";
  const std::vector<PcapFrame> frames = {{1, 0, counting_bytes(60)}, {2, 7, counting_bytes(1514)}};
  ASSERT_TRUE(write_pcap(file, frames));
  const auto again = read_pcap(file);
  ASSERT_TRUE(again) << again.error().text;
  EXPECT_EQ(*again, frames);
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  EXPECT_FALSE(read_pcap(file)) << "cut off";
  std::filesystem::remove(file);
  EXPECT_FALSE(read_pcap(file)) << "not there";
}

TEST(Pcap, ReadsTheOtherByteOrder) {
  const auto file = std::filesystem::path(::testing::TempDir()) / "support_test_big.pcap";
  const Bytes bytes = from_hex(
      "a1b2c3d4000200040000000000000000"
      "0000ffff00000001"
      "00000003000000040000000200000002"
      "abcd");
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  const auto frames = read_pcap(file);
  ASSERT_TRUE(frames) << frames.error().text;
  EXPECT_EQ(*frames, (std::vector<PcapFrame>{{3, 4, from_hex("abcd")}}));
  std::filesystem::remove(file);
}

// RFC 4106 test vectors are not in the RFC; Linux's own packets stand in for them.
TEST(Esp, OpensAndSealsWhatLinuxSealed) {
  const Bytes frame = recorded("05-tunnel/out-wan0.pcap", 1);
  const ByteView esp = ByteView(frame).subspan(34);
  const auto opened = open_esp(kKeys.at(0x2001), esp);
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->sequence, 1u);
  EXPECT_EQ(opened->next_header, kProtoIpip);
  EXPECT_EQ(opened->inner, udp("192.168.10.45:4000", "10.10.10.55:5000").ttl(63).bytes());
  EXPECT_EQ(seal_esp(kKeys.at(0x2001), opened->sequence, opened->inner, {opened->iv, {}, kProtoIpip}),
            copy(esp));
}

TEST(Esp, RefusesEveryFlippedBit) {
  const Bytes esp = copy(ByteView(recorded("05-tunnel/out-wan0.pcap", 1)).subspan(34));
  for (size_t bit = 0; bit < esp.size() * 8; ++bit) {
    Bytes damaged = esp;
    damaged[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    EXPECT_FALSE(open_esp(kKeys.at(0x2001), damaged)) << bit;
  }
  for (size_t size = 0; size < esp.size(); ++size)
    EXPECT_FALSE(open_esp(kKeys.at(0x2001), ByteView(esp).first(size))) << size;
}

// Every suite, sealed and opened again: lengths as the RFCs say, every bit and the high half count.
struct Suite {
  const char* name;
  EspKey key;
  size_t sealed_bytes;  // of 33 bytes: header, IV, padded to 4 or 16, ICV
};
const Suite kSuites[] = {
    {"gcm8", {7, counting_bytes(20), true, EspCodec::kAesGcm, 8, EspHash::kNone, {}, 0}, 8 + 8 + 36 + 8},
    {"gcm12", {7, counting_bytes(28), true, EspCodec::kAesGcm, 12, EspHash::kNone, {}, 0}, 8 + 8 + 36 + 12},
    {"chacha",
     {7, counting_bytes(36), true, EspCodec::kChaCha20Poly1305, 16, EspHash::kNone, {}, 0},
     8 + 8 + 36 + 16},
    {"cbc",
     {7, counting_bytes(16), true, EspCodec::kAesCbc, 16, EspHash::kSha256, Bytes(32, 9), 0},
     8 + 16 + 48 + 16},
    {"cbc96",
     {7, counting_bytes(32), false, EspCodec::kAesCbc, 12, EspHash::kSha1, Bytes(20, 9), 0},
     8 + 16 + 48 + 12},
    {"null", {7, {}, true, EspCodec::kNull, 32, EspHash::kSha512, Bytes(64, 9), 0}, 8 + 0 + 36 + 32}};

TEST(Esp, EverySuiteSealsOpensAndRefusesFlippedBits) {
  for (const Suite& suite : kSuites) {
    const Bytes sealed = seal_esp(suite.key, 3ull << 32 | 9, counting_bytes(33));
    EXPECT_EQ(sealed.size(), suite.sealed_bytes) << suite.name;
    const auto opened = open_esp_of_any_epoch(suite.key, sealed);
    ASSERT_TRUE(opened) << suite.name;
    EXPECT_EQ(opened->inner, counting_bytes(33)) << suite.name;
    EXPECT_EQ(opened->sequence >> 32, suite.key.esn ? 3u : 0u) << suite.name;
    EXPECT_EQ(open_esp(suite.key, sealed, 2).has_value(), !suite.key.esn) << suite.name;
    for (size_t at = 0; at < sealed.size(); ++at) {
      Bytes damaged = sealed;
      damaged[at] ^= 1;
      EXPECT_FALSE(open_esp_of_any_epoch(suite.key, damaged)) << suite.name << " byte " << at;
      EXPECT_FALSE(open_esp_of_any_epoch(suite.key, ByteView(sealed).first(at)))
          << suite.name << " size " << at;
    }
  }
}

TEST(Esp, AuthenticatesTheHighHalfWithEsn) {
  const EspKey key{0x1234, counting_bytes(36), true};
  const Bytes sealed = seal_esp(key, 5ull << 32 | 9, counting_bytes(33));
  EXPECT_EQ(get32(sealed, 4), 9u);
  EXPECT_FALSE(open_esp(key, sealed, 4));
  ASSERT_TRUE(open_esp(key, sealed, 5));
  EXPECT_EQ(open_esp(key, sealed, 5)->inner, counting_bytes(33));
}

// The recorder's packets were built by other people's code; ours must be the same bytes.
TEST(Builder, BuildsTheRecordedPackets) {
  const auto to_gateway = [](const Bytes& packet) { return ethernet(kLan, kHost, packet); };
  EXPECT_EQ(to_gateway(udp("192.168.10.45:4000", "198.51.100.9:5000").ttl(2).bytes()),
            recorded("01-forward/in-lan0.pcap", 2));
  EXPECT_EQ(to_gateway(echo_request("192.168.10.45", "192.168.10.1").ttl(1).bytes()),
            recorded("01-forward/in-lan0.pcap", 4));
  EXPECT_EQ(to_gateway(tcp("192.168.10.45:4445", "198.51.100.9:80").flags("R").bytes()),
            recorded("02-snat/in-lan0.pcap", 12));
  EXPECT_EQ(to_gateway(udp("192.168.10.45:4321", "198.51.100.9:5000").no_checksum().bytes()),
            recorded("03-snat-ports/in-lan0.pcap", 12));
  EXPECT_EQ(to_gateway(udp("192.168.10.45:4000", "10.10.10.55:5000").df().payload(1418).bytes()),
            recorded("16-pmtu/in-lan0.pcap", 1));
  const Bytes big = udp("192.168.10.45:4000", "10.10.10.55:5000").id(0x2222).payload(1000).bytes();
  const std::vector<Bytes> parts = fragments(big, 500);
  ASSERT_EQ(parts.size(), 3u);
  for (uint32_t i = 0; i < 3; ++i)
    EXPECT_EQ(to_gateway(parts[i]), recorded("17-fragments/in-lan0.pcap", 1, i));
  const Bytes inner = udp("10.10.10.55:4000", "192.168.10.45:5000").bytes();
  EXPECT_EQ(
      ethernet(kWan, kHost, esp_tunnel(kKeys.at(0x3001), 1, "203.0.113.2", "203.0.113.1", inner).bytes()),
      recorded("11-in-policies/in-wan0.pcap", 1));
}

TEST(Builder, RefusesFieldsOfOtherProtocols) {
  EXPECT_THROW(udp("1.1.1.1:1", "2.2.2.2:2").flags("S"), std::logic_error);
  EXPECT_THROW(tcp("1.1.1.1:1", "2.2.2.2:2").no_checksum(), std::logic_error);
  EXPECT_THROW(tcp("1.1.1.1:1", "2.2.2.2:2").flags("X"), std::invalid_argument);
  EXPECT_THROW(udp("1.1.1.1", "2.2.2.2:2"), std::invalid_argument);
  EXPECT_THROW(udp("1.1.1.1:66000", "2.2.2.2:2"), std::invalid_argument);
  EXPECT_THROW(udp("1.1.1.1:1", "2.2.2.2:2").options(counting_bytes(3)), std::logic_error);
}

TEST(Decoder, ReadsLinuxsIcmpErrorInsideOfEsp) {
  const Fields fields = decode_frame(recorded("11-in-policies/out-wan0.pcap", 6), kKeys);
  EXPECT_EQ(number_at(fields, "ip.esp.ip.icmp.type"), 3u);
  EXPECT_EQ(number_at(fields, "ip.esp.ip.icmp.code"), 3u);
  EXPECT_EQ(number_at(fields, "ip.esp.ip.tos"), 0xc0u);
  EXPECT_EQ(number_at(fields, "ip.esp.ip.icmp.checksum"), static_cast<uint64_t>(Checksum::kRight));
  EXPECT_EQ(number_at(fields, "ip.esp.ip.icmp.quote.udp.destination_port"), 5000u);
  EXPECT_EQ(number_at(fields, "ip.esp.padding_counts"), 1u);
}

TEST(Decoder, JudgesChecksums) {
  const auto verdict = [](Packet packet, std::string_view path) {
    return static_cast<Checksum>(number_at(decode_ip(packet.bytes(), {}), path));
  };
  const Packet packet = udp("10.0.0.1:1", "10.0.0.2:2");
  EXPECT_EQ(verdict(packet, "ip.udp.checksum"), Checksum::kRight);
  EXPECT_EQ(verdict(Packet(packet).bad_checksum(), "ip.udp.checksum"), Checksum::kWrong);
  EXPECT_EQ(verdict(Packet(packet).no_checksum(), "ip.udp.checksum"), Checksum::kNone);
  EXPECT_EQ(verdict(tcp("10.0.0.1:1", "10.0.0.2:2").bad_checksum(), "ip.tcp.checksum"), Checksum::kWrong);
  EXPECT_EQ(verdict(echo_request("10.0.0.1", "10.0.0.2").bad_checksum(), "ip.icmp.checksum"),
            Checksum::kWrong);
  Bytes bytes = packet.bytes();
  bytes[8] ^= 1;  // the TTL
  EXPECT_EQ(number_at(decode_ip(bytes, {}), "ip.checksum"), static_cast<uint64_t>(Checksum::kWrong));
}

TEST(Decoder, ReadsLinuxsIpv6TransportModeAndEspInUdp) {
  const KeyRing keys = {{0x2001, {0x2001, Bytes(20, 0x21)}},
                        {0x2002, {0x2002, Bytes(20, 0x22)}},
                        {0x2003, {0x2003, Bytes(20, 0x23)}}};
  const auto right = static_cast<uint64_t>(Checksum::kRight);
  const Fields six_in_four = decode_frame(recorded("30-ipv6-tunnels/out-wan0.pcap", 1), keys);
  EXPECT_EQ(number_at(six_in_four, "ip.esp.ip.udp.checksum"), right);
  EXPECT_EQ(number_at(six_in_four, "ip.esp.ip.ttl"), 63u);
  const Fields error = decode_frame(recorded("30-ipv6-tunnels/out-lan0.pcap", 4), {});
  EXPECT_EQ(number_at(error, "ip.icmp6.type"), 2u);
  EXPECT_EQ(number_at(error, "ip.icmp6.rest"), 1446u);
  EXPECT_EQ(number_at(error, "ip.icmp6.checksum"), right);
  EXPECT_EQ(number_at(error, "ip.icmp6.quote.udp.destination_port"), 5000u);
  const Fields fragment = decode_frame(recorded("30-ipv6-tunnels/out-wan0.pcap", 11, 1), keys);
  EXPECT_EQ(number_at(fragment, "ip.fragment_offset"), 1448u);
  const Fields gre = decode_frame(recorded("26-gre-transport/out-wan0.pcap", 2), keys);
  EXPECT_EQ(number_at(gre, "ip.esp.gre.ip.udp.checksum"), right);
  const Fields natt = decode_frame(recorded("23-natt/out-wan0.pcap", 1), keys);
  EXPECT_EQ(number_at(natt, "ip.udp.checksum"), static_cast<uint64_t>(Checksum::kNone));
  EXPECT_EQ(number_at(natt, "ip.udp.esp.ip.udp.checksum"), right);
}

// Any prefix of any recorded frame is a list of fields, never a crash.
TEST(Decoder, ReadsEveryPrefix) {
  for (const char* file :
       {"05-tunnel/out-wan0.pcap", "02-snat/in-wan0.pcap", "09-nat-before-ipsec/out-lan0.pcap",
        "30-ipv6-tunnels/out-wan0.pcap", "30-ipv6-tunnels/out-lan0.pcap", "26-gre-transport/out-wan0.pcap"})
    for (const PcapFrame& each : recording(file))
      for (size_t size = 0; size <= each.frame.size(); ++size)
        EXPECT_FALSE(decode_frame(ByteView(each.frame).first(size), kKeys).empty());
}

TEST(Rewriter, ReplacesPortsAndKeepsChecksumsRightAtEveryDepth) {
  const Bytes inner = udp("10.10.10.55:9000", "192.168.10.45:4000").bytes();
  const Bytes error = icmp(3, 3, 0, "10.10.10.1", "192.168.10.45", inner).bytes();
  const Bytes frame =
      ethernet(kWan, kHost, esp_tunnel(kKeys.at(0x3001), 4, "203.0.113.2", "203.0.113.1", error).bytes());
  const Bytes changed = rewrite_frame(frame, kKeys, [](FieldKind kind, const Bytes&, uint16_t value) {
    return kind == FieldKind::kPort && value == 4000 ? std::optional<uint16_t>(5555) : std::nullopt;
  });
  const Fields fields = decode_frame(changed, kKeys);
  EXPECT_EQ(number_at(fields, "ip.esp.ip.icmp.quote.udp.destination_port"), 5555u);
  EXPECT_EQ(number_at(fields, "ip.esp.ip.icmp.quote.udp.source_port"), 9000u);
  for (const char* path : {"ip.checksum", "ip.esp.ip.checksum", "ip.esp.ip.icmp.checksum",
                           "ip.esp.ip.icmp.quote.checksum", "ip.esp.ip.icmp.quote.udp.checksum"})
    EXPECT_EQ(number_at(fields, path), static_cast<uint64_t>(Checksum::kRight)) << path;
}

TEST(Rewriter, KeepsWrongChecksumsWrongAndNoneNone) {
  const auto rewritten = [](Packet packet) {
    return decode_frame(rewrite_frame(ethernet(kLan, kHost, packet.bytes()), {},
                                      [](FieldKind kind, const Bytes&, uint16_t) {
                                        return kind == FieldKind::kPort ? std::optional<uint16_t>(77)
                                                                        : std::nullopt;
                                      }),
                        {});
  };
  const Packet packet = udp("10.0.0.1:1", "10.0.0.2:2");
  EXPECT_EQ(number_at(rewritten(packet), "ip.udp.checksum"), static_cast<uint64_t>(Checksum::kRight));
  EXPECT_EQ(number_at(rewritten(Packet(packet).bad_checksum()), "ip.udp.checksum"),
            static_cast<uint64_t>(Checksum::kWrong));
  EXPECT_EQ(number_at(rewritten(Packet(packet).no_checksum()), "ip.udp.checksum"),
            static_cast<uint64_t>(Checksum::kNone));
}

}  // namespace
}  // namespace espalier::test
