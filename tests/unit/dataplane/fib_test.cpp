// The forwarding and interface tables against naive models that walk all entries.
#include "dataplane/fib.hpp"

#include <gtest/gtest.h>
#include <rte_malloc.h>

#include <chrono>
#include <random>

#include "tests/unit/dataplane/eal_environment.hpp"

namespace espalier::dataplane {
namespace {

const auto* const kEal = testing::AddGlobalTestEnvironment(new EalEnvironment(256));

constexpr Ipv4Address ip(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  return Ipv4Address::from_host(uint32_t{a} << 24 | b << 16 | c << 8 | d);
}

Interface interface(uint16_t index, std::vector<Ipv4Prefix> addresses, uint16_t port = kNoPort,
                    uint16_t vlan = 0) {
  static const LinkState down;
  Interface i;
  i.index = InterfaceIndex{index};
  i.port = port;
  i.vlan_id = vlan;
  i.addresses = std::move(addresses);
  i.link = &down;  // routes over it match all the same
  return i;
}

// wan0 203.0.113.1/24, lan0 192.168.10.1/24 and a second address, p2p0 10.0.0.0/31, bare0 without addresses.
InterfaceTable four_interfaces() {
  std::vector<Interface> list;
  list.push_back(interface(0, {{ip(203, 0, 113, 1), 24}}));
  list.push_back(
      interface(1, {{ip(192, 168, 10, 1), 24}, {ip(192, 168, 10, 129), 25}, {ip(198, 51, 100, 7), 32}}));
  list.push_back(interface(2, {{ip(10, 0, 0, 0), 31}}));
  list.push_back(interface(3, {}));
  return InterfaceTable(std::move(list));
}

RouteRecord route(uint32_t index, RouteKind kind, Ipv4Prefix prefix, Ipv4Address via = {},
                  InterfaceIndex out = kNoInterface) {
  return {RouteIndex{index}, kind, prefix, via, out};
}

std::unique_ptr<Fib> built(std::span<const RouteRecord> routes, const InterfaceTable& interfaces) {
  Result<std::unique_ptr<Fib>> fib = Fib::build(routes, interfaces);
  if (!fib) throw std::runtime_error(fib.error().text);
  return std::move(*fib);
}

void expect(const RouteResult& found, RouteVerdict verdict, int out, Ipv4Address next_hop, RouteIndex index) {
  EXPECT_EQ(found.verdict, verdict);
  EXPECT_EQ(found.interface, out < 0 ? kNoInterface : InterfaceIndex{static_cast<uint16_t>(out)});
  if (verdict == RouteVerdict::kForward) {
    EXPECT_EQ(found.next_hop, next_hop);
  }
  EXPECT_EQ(found.route, index);
}

TEST(Fib, OwnAndBroadcastAddressesAreLocal) {
  const InterfaceTable interfaces = four_interfaces();
  const auto fib = built({}, interfaces);
  expect(fib->lookup(ip(203, 0, 113, 1)), RouteVerdict::kLocal, 0, {}, kNoRoute);
  expect(fib->lookup(ip(203, 0, 113, 255)), RouteVerdict::kLocal, 0, {}, kNoRoute);
  expect(fib->lookup(ip(198, 51, 100, 7)), RouteVerdict::kLocal, 1, {}, kNoRoute);
  expect(fib->lookup(ip(10, 0, 0, 0)), RouteVerdict::kLocal, 2, {}, kNoRoute);
  EXPECT_TRUE(interfaces.is_own_address(ip(203, 0, 113, 1)));
  EXPECT_FALSE(interfaces.is_own_address(ip(203, 0, 113, 255)));
}

TEST(Fib, ConnectedNetworks) {
  const InterfaceTable interfaces = four_interfaces();
  const auto fib = built({}, interfaces);
  expect(fib->lookup(ip(203, 0, 113, 9)), RouteVerdict::kForward, 0, ip(203, 0, 113, 9), kNoRoute);
  expect(fib->lookup(ip(203, 0, 113, 0)), RouteVerdict::kForward, 0, ip(203, 0, 113, 0), kNoRoute);
  expect(fib->lookup(ip(10, 0, 0, 1)), RouteVerdict::kForward, 2, ip(10, 0, 0, 1), kNoRoute);
  expect(fib->lookup(ip(198, 51, 100, 8)), RouteVerdict::kNoRoute, -1, {}, kNoRoute);
  EXPECT_EQ(interfaces.connected_to(ip(192, 168, 10, 200)), InterfaceIndex{1});
  EXPECT_EQ(interfaces.connected_to(ip(8, 8, 8, 8)), kNoInterface);
}

TEST(Fib, ConfiguredRoutes) {
  const InterfaceTable interfaces = four_interfaces();
  const std::array routes{
      route(0, RouteKind::kNextHop, {ip(0, 0, 0, 0), 0}, ip(203, 0, 113, 254)),
      route(1, RouteKind::kInterface, {ip(172, 16, 0, 0), 16}, {}, InterfaceIndex{3}),
      route(2, RouteKind::kBlackhole, {ip(172, 16, 1, 0), 24}),
      route(3, RouteKind::kUnreachable, {ip(172, 16, 2, 0), 24}),
      route(4, RouteKind::kProhibit, {ip(172, 16, 3, 9), 24}),  // host bits are no obstacle
      route(5, RouteKind::kNextHop, {ip(172, 17, 0, 0), 16}, ip(9, 9, 9, 9), InterfaceIndex{3}),  // on link
  };
  const auto fib = built(routes, interfaces);
  expect(fib->lookup(ip(8, 8, 8, 8)), RouteVerdict::kForward, 0, ip(203, 0, 113, 254), RouteIndex{0});
  expect(fib->lookup(ip(172, 16, 9, 9)), RouteVerdict::kForward, 3, ip(172, 16, 9, 9), RouteIndex{1});
  expect(fib->lookup(ip(172, 16, 1, 1)), RouteVerdict::kBlackhole, -1, {}, RouteIndex{2});
  expect(fib->lookup(ip(172, 16, 2, 1)), RouteVerdict::kUnreachable, -1, {}, RouteIndex{3});
  expect(fib->lookup(ip(172, 16, 3, 1)), RouteVerdict::kProhibit, -1, {}, RouteIndex{4});
  expect(fib->lookup(ip(172, 17, 3, 1)), RouteVerdict::kForward, 3, ip(9, 9, 9, 9), RouteIndex{5});
}

TEST(Fib, PrecedenceAmongEqualPrefixes) {
  const InterfaceTable interfaces = four_interfaces();
  const std::array routes{
      route(0, RouteKind::kBlackhole, {ip(203, 0, 113, 0), 24}),    // a network
      route(1, RouteKind::kBlackhole, {ip(203, 0, 113, 1), 32}),    // an own address
      route(2, RouteKind::kBlackhole, {ip(203, 0, 113, 255), 32}),  // a broadcast address
      route(3, RouteKind::kBlackhole, {ip(172, 16, 0, 0), 12}),
      route(4, RouteKind::kProhibit, {ip(172, 16, 0, 0), 12}),
  };
  const auto fib = built(routes, interfaces);
  expect(fib->lookup(ip(203, 0, 113, 9)), RouteVerdict::kForward, 0, ip(203, 0, 113, 9), kNoRoute);
  expect(fib->lookup(ip(203, 0, 113, 1)), RouteVerdict::kLocal, 0, {}, kNoRoute);
  expect(fib->lookup(ip(203, 0, 113, 255)), RouteVerdict::kLocal, 0, {}, kNoRoute);
  expect(fib->lookup(ip(172, 20, 0, 0)), RouteVerdict::kBlackhole, -1, {}, RouteIndex{3});
  // Own addresses, broadcasts (192.168.10.255 is that of two networks), networks, and one of the routes.
  EXPECT_EQ(fib->entries().size(), 5u + 2 + 4 + 1);
}

TEST(Fib, RoutesThatLeadNowhereAreRefused) {
  const InterfaceTable interfaces = four_interfaces();
  const auto refused = [&](const RouteRecord& r, std::string_view reason) {
    const auto fib = Fib::build(std::span(&r, 1), interfaces);
    ASSERT_FALSE(fib);
    EXPECT_NE(fib.error().text.find(reason), std::string::npos) << fib.error().text;
  };
  const Ipv4Prefix p{ip(172, 16, 0, 0), 12};
  refused(route(0, RouteKind::kNextHop, p, ip(8, 8, 8, 8)), "in no interface's network");
  refused(route(0, RouteKind::kNextHop, p, ip(203, 0, 113, 1)), "an address of the gateway itself");
  refused(route(0, RouteKind::kNextHop, p), "missing");
  refused(route(0, RouteKind::kInterface, p, {}, InterfaceIndex{4}), "no interface number 4");
  refused(route(0, RouteKind::kInterface, p), "names no interface");
}

// Longest prefix among all entries, the first one among equals.
const RouteEntry* naive_lookup(std::span<const RouteEntry> entries, Ipv4Address a) {
  const RouteEntry* best = nullptr;
  for (const RouteEntry& e : entries)
    if (e.prefix.contains(a) && (best == nullptr || e.prefix.length > best->prefix.length)) best = &e;
  return best;
}

TEST(Fib, AgreesWithTheModelOnRandomRoutes) {
  std::mt19937 random(7);
  const InterfaceTable interfaces = four_interfaces();
  for (int table = 0; table < 20; ++table) {
    std::vector<RouteRecord> routes;
    std::vector<RouteEntry> model;
    for (uint32_t i = 0; i < 500; ++i) {
      // Few distinct bits, so that prefixes nest and repeat; every length, 0 included.
      const Ipv4Prefix prefix{Ipv4Address::from_host((random() & 0xf0f0f0f0)),
                              static_cast<uint8_t>(random() % 33)};
      routes.push_back(
          route(i, RouteKind::kNextHop, prefix, Ipv4Address::from_host(0xcb007100 + 2 + i % 200)));
      model.push_back({prefix, RouteVerdict::kForward, InterfaceIndex{0}, routes.back().via, RouteIndex{i}});
    }
    const auto fib = built(routes, InterfaceTable({interface(0, {{ip(203, 0, 113, 1), 24}})}));
    for (int i = 0; i < 5000; ++i) {
      const Ipv4Address a = Ipv4Address::from_host(random() & (i % 2 ? 0xf0f0f0f0 : 0xffffffff));
      if (Ipv4Prefix{ip(203, 0, 113, 0), 24}.contains(a)) continue;
      const RouteEntry* const expected = naive_lookup(model, a);
      const RouteResult found = fib->lookup(a);
      ASSERT_EQ(found.verdict, expected ? RouteVerdict::kForward : RouteVerdict::kNoRoute);
      ASSERT_EQ(found.route, expected ? expected->route : kNoRoute);
      if (expected) {
        ASSERT_EQ(found.next_hop, expected->via);
      }
    }
  }
}

size_t heap_bytes() {
  rte_malloc_socket_stats stats;
  rte_malloc_get_socket_stats(0, &stats);
  return stats.heap_allocsz_bytes;
}

// Tables overlap in life (the next one is built while workers read the last one), and give their memory back.
TEST(Fib, ManyTablesAtOnceAndNoMemoryIsLost) {
  const InterfaceTable interfaces = four_interfaces();
  { built({}, interfaces); }
  const size_t before = heap_bytes();
  {
    std::vector<std::unique_ptr<Fib>> tables;
    for (int i = 0; i < 50; ++i) tables.push_back(built({}, interfaces));
    EXPECT_GT(heap_bytes(), before);
  }
  EXPECT_EQ(heap_bytes(), before);
  const RouteRecord wrong = route(0, RouteKind::kNextHop, {}, ip(8, 8, 8, 8));
  EXPECT_FALSE(Fib::build(std::span(&wrong, 1), interfaces));
  EXPECT_EQ(heap_bytes(), before);
}

TEST(Fib, TooLittleMemoryIsAnError) {
  const InterfaceTable interfaces = four_interfaces();
  const std::vector<RouteRecord> routes(3'000'000, route(0, RouteKind::kBlackhole, {ip(172, 16, 0, 0), 12}));
  const auto fib = Fib::build(routes, interfaces);
  ASSERT_FALSE(fib);
  EXPECT_NE(fib.error().text.find("no memory"), std::string::npos) << fib.error().text;
}

TEST(Fib, BuildAndLookupTimes) {
  using Clock = std::chrono::steady_clock;
  std::mt19937 random(7);
  std::vector<RouteRecord> routes;
  for (uint32_t i = 0; i < 10000; ++i)
    routes.push_back(
        route(i, RouteKind::kNextHop, {Ipv4Address::from_host(random()), 24}, ip(203, 0, 113, 2)));
  const InterfaceTable interfaces = four_interfaces();
  const auto start = Clock::now();
  const auto fib = built(routes, interfaces);
  const auto middle = Clock::now();
  uint64_t sum = 0;
  constexpr int kLookups = 200000;
  for (int i = 0; i < kLookups; ++i)
    sum += fib->lookup(routes[random() % routes.size()].prefix.address).route.value;
  const auto end = Clock::now();
  EXPECT_GT(sum, 0u);
  const std::chrono::duration<double, std::milli> build = middle - start;
  const std::chrono::duration<double, std::nano> lookups = end - middle;
  std::printf("10000 routes: built in %.1f ms, %.0f ns a lookup\n", build.count(),
              lookups.count() / kLookups);
}

TEST(InterfaceTable, FramesFindTheirInterface) {
  std::vector<Interface> list;
  list.push_back(interface(0, {}, 3));
  list.push_back(interface(1, {}, 3, 201));
  list.push_back(interface(2, {}, 3, 4094));
  list.push_back(interface(3, {}, 5, 201));  // VLANs only
  list.push_back(interface(4, {{ip(192, 0, 2, 1), 32}}));
  const InterfaceTable table(std::move(list));
  EXPECT_EQ(table.by_wire(3, 0), InterfaceIndex{0});
  EXPECT_EQ(table.by_wire(3, 201), InterfaceIndex{1});
  EXPECT_EQ(table.by_wire(3, 4094), InterfaceIndex{2});
  EXPECT_EQ(table.by_wire(3, 202), kNoInterface);
  EXPECT_EQ(table.by_wire(5, 0), kNoInterface);
  EXPECT_EQ(table.by_wire(5, 201), InterfaceIndex{3});
  EXPECT_EQ(table.by_wire(4, 201), kNoInterface);
  EXPECT_EQ(table.by_wire(kMaxPorts - 1, 0), kNoInterface);
}

TEST(InterfaceTable, ConnectedToAgreesWithTheModel) {
  std::mt19937 random(3);
  std::vector<Interface> list;
  for (uint16_t i = 0; i < 40; ++i)
    list.push_back(
        interface(i, {{Ipv4Address::from_host(random() & 0xff), static_cast<uint8_t>(24 + random() % 9)}}));
  const InterfaceTable table(list);
  for (uint32_t a = 0; a < 512; ++a) {
    const Ipv4Address address = Ipv4Address::from_host(a);
    int longest = -1;
    InterfaceIndex expected = kNoInterface;
    bool own = false;
    for (const Interface& i : list) {
      own |= i.addresses[0].address == address;
      if (i.addresses[0].contains(address) && i.addresses[0].length > longest) {
        longest = i.addresses[0].length;
        expected = i.index;
      }
    }
    EXPECT_EQ(table.connected_to(address), expected);
    EXPECT_EQ(table.is_own_address(address), own);
  }
}

}  // namespace
}  // namespace espalier::dataplane
