#include "tests/exchange/lab.hpp"

#include <fmt/format.h>

namespace espalier::ike::exchange {
namespace {

constexpr auto kSecretName = "the two";

ByteView bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

Identity fqdn(const std::string& name) {
  return {IdType::kFqdn, Bytes(name.begin(), name.end())};
}

SelectorSide side_of(bool left, size_t child) {
  const auto host = static_cast<uint32_t>((left ? 0x0a010000 : 0x0a020000) | child << 8);
  SelectorSide side;
  side.prefixes = {IpPrefix::of(Ipv4Address::from_host(host), 24)};
  return side;
}

bool same_keys(const SaRecord& a, const SaRecord& b) {
  return std::ranges::equal(a.key, b.key) && std::ranges::equal(a.salt, b.salt) &&
         std::ranges::equal(a.auth_key, b.auth_key) && a.algorithm == b.algorithm &&
         ((a.flags ^ b.flags) & kSaEsn) == 0;
}

}  // namespace

Reqid reqid_of(size_t child) {
  return Reqid{static_cast<uint32_t>(1000 + child)};
}

IkeSuite ike_suite(uint16_t group) {
  return {.protection = {crypto::Cipher::kAesGcm, crypto::Integrity::kNone, 32, 16},
          .prf = crypto::Prf::kHmacSha256,
          .group = group};
}

EspSuite esp_suite(uint16_t group) {
  return {.algorithm = {EspCipher::kAesGcm, EspIntegrity::kNone, 16, 16},
          .group = group,
          .esn = EsnChoice::kBoth};
}

Configuration configuration_of(const PeerConfig& peer) {
  Configuration configuration;
  ConnectionConfig connection;
  connection.name = peer.left ? "right" : "left";
  connection.type = peer.type;
  connection.local = peer.left ? kLeft : kRight;
  connection.remotes = {peer.left ? "198.51.100.2" : "192.0.2.1"};
  connection.local_id = fqdn(peer.left ? "left.example" : "right.example");
  connection.remote_id = fqdn(peer.left ? "right.example" : "left.example");
  connection.suites = {ike_suite()};
  for (size_t i = 0; i < peer.children; ++i) {
    ChildConfig child;
    child.name = fmt::format("tunnel-{}", i);
    child.suites = {esp_suite()};
    child.local = side_of(peer.left, i);
    child.remote = side_of(!peer.left, i);
    child.reqid = reqid_of(i);
    connection.children.push_back(std::move(child));
  }
  if (peer.change) peer.change(connection);
  configuration.connections.push_back(std::move(connection));
  PreSharedKey key{
      kSecretName, {fqdn("left.example"), fqdn("right.example")}, crypto::Secret(bytes_of(peer.secret))};
  configuration.keys.push_back(std::move(key));
  return configuration;
}

Lab::Lab(uint64_t seed) : net(seed), left(net.add("left")), right(net.add("right")) {
  net.owns(kLeft, left);
  net.owns(kRight, right);
}

void Lab::configure(ConnectionType left_type, ConnectionType right_type) {
  left_config.type = left_type;
  right_config.type = right_type;
  left.make_configuration = [this] { return configuration_of(left_config); };
  right.make_configuration = [this] { return configuration_of(right_config); };
  right.configure(right.make_configuration());
  left.configure(left.make_configuration());
}

void Lab::bring_up() {
  ASSERT_TRUE(left.command(Initiate{"right", ""}));
  const size_t wanted = left_config.children;
  const auto up = [&] {
    return left.live_children().size() >= wanted && right.live_children().size() >= wanted;
  };
  ASSERT_TRUE(net.run_until(up, seconds{300})) << story();
  net.run(milliseconds{100});
}

void Lab::expect_pairs() {
  for (const Side* side : {&left, &right}) {
    const Side& other = side == &left ? right : left;
    for (const auto& [key, installed] : side->sas()) {
      const SaRecord& record = installed.record;
      if (record.direction != Direction::kOut) continue;
      const auto pair = other.sas().find({Direction::kIn, record.spi.value, record.destination});
      ASSERT_NE(pair, other.sas().end()) << side->name << " sends into nothing" << story();
      EXPECT_TRUE(same_keys(record, pair->second.record)) << story();
      EXPECT_EQ(record.mode, pair->second.record.mode);
    }
  }
}

void Lab::expect_no_orphans() {
  for (const Side* side : {&left, &right}) {
    std::set<uint32_t> in, out;
    for (const IkeSaReport& report : side->core().ike_sas(net.now))
      for (const ChildReport& child : report.children) {
        in.insert(child.spi_in.value);
        out.insert(child.spi_out.value);
      }
    for (const auto& [key, installed] : side->sas()) {
      const bool known =
          (installed.record.direction == Direction::kIn ? in : out).contains(installed.record.spi.value);
      EXPECT_TRUE(known) << side->name << " keeps an SA that belongs to nothing" << story();
    }
  }
}

void Lab::expect_settled(size_t children) {
  for (const Side* side : {&left, &right}) {
    EXPECT_EQ(side->core().ike_sas(net.now).size(), 1u) << side->name << story();
    EXPECT_EQ(side->live_children().size(), children) << side->name << story();
    EXPECT_EQ(side->sas().size(), 2 * children) << side->name << story();
    EXPECT_EQ(side->states().size(), 1u) << side->name << story();
  }
  expect_pairs();
  expect_no_orphans();
  for (size_t i = 0; i < children; ++i) {
    EXPECT_TRUE(carries(left, right, i)) << story();
    EXPECT_TRUE(carries(right, left, i)) << story();
  }
}

void Lab::expect_down() {
  for (const Side* side : {&left, &right}) {
    EXPECT_TRUE(side->core().ike_sas(net.now).empty()) << side->name << story();
    EXPECT_TRUE(side->sas().empty()) << side->name << story();
    EXPECT_TRUE(side->states().empty()) << side->name << story();
  }
}

bool Lab::carries(const Side& from, const Side& to, size_t child) const {
  const auto newest = from.outbound(reqid_of(child));
  if (newest.empty()) return false;
  const SaRecord& record = newest.front()->record;
  const auto pair = to.sas().find({Direction::kIn, record.spi.value, record.destination});
  return pair != to.sas().end() && same_keys(record, pair->second.record);
}

}  // namespace espalier::ike::exchange
