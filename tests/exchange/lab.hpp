// Two gateways, "left" and "right", with one connection between them, and what every test asks of such a
// pair.
#pragma once

#include <gtest/gtest.h>

#include "tests/exchange/wire.hpp"

namespace espalier::ike::exchange {

inline constexpr IpAddress kLeft = Ipv4Address::from_host(0xc0000201);   // 192.0.2.1
inline constexpr IpAddress kRight = Ipv4Address::from_host(0xc6336402);  // 198.51.100.2

IkeSuite ike_suite(uint16_t group = 31);
EspSuite esp_suite(uint16_t group = 31);

// One side's configuration of a connection with `children` child SAs ("tunnel-0", ...), by pre-shared key.
// Tests change what they are about.
struct PeerConfig {
  bool left = true;
  ConnectionType type = ConnectionType::kNone;
  size_t children = 1;
  std::string secret = "correct horse battery staple";
  std::function<void(ConnectionConfig&)> change{};
};
Configuration configuration_of(const PeerConfig& peer);

class Lab : public ::testing::Test {
 protected:
  explicit Lab(uint64_t seed = 1);

  // Both sides' configurations; `change` is applied to both.
  void configure(ConnectionType left_type = ConnectionType::kNone,
                 ConnectionType right_type = ConnectionType::kNone);
  // Brings the connection up from the left; fails the test if it does not come.
  void bring_up();
  void settle(milliseconds time = seconds{20}) { net.run(time); }

  // One IKE SA, one child per configured one, on both sides; what is installed are pairs with equal keys, and
  // nothing else is.
  void expect_settled(size_t children = 1);
  void expect_pairs();       // every outbound SA of a side has the other side's inbound, with equal keys
  void expect_no_orphans();  // every SA installed belongs to a child that is reported
  void expect_down();
  // Whether traffic passes at this moment from one side: the outbound SA in use is known to the other.
  bool carries(const Side& from, const Side& to, size_t child = 0) const;
  std::string story() const { return "\n" + left.log_text() + right.log_text(); }

  Net net;
  Side& left;
  Side& right;
  PeerConfig left_config{.left = true}, right_config{.left = false};
};

Reqid reqid_of(size_t child);

}  // namespace espalier::ike::exchange
