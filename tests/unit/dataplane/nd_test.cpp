// The packets of neighbour discovery and multicast listener discovery against scapy 2.5.0, whose expressions
// stand beside its bytes, and against the rules of RFC 4861 for what must be dropped.
#include "dataplane/nd.hpp"

#include <gtest/gtest.h>

#include "tests/unit/dataplane/nd_packets.hpp"

namespace espalier::dataplane {
namespace {

using Kind = nd::Message::Kind;
using test::Bytes;

const MacAddress kOwnMac{2, 0, 0, 0, 0, 1}, kHostMac{2, 0, 0, 0, 0xaa, 1};

// IPv6(src="2001:db8:1::1",dst="ff02::1:ff00:45",hlim=255)/ICMPv6ND_NS(tgt="2001:db8:1::45")
//   /ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:01")
const char* const kSolicitation =
    "6000000000203aff20010db8000100000000000000000001ff0200000000000000000001ff00004587001b9f"
    "0000000020010db80001000000000000000000450101020000000001";
// The same with dst="2001:db8:1::45"
const char* const kProbe =
    "6000000000203aff20010db800010000000000000000000120010db80001000000000000000000458700ebe9"
    "0000000020010db80001000000000000000000450101020000000001";
// IPv6(src="::",dst="ff02::1:ff00:1",hlim=255)/ICMPv6ND_NS(tgt="2001:db8:1::1")
//   /ICMPv6NDOptUnknown(type=14,len=1,data=bytes.fromhex("010203040506"))
const char* const kCheck =
    "6000000000203aff00000000000000000000000000000000ff0200000000000000000001ff000001870035d7"
    "0000000020010db80001000000000000000000010e01010203040506";
// IPv6(src="2001:db8:1::1",dst="2001:db8:1::45",hlim=255)/ICMPv6ND_NA(tgt="2001:db8:1::1",R=1,S=1,O=1)
//   /ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:01")
const char* const kAdvertisement =
    "6000000000203aff20010db800010000000000000000000120010db80001000000000000000000458800"
    "0a2de000000020010db80001000000000000000000010201020000000001";
// The same with dst="ff02::1" and S=0
const char* const kUnasked =
    "6000000000203aff20010db8000100000000000000000001ff02000000000000000000000000000188007928"
    "a000000020010db80001000000000000000000010201020000000001";
// IPv6(src="fe80::1",dst="ff02::16",hlim=1)/IPv6ExtHdrHopByHop(options=[RouterAlert(),PadN(optdata=b"")])
//   /ICMPv6MLReport2(records=[ICMPv6MLDMultAddrRec(rtype=4,dst="ff02::1:ff00:1"),
//                             ICMPv6MLDMultAddrRec(rtype=4,dst="ff02::1:ff00:2")])
const char* const kReport =
    "6000000000380001fe800000000000000000000000000001ff020000000000000000000000000016"
    "3a000502000001008f006eeb0000000204000000ff0200000000000000000001ff00000104000000"
    "ff0200000000000000000001ff000002";
// IPv6(src="fe80::9",dst="ff02::1",hlim=1)/(as above)/ICMPv6MLQuery2(mrd=10000)
const char* const kGeneralQuery =
    "6000000000240001fe800000000000000000000000000009ff020000000000000000000000000001"
    "3a000502000001008200590b271000000000000000000000000000000000000000000000";
// The same with ICMPv6MLQuery2(mrd=0x8567,mladdr="ff02::1:ff00:1")
const char* const kGroupQuery =
    "6000000000240001fe800000000000000000000000000009ff020000000000000000000000000001"
    "3a000502000001008200fcad85670000ff0200000000000000000001ff00000100000000";
// IPv6(src="fe80::9",dst="ff02::1",hlim=255)/ICMPv6ND_RA()/ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:aa:01")
//   /ICMPv6NDOptPrefixInfo(prefix="2001:db8:9::",prefixlen=64)
const char* const kRouterAdvertisement =
    "6000000000383afffe800000000000000000000000000009ff02000000000000000000000000000186005666"
    "000807080000000000000000010102000000aa01030440c0ffffffffffffffff0000000020010db800090000000000000000000"
    "0";
// IPv6(src="fe80::9",dst="2001:db8:1::1",hlim=255)/ICMPv6ND_Redirect(tgt="fe80::9",dst="2001:db8:f::1")
const char* const kRedirect =
    "6000000000283afffe80000000000000000000000000000920010db800010000000000000000000189001e05"
    "00000000fe80000000000000000000000000000920010db8000f00000000000000000001";
constexpr size_t kBare = 40, kBehindOptions = 48;  // where the ICMPv6 header is

TEST(Nd, SaysWhatScapySays) {
  const IpAddress own = ip("2001:db8:1::1"), host = ip("2001:db8:1::45");
  EXPECT_EQ(test::to_hex(nd::make_solicitation(own, ip("ff02::1:ff00:45"), host, kOwnMac)), kSolicitation);
  EXPECT_EQ(test::to_hex(nd::make_solicitation(own, host, host, kOwnMac)), kProbe);
  EXPECT_EQ(test::to_hex(nd::make_check(own, 0x060504030201)), kCheck);
  EXPECT_EQ(test::to_hex(nd::make_advertisement(own, host, kOwnMac, true)), kAdvertisement);
  EXPECT_EQ(test::to_hex(nd::make_advertisement(own, ip("ff02::1"), kOwnMac, false)), kUnasked);
  const IpAddress groups[] = {ip("ff02::1:ff00:1"), ip("ff02::1:ff00:2")};
  EXPECT_EQ(test::to_hex(nd::make_report(ip("fe80::1"), groups, true)), kReport);
}

TEST(Nd, AReportOfTheMostGroupsFitsTheSmallestMtu) {
  const std::vector<IpAddress> groups(nd::kGroupsPerReport, ip("ff02::1:ff00:1"));
  const Bytes report = nd::make_report({}, groups, false);
  EXPECT_LE(report.size(), 1280u);
  EXPECT_EQ(test::get16(report, kBehindOptions + 6), groups.size());
  EXPECT_EQ(test::get8(report, kBehindOptions + 8), 2) << "MODE_IS_EXCLUDE";
}

nd::Message parsed(const char* hex, size_t l4_offset = kBare) {
  nd::Message message;
  EXPECT_TRUE(nd::parse(test::from_hex(hex), l4_offset, message)) << hex;
  return message;
}

TEST(Nd, HearsWhatScapySays) {
  const nd::Message question = parsed(kSolicitation);
  EXPECT_EQ(question.kind, Kind::kSolicitation);
  EXPECT_EQ(question.source, ip("2001:db8:1::1"));
  EXPECT_EQ(question.target, ip("2001:db8:1::45"));
  EXPECT_EQ(question.mac, kOwnMac);
  EXPECT_EQ(question.nonce, 0u);
  const nd::Message check = parsed(kCheck);
  EXPECT_EQ(check.source, IpAddress{});
  EXPECT_EQ(check.mac, std::nullopt);
  EXPECT_EQ(check.nonce, 0x060504030201u);
  const nd::Message answer = parsed(kAdvertisement);
  EXPECT_EQ(answer.kind, Kind::kAdvertisement);
  EXPECT_EQ(answer.target, ip("2001:db8:1::1"));
  EXPECT_TRUE(answer.is_solicited);
  EXPECT_TRUE(answer.overrides);
  EXPECT_EQ(answer.mac, kOwnMac);
  EXPECT_FALSE(parsed(kUnasked).is_solicited);
  EXPECT_EQ(parsed(kRouterAdvertisement).kind, Kind::kIgnored);
  EXPECT_EQ(parsed(kRedirect).kind, Kind::kIgnored);
}

TEST(Nd, HearsQueries) {
  const nd::Message general = parsed(kGeneralQuery, kBehindOptions);
  EXPECT_EQ(general.kind, Kind::kQuery);
  EXPECT_EQ(general.target, IpAddress{});
  EXPECT_EQ(general.delay_ms, 10'000u);
  const nd::Message group = parsed(kGroupQuery, kBehindOptions);
  EXPECT_EQ(group.target, ip("ff02::1:ff00:1"));
  // RFC 3810 section 5.1.3: exponent 0, mantissa 0x567.
  EXPECT_EQ(group.delay_ms, (0x567u | 0x1000u) << 3);
  nd::Message message;
  Bytes routed = test::from_hex(kGeneralQuery);
  routed[7] = 2;
  EXPECT_FALSE(nd::parse(routed, kBehindOptions, message)) << "hop limit";
  Bytes from_afar = test::from_hex(kGeneralQuery);
  test::put16(from_afar, 8, 0x2001);
  test::put16(from_afar, kBehindOptions + 2, test::adjusted_checksum(0x590b, 0xfe80, 0x2001));
  EXPECT_FALSE(nd::parse(from_afar, kBehindOptions, message)) << "source";
}

TEST(Nd, EveryTruncationIsRefused) {
  for (const char* hex : {kSolicitation, kAdvertisement, kCheck}) {
    const Bytes whole = test::from_hex(hex);
    nd::Message message;
    for (size_t length = 0; length < whole.size(); ++length) {
      Bytes cut(whole.begin(), whole.begin() + static_cast<long>(length));
      EXPECT_FALSE(nd::parse(cut, kBare, message)) << length;
    }
    Bytes padded = whole;
    padded.resize(padded.size() + 18);
    EXPECT_TRUE(nd::parse(padded, kBare, message)) << "Ethernet pads";
    EXPECT_FALSE(nd::parse(whole, 39, message));
    EXPECT_FALSE(nd::parse(whole, whole.size(), message));
    EXPECT_FALSE(nd::parse(whole, 65535, message));
  }
}

// With right checksums, so that the rule itself refuses them.
TEST(Nd, WhatRfc4861WantsDropped) {
  const auto ask = [] { return solicitation("2001:db8:1::45", "ff02::1:ff00:1", "2001:db8:1::1", kHostMac); };
  const auto tell = [] {
    return advertisement("2001:db8:1::45", "2001:db8:1::1", kSolicitedFlag | kOverrideFlag, kHostMac);
  };
  nd::Message message;
  ASSERT_TRUE(nd::parse(ask().bytes(), kBare, message));
  ASSERT_TRUE(nd::parse(tell().bytes(), kBare, message));
  std::vector<std::pair<const char*, NdPacket>> bad;
  const auto with = [&](const char* what, NdPacket packet, auto change) {
    change(packet);
    bad.emplace_back(what, packet);
  };
  for (const NdPacket& good : {ask(), tell()}) {
    with("hop limit", good, [](NdPacket& p) { p.hop_limit = 254; });
    with("code", good, [](NdPacket& p) { p.code = 1; });
    with("checksum", good, [](NdPacket& p) { p.bad_checksum = true; });
    with("multicast target", good, [](NdPacket& p) { p.target = ip("ff02::1:ff00:1"); });
    with("no target", good, [](NdPacket& p) { p.target = {}; });
    with("mapped target", good, [](NdPacket& p) { p.target = ip("10.0.0.1"); });
    with("multicast source", good, [](NdPacket& p) { p.source = ip("ff02::1"); });
    with("loopback source", good, [](NdPacket& p) { p.source = ip("::1"); });
    with("empty option", good, [](NdPacket& p) { p.options[1] = 0; });
    with("option too long", good, [](NdPacket& p) { p.options[1] = 2; });
    with("group MAC", good, [](NdPacket& p) { p.options[2] |= 1; });
    with("zero MAC", good, [](NdPacket& p) { std::fill(p.options.begin() + 2, p.options.end(), 0); });
    with("long MAC", good, [](NdPacket& p) {
      p.options[1] = 2;
      p.options.resize(16);
    });
    with("half an option", good, [](NdPacket& p) { p.options.push_back(14); });
  }
  with("check of no group", ask(), [](NdPacket& p) {
    p.source = {};
    p.options.clear();
    p.destination = ip("2001:db8:1::1");
  });
  with("check with a MAC", ask(), [](NdPacket& p) { p.source = {}; });
  with("answer to a group", tell(), [](NdPacket& p) { p.destination = ip("ff02::1"); });
  with("answer from nobody", tell(), [](NdPacket& p) { p.source = {}; });
  for (const auto& [what, packet] : bad) EXPECT_FALSE(nd::parse(packet.bytes(), kBare, message)) << what;
  NdPacket check = ask();
  check.source = {};
  check.options.clear();
  EXPECT_TRUE(nd::parse(check.bytes(), kBare, message));
  NdPacket unknown = ask();
  unknown.option(200, kHostMac);
  EXPECT_TRUE(nd::parse(unknown.bytes(), kBare, message)) << "unknown options are skipped";
  NdPacket echo = ask();
  echo.type = 128;
  EXPECT_FALSE(nd::parse(echo.bytes(), kBare, message)) << "not ours to hear";
}

}  // namespace
}  // namespace espalier::dataplane
