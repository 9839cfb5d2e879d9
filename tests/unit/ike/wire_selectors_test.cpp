// ike/selectors.hpp: narrowing by RFC 7296 section 2.9, against a naive model over every address and port of
// a small world, and the words of the configuration.
#include "ike/selectors.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "control/config/address.hpp"
#include "control/config/vocabulary.hpp"

namespace espalier::ike {
namespace {

constexpr PortRange kOpaque{65535, 0};

IpAddress address(std::string_view text) {
  return config::parse_address(text).value();
}
TrafficSelector selector(std::string_view low, std::string_view high, uint8_t protocol = 0,
                         PortRange ports = {}) {
  return {protocol, ports, address(low), address(high)};
}
TrafficSelector prefix(std::string_view text, uint8_t protocol = 0, PortRange ports = {}) {
  return to_wire({{config::parse_prefix(text).value()}, protocol, ports}).at(0);
}
using List = std::vector<TrafficSelector>;

// --- Narrowing ---

TEST(Selectors, OfAConfiguredSide) {
  const SelectorSide side{
      {config::parse_prefix("10.0.0.0/21").value(), config::parse_prefix("2001:db8::/64").value()},
      kProtoTcp,
      {443, 443}};
  EXPECT_EQ(to_wire(side),
            (List{selector("10.0.0.0", "10.0.7.255", kProtoTcp, {443, 443}),
                  selector("2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", kProtoTcp, {443, 443})}));
  EXPECT_EQ(prefix("0.0.0.0/0"), selector("0.0.0.0", "255.255.255.255"));
  EXPECT_EQ(prefix("::/0"), selector("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
}

TEST(Selectors, IntersectKeepsOurOrder) {
  const List ours = {prefix("10.2.0.0/16"), prefix("10.1.0.0/16"), prefix("2001:db8::/32")};
  const List theirs = {prefix("2001:db8:1::/48"), prefix("10.1.5.0/24", kProtoTcp),
                       prefix("10.0.0.0/8", kProtoUdp)};
  EXPECT_EQ(intersect(ours, theirs), (List{prefix("10.2.0.0/16", kProtoUdp), prefix("10.1.5.0/24", kProtoTcp),
                                           prefix("10.1.0.0/16", kProtoUdp), prefix("2001:db8:1::/48")}));
}

TEST(Selectors, IntersectSaysNothingTwice) {
  // As an initiator with a packet in hand sends it: the packet's own selector first (section 2.9).
  const List theirs = {prefix("10.1.1.1/32", kProtoTcp, {80, 80}), prefix("10.1.0.0/16")};
  EXPECT_EQ(intersect(List{prefix("10.0.0.0/8")}, theirs), List{prefix("10.1.0.0/16")});
  EXPECT_TRUE(intersect(List{prefix("10.0.0.0/8")}, List{prefix("192.0.2.0/24")}).empty());
  EXPECT_TRUE(intersect(List{prefix("0.0.0.0/0")}, List{prefix("::/0")}).empty());
  EXPECT_TRUE(intersect(List{}, theirs).empty());
}

TEST(Selectors, IntersectFitsInAPayload) {
  List hosts;
  for (uint32_t i = 0; i < 400; ++i) {
    const IpAddress host = Ipv4Address::from_host(0x0a000000 + 2 * i);
    hosts.push_back({0, {}, host, host});
  }
  const List result = intersect(List{prefix("10.0.0.0/8")}, hosts);
  EXPECT_EQ(result.size(), kMaxSelectors);
  EXPECT_TRUE(within(result, hosts));
}

TEST(Selectors, OpaquePortsAreInAnyPortOnly) {
  const TrafficSelector any = prefix("10.0.0.0/8"), opaque = prefix("10.0.0.0/8", 0, kOpaque),
                        https = prefix("10.0.0.0/8", 0, {443, 443}),
                        last = prefix("10.0.0.0/8", 0, {0, 65534});
  EXPECT_EQ(intersect(List{any}, List{opaque}), List{opaque});
  EXPECT_EQ(intersect(List{opaque}, List{opaque}), List{opaque});
  EXPECT_TRUE(intersect(List{https}, List{opaque}).empty());
  EXPECT_TRUE(intersect(List{opaque}, List{last}).empty());
  EXPECT_TRUE(contains(List{any}, opaque));
  EXPECT_FALSE(contains(List{opaque}, any));
  EXPECT_FALSE(contains(List{opaque}, https));
}

TEST(Selectors, IcmpTypesAndCodesAreRanges) {
  const TrafficSelector all = prefix("10.0.0.0/8", kProtoIcmp),
                        echo = prefix("10.0.0.0/8", kProtoIcmp, {0x0800, 0x08ff}),
                        echo_code_0 = prefix("10.0.0.0/8", kProtoIcmp, {0x0800, 0x0800}),
                        replies = prefix("10.0.0.0/8", kProtoIcmp, {0x0000, 0x00ff});
  EXPECT_EQ(intersect(List{all}, List{echo}), List{echo});
  EXPECT_EQ(intersect(List{echo}, List{echo_code_0}), List{echo_code_0});
  EXPECT_TRUE(intersect(List{echo}, List{replies}).empty());
}

TEST(Selectors, WithinAndSame) {
  const List offer = {prefix("10.0.0.0/24"), prefix("10.0.2.0/24")};
  EXPECT_TRUE(within(List{prefix("10.0.2.0/25")}, offer));
  EXPECT_TRUE(within(List{}, offer));
  EXPECT_FALSE(within(List{prefix("10.0.0.0/22")}, offer));
  EXPECT_FALSE(within(List{prefix("10.0.0.0/24"), prefix("10.0.1.0/24")}, offer));
  EXPECT_TRUE(same(offer, List{prefix("10.0.2.0/24"), prefix("10.0.0.0/24")}));
  EXPECT_FALSE(same(offer, List{prefix("10.0.0.0/24")}));
  EXPECT_FALSE(same(offer, List{prefix("10.0.0.0/24"), prefix("10.0.0.0/24")}));
}

// A world of 8 addresses, 3 protocols and 6 ports: what lies in both lists, and nothing else, lies in the
// result.
struct Point {
  uint32_t host;
  uint8_t protocol;
  uint16_t port;
};
bool holds(const List& list, const Point& point) {
  return std::any_of(list.begin(), list.end(), [&](const TrafficSelector& each) {
    return each.low.v4().host() <= point.host && point.host <= each.high.v4().host() &&
           (each.protocol == 0 || each.protocol == point.protocol) && each.ports.low <= point.port &&
           point.port <= each.ports.high;
  });
}
List random_list(std::mt19937& random) {
  const auto below = [&](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
  List list;
  for (uint32_t count = below(4); count > 0; --count) {
    const uint32_t a = below(8), b = below(8), p = below(6), q = below(6);
    const PortRange ports{static_cast<uint16_t>(std::min(p, q)), static_cast<uint16_t>(std::max(p, q))};
    list.push_back({static_cast<uint8_t>(below(3)), below(2) ? PortRange{} : ports,
                    Ipv4Address::from_host(std::min(a, b)), Ipv4Address::from_host(std::max(a, b))});
  }
  return list;
}

TEST(Selectors, AgreeWithANaiveModel) {
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    const List ours = random_list(random), theirs = random_list(random), both = intersect(ours, theirs);
    for (uint32_t host = 0; host < 8; ++host)
      for (uint8_t protocol = 1; protocol < 4; ++protocol)
        for (uint16_t port = 0; port < 7; ++port) {
          const Point point{host, protocol, port};
          ASSERT_EQ(holds(both, point), holds(ours, point) && holds(theirs, point)) << "round " << round;
        }
    EXPECT_TRUE(within(both, ours) && within(both, theirs));
  }
}

// --- Prefixes ---

std::string prefixes_text(std::string_view low, std::string_view high) {
  std::string text;
  for (const IpPrefix& each : prefixes_of(selector(low, high))) text += espalier::to_text(each) + " ";
  return text;
}

TEST(Selectors, Prefixes) {
  EXPECT_EQ(prefixes_text("10.0.0.0", "10.0.2.255"), "10.0.0.0/23 10.0.2.0/24 ");
  EXPECT_EQ(prefixes_text("10.0.0.1", "10.0.0.6"), "10.0.0.1/32 10.0.0.2/31 10.0.0.4/31 10.0.0.6/32 ");
  EXPECT_EQ(prefixes_text("0.0.0.0", "255.255.255.255"), "0.0.0.0/0 ");
  EXPECT_EQ(prefixes_text("255.255.255.255", "255.255.255.255"), "255.255.255.255/32 ");
  EXPECT_EQ(prefixes_text("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "::/0 ");
  EXPECT_EQ(prefixes_text("2001:db8::1", "2001:db8::2"), "2001:db8::1/128 2001:db8::2/128 ");
  // IPv4's part of the IPv6 addresses is no IPv6 prefix.
  EXPECT_EQ(prefixes_text("::fffe:ffff:ffff", "::1:0:0:0"), "::fffe:ffff:ffff/128 ::1:0:0:0/128 ");
  EXPECT_EQ(prefixes_of(selector("0.0.0.1", "255.255.255.254")).size(), 62u);
}

TEST(Selectors, PrefixesCoverTheRangeOnce) {
  for (uint32_t low = 0; low < 32; ++low)
    for (uint32_t high = low; high < 32; ++high) {
      uint32_t next = low;
      for (const IpPrefix& each :
           prefixes_of({0, {}, Ipv4Address::from_host(low), Ipv4Address::from_host(high)})) {
        ASSERT_EQ(each.network().v4().host(), next);
        next = each.last().v4().host() + 1;
      }
      ASSERT_EQ(next, high + 1);
    }
}

// --- Text ---

TEST(Selectors, Text) {
  EXPECT_EQ(to_text(prefix("10.0.0.0/21")), "10.0.0.0/21");
  EXPECT_EQ(to_text(prefix("10.0.0.0/21", kProtoTcp, {443, 443})), "10.0.0.0/21[tcp/443]");
  EXPECT_EQ(to_text(prefix("10.0.0.1/32", kProtoUdp, {1000, 2000})), "10.0.0.1/32[udp/1000-2000]");
  EXPECT_EQ(to_text(prefix("10.0.0.0/8", kProtoGre)), "10.0.0.0/8[gre]");
  EXPECT_EQ(to_text(prefix("10.0.0.0/8", 0, {53, 53})), "10.0.0.0/8[any/53]");
  EXPECT_EQ(to_text(prefix("2001:db8::/32", kProtoTcp, kOpaque)), "2001:db8::/32[tcp/opaque]");
  EXPECT_EQ(to_text(selector("10.0.0.1", "10.0.0.9")), "10.0.0.1-10.0.0.9");
  EXPECT_EQ(to_text(prefix("10.0.0.0/8", kProtoIcmp, {0x0800, 0x08ff})), "10.0.0.0/8[icmp/8]");
  EXPECT_EQ(to_text(prefix("10.0.0.0/8", kProtoIcmp, {0x0301, 0x0301})), "10.0.0.0/8[icmp/3:1]");
  EXPECT_EQ(to_text(prefix("10.0.0.0/8", kProtoIcmp, {0x0301, 0x0304})), "10.0.0.0/8[icmp/3:1-4]");
  EXPECT_EQ(to_text(prefix("10.0.0.0/8", kProtoIcmp, {0x0300, 0x04ff})), "10.0.0.0/8[icmp/3-4]");
  EXPECT_EQ(to_text(prefix("10.0.0.0/8", kProtoIcmp, {0x0301, 0x0404})), "10.0.0.0/8[icmp/3:1-4:4]");
  EXPECT_EQ(to_text(List{prefix("10.0.0.0/8"), prefix("::/0")}), "10.0.0.0/8, ::/0");
}

TEST(Selectors, ProtocolsAreNamedAsInTheConfiguration) {
  for (unsigned number = 1; number < 256; ++number) {
    const auto protocol = static_cast<uint8_t>(number);
    EXPECT_EQ(to_text(prefix("10.0.0.0/8", protocol)), "10.0.0.0/8[" + config::protocol_name(protocol) + "]");
  }
}

}  // namespace
}  // namespace espalier::ike
