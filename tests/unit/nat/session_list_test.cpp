// Sessions as they are told to operators: all of them, those that a filter asks for, their number.
#include <set>

#include "tests/unit/nat/session_testing.hpp"

namespace espalier::nat {
namespace {

uint64_t count(const SessionTable& table, const message::SessionFilter& filter) {
  uint64_t sum = 0, cursor = 0;
  do sum += table.count(cursor, filter);
  while (cursor != 0);
  return sum;
}

message::SessionFilter prefix(const char* address, uint8_t length) {
  message::SessionFilter filter;
  filter.has_prefix = 1;
  filter.prefix = IpPrefix::of(ip(address), length);
  return filter;
}

message::SessionFilter port(uint16_t number, uint8_t protocol = kProtoAny) {
  message::SessionFilter filter;
  filter.port = number;
  filter.protocol = protocol;
  return filter;
}

message::SessionFilter of_rule(uint32_t number) {
  message::SessionFilter filter;
  filter.rule = number;
  return filter;
}

TEST(SessionList, TellsEverySessionOnce) {
  const auto table = make_table(100, 2);
  std::set<uint16_t> ports;
  for (uint32_t n = 0; n < 60; ++n) confirmed(*table, pending(numbered_flow(n)), kNow, WorkerId(n % 2));
  for (const auto& row : all_rows(*table)) {
    EXPECT_TRUE(ports.insert(row.original.source_port.host()).second);
    EXPECT_EQ(row.reply, *inverse(row.original));
    EXPECT_EQ(row.owner.value, row.original.source_port.host() % 2);
    EXPECT_EQ(row.expires_s, 30u);
  }
  EXPECT_EQ(ports.size(), 60u);
}

TEST(SessionList, TellsRulesAndCounters) {
  const auto table = make_table(100);
  const SessionRef ref = confirmed(*table, translated_session());
  table->update(reply_ref(ref), {.bytes = 60}, kNow);
  table->update(ref, {.bytes = 70}, kNow);
  const auto row = all_rows(*table).at(0);
  EXPECT_EQ(row.source_rule, 100u);
  EXPECT_EQ(row.destination_rule, 0u);
  EXPECT_EQ(row.packets[0], 2u);
  EXPECT_EQ(row.bytes[0], 170u);
  EXPECT_EQ(row.packets[1], 1u);
  EXPECT_EQ(row.bytes[1], 60u);
  EXPECT_TRUE(row.seen_reply);
  EXPECT_FALSE(row.assured);
}

// A translated flow, a ping, an IPv6 flow and GRE.
struct Filters : testing::Test {
  Filters() {
    PendingSession translated = translated_session();
    translated.destination_rule_number = 7;
    confirmed(*table, translated);
    confirmed(*table, pending(echo(ip("10.0.0.2"), ip("198.51.100.9"), 53)));
    confirmed(*table, pending(tuple(kProtoTcp, ip("2001:db8::1"), 1000, ip("2001:db8::2"), 443)));
    confirmed(*table, pending(tuple(kProtoGre, ip("10.0.0.3"), 0, ip("192.0.2.1"), 0)));
  }
  // The last byte of the client of each session that passes, in order.
  std::vector<int> clients(const message::SessionFilter& filter) {
    std::vector<int> found;
    for (const auto& row : all_rows(*table, filter))
      found.push_back(static_cast<int>(row.original.source.host() & 0xff));
    std::ranges::sort(found);
    EXPECT_EQ(count(*table, filter), found.size());
    return found;
  }
  using Clients = std::vector<int>;
  std::unique_ptr<SessionTable> table = make_table(100);
};

TEST_F(Filters, AnEmptyOneTakesAll) {
  EXPECT_EQ(clients({}), (Clients{1, 1, 2, 3}));
}

TEST_F(Filters, AddressesOfEitherEndAndDirection) {
  EXPECT_EQ(clients(prefix("10.0.0.0", 30)), (Clients{1, 2, 3}));
  EXPECT_EQ(clients(prefix("10.0.0.2", 32)), (Clients{2}));
  EXPECT_EQ(clients(prefix("198.51.100.0", 24)), (Clients{1, 2}));
  EXPECT_EQ(clients(prefix("203.0.113.1", 32)), (Clients{1})) << "in the reply tuple only";
  EXPECT_EQ(clients(prefix("2001:db8::", 32)), (Clients{1}));
  EXPECT_EQ(clients(prefix("::", 0)), (Clients{1})) << "no IPv4 session";
  EXPECT_EQ(clients(prefix("172.16.0.0", 12)), Clients{});
}

TEST_F(Filters, PortsAndIdentifiers) {
  EXPECT_EQ(clients(port(2000)), (Clients{1})) << "the translated port";
  EXPECT_EQ(clients(port(53)), (Clients{1, 2})) << "a UDP port and a ping's identifier";
  EXPECT_EQ(clients(port(53, kProtoUdp)), (Clients{1}));
  EXPECT_EQ(clients(port(kIcmpEcho << 8)), Clients{}) << "an ICMP type is no port";
  EXPECT_EQ(clients(port(1000, kProtoTcp)), (Clients{1}));
  EXPECT_EQ(clients(port(0, kProtoGre)), (Clients{3}));
}

// "Either direction's tuple has all that is set": not one half from each.
TEST_F(Filters, ConditionsMeetInOneTuple) {
  auto filter = prefix("203.0.113.1", 32);
  filter.port = 2000;
  EXPECT_EQ(clients(filter), (Clients{1}));
  filter.port = 1000;
  EXPECT_EQ(clients(filter), Clients{});
}

TEST_F(Filters, RulesOfBothKinds) {
  EXPECT_EQ(clients(of_rule(100)), (Clients{1}));
  EXPECT_EQ(clients(of_rule(7)), (Clients{1}));
  EXPECT_EQ(clients(of_rule(8)), Clients{});
}

TEST(SessionList, ACallLooksAtABoundedNumberOfPlaces) {
  constexpr uint32_t kSessions = 40000;
  const auto table = make_table(50000);
  for (uint32_t n = 0; n < kSessions; ++n) confirmed(*table, pending(numbered_flow(n)));
  std::vector<message::SessionRow> rows(kSessions);
  uint64_t cursor = 0;
  EXPECT_LE(table->list(cursor, rows, kNow), SessionTable::kMostLooks);
  EXPECT_NE(cursor, 0u);
  cursor = 0;
  EXPECT_LE(table->count(cursor, port(53)), SessionTable::kMostLooks);
  EXPECT_NE(cursor, 0u);
  EXPECT_EQ(count(*table, port(53)), kSessions);
  EXPECT_EQ(all_rows(*table, {}, 20000).size(), kSessions);
  cursor = 0;
  EXPECT_EQ(table->count(cursor, {}), kSessions) << "without a filter at once";
  EXPECT_EQ(cursor, 0u);
}

// The end is behind the last place that was ever used, not behind the last that there is.
TEST(SessionList, AFewSessionsOfALargeTableAreToldAtOnce) {
  const auto table = make_table(200000);
  for (uint32_t n = 0; n < 10; ++n) confirmed(*table, pending(numbered_flow(n)));
  std::vector<message::SessionRow> rows(20);
  uint64_t cursor = 0;
  EXPECT_EQ(table->list(cursor, rows, kNow), 10u);
  EXPECT_EQ(cursor, 0u);
}

TEST(SessionList, AnyCursorIsSafe) {
  const auto table = make_table(100);
  confirmed(*table, translated_session());
  std::vector<message::SessionRow> rows(20);
  for (uint64_t cursor :
       {uint64_t{100}, uint64_t{1000000}, ~uint64_t{0}, uint64_t{1} << 32, uint64_t{0xffffffff}}) {
    uint64_t moved = cursor;
    EXPECT_LE(table->list(moved, rows, kNow), 1u) << cursor;
    EXPECT_EQ(moved, 0u) << cursor;
  }
}

}  // namespace
}  // namespace espalier::nat
