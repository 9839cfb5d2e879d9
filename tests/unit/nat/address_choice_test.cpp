#include "nat/address_choice.hpp"

#include <fstream>
#include <set>
#include <sstream>

#include "nat/rules.hpp"
#include "tests/unit/nat/nat_testing.hpp"

namespace espalier::nat {
namespace {

// A line of data/linux_addresses.txt, a flow to which Linux gave an address.
struct Recorded {
  NatRuleRecord rule;
  Tuple packet, sent;
  std::string line;
};

std::optional<Recorded> parse(const std::string& line) {
  if (line.starts_with('#')) return {};
  std::istringstream in(line);
  std::string kind, end, low, last, source, destination, chosen;
  in >> kind >> end >> low >> last >> source >> destination >> chosen;
  Recorded r{.rule = {},
             .packet = udp(ip(source.c_str()), 4000, ip(destination.c_str()), 5000),
             .sent = {},
             .line = line};
  r.rule.kind = end == "source" ? NatKind::kSource : NatKind::kDestination;
  r.rule.family = r.packet.family();
  r.rule.address_low = ip(low.c_str());
  if (kind == "prefix") {
    r.rule.translation = NatTranslation::kPrefix;
    r.rule.prefix_length = IpPrefix::of(ip(low.c_str()), static_cast<uint8_t>(std::stoi(last))).length;
  } else {
    r.rule.translation = NatTranslation::kRange;
    r.rule.address_high = ip(last.c_str());
  }
  r.sent = r.packet;
  (end == "source" ? r.sent.source : r.sent.destination) = ip(chosen.c_str());
  return r;
}

// In the recorded order: where a source socket talks to another host it keeps its address.
TEST(AddressChoice, IsThatOfLinux) {
  const auto table = make_table(1000);
  Random random{1};
  const TupleSearch search{.sessions = *table, .random = random, .worker = WorkerId(0), .now_ms = 1};
  std::ifstream file(NAT_TEST_DATA "/linux_addresses.txt");
  int flows = 0;
  for (std::string line; std::getline(file, line);) {
    const auto r = parse(line);
    if (!r) continue;
    PendingSession session = pending(r->packet);
    if (r->rule.kind == NatKind::kDestination) translate_destination(&r->rule, session, search);
    const NatRuleRecord* const source_rule = r->rule.kind == NatKind::kSource ? &r->rule : nullptr;
    ASSERT_EQ(translate_source(source_rule, {}, session, search), DropReason::kNone);
    ASSERT_TRUE(table->confirm(session, WorkerId(0), 1));
    EXPECT_EQ(session.packet_tuple(), r->sent) << line;
    ++flows;
  }
  EXPECT_EQ(flows, 75);
}

TEST(AddressChoice, LeavesNoRangeWhateverItsEnds) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 20000; ++round) {
    const bool v4 = round % 2;
    const auto any = [&]() -> IpAddress {
      if (v4) return Ipv4Address::from_host(static_cast<uint32_t>(random()));
      return IpAddress::from_host(uint128{0x2001'0db8} << 96 | uint128{random() >> 32} << (random() % 64) |
                                  random() >> (random() % 64));
    };
    const IpAddress a = any(), b = any();
    const AddressRange range{std::min(a, b), std::max(a, b)};
    Tuple packet = udp(any(), 1, any(), 2);
    choose_address(range, packet, round % 3 ? &Tuple::source : &Tuple::destination);
    const IpAddress chosen = round % 3 ? packet.source : packet.destination;
    ASSERT_TRUE(range.contains(chosen));
    ASSERT_EQ(chosen.is_v4(), v4);
  }
}

// Of a range that crosses a 32-bit word too: there Linux leaves it.
TEST(AddressChoice, SpreadsHostsOverASmallRange) {
  const AddressRange range{ip("2001:db8:0:0:0:0:ffff:fffe"), ip("2001:db8::1:0:0:5")};
  std::set<IpAddress> used;
  for (uint32_t n = 0; n < 500; ++n) {
    Tuple packet = udp(IpAddress::from_host(ip("fd00::").host() + n), 1, ip("2001:db8:9::9"), 2);
    choose_address(range, packet, &Tuple::source);
    used.insert(packet.source);
  }
  EXPECT_GT(used.size(), 100u);
}

}  // namespace
}  // namespace espalier::nat
