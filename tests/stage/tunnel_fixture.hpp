// The whole gateway between two hosts, dual-stack, with whatever tunnels a test configures; the other end of
// the tunnels is the test, with OpenSSL's half of the keys (tests/support/esp_codec.hpp).
//
//   192.168.10.45, 2001:db8:a::45  -- lan0 [gateway] wan0 --  203.0.113.2, 2001:db8:ff::2 (the peer)
//   behind the peer: 10.10.10.55, 2001:db8:b::55
// The gateway is 192.168.10.1, 2001:db8:a::1, 203.0.113.1, 2001:db8:ff::1. The host path is on; what the host
// gets and sends is the test's.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>

#include "tests/support/ip_view.hpp"
#include "tests/support/packet_builder.hpp"
#include "tests/support/testbed.hpp"

namespace espalier::test {

enum class Layer : uint8_t { kIpv4, kIpv6 };  // the family of a header
inline constexpr Layer kLayers[] = {Layer::kIpv4, Layer::kIpv6};

// An ESP suite by its keywords, and what RFC 4303 and the suite's own RFC say about its shape.
struct Suite {
  const char* encryption;
  const char* hash;  // null: AEAD
  int truncation;    // bits, 0: the default
  EspCodec codec;
  EspHash hash_kind;
  size_t key_bytes;  // with the salt
  size_t hash_key_bytes;
  size_t icv_bytes;
  size_t align_bytes;

  // The key that a state gets which `seed` tells from others.
  EspKey key(uint32_t spi, uint8_t seed) const;
  // encryption, key ... of that state, in the configuration.
  std::string keywords(uint8_t seed) const;
  // Bytes of an ESP packet from the SPI to the ICV, around a payload.
  size_t esp_bytes(size_t payload_bytes) const;
};
const std::vector<Suite>& suites();
inline constexpr size_t kGcm128 = 0;  // AES-128-GCM with 16 bytes of ICV in suites()
inline const Suite& gcm() {
  return suites()[kGcm128];
}

// Where something is in a configuration; empty parts are left out.
struct Configured {
  std::string interfaces = {}, routes = {}, states = {}, policies = {}, wan = {}, lan = {};
  int wan_mtu = 1500;
  const char* sessions = "auto";
};

class TunnelTest : public testing::Test {
 protected:
  void SetUp() override;
  void apply(const Configured& parts);

  // Hands IP packets over and runs the gateway until nothing is under way.
  void from_lan(const Bytes& packet) { inject("lan0", packet); }
  void from_wan(const Bytes& packet) { inject("wan0", packet); }
  void from_host(const Bytes& packet);
  // The IP packets that left since the last call.
  std::vector<Bytes> to_lan() { return sent("lan0"); }
  std::vector<Bytes> to_wan() { return sent("wan0"); }
  std::vector<Bytes> to_host() { return bed_->take_to_host(); }
  // What the gateway says would become of IP packets that came in by lan0 or wan0, one after the other, or
  // that its host sent ("local").
  Rehearsed rehearse(std::string_view interface, const std::vector<Bytes>& packets);
  // The one packet of such a list; an empty one, and a failed test, if there are more or fewer.
  static Bytes only(const std::vector<Bytes>& packets);

  uint64_t drops(DropReason reason) const { return bed_->drops()[static_cast<size_t>(reason)]; }
  // That `reason` is counted once for what `provoke` does, and nothing leaves.
  template <class Provoke>
  void expect_drop(DropReason reason, Provoke provoke) {
    const uint64_t before = drops(reason);
    provoke();
    EXPECT_EQ(drops(reason), before + 1) << info(reason).name;
    EXPECT_EQ(to_lan().size(), 0u);
    EXPECT_EQ(to_wan().size(), 0u);
  }

  TestbedOptions options_;  // of the bed that SetUp() makes; a test may change them and call it once more
  std::unique_ptr<Testbed> bed_;

 private:
  static Bytes frame(std::string_view interface, const Bytes& packet);
  void inject(std::string_view interface, const Bytes& packet);
  std::vector<Bytes> sent(std::string_view interface);
};

// --- Packets ---

const char* peer_address(Layer layer);
const char* gateway_address(Layer layer);

// A UDP datagram between the two hosts, `bytes` long in all: outwards, or back.
Bytes outbound(Layer layer, size_t bytes, uint8_t hop_limit = 64);
Bytes inbound(Layer layer, size_t bytes, uint8_t hop_limit = 64);
// The same between the gateway and its peer.
Bytes from_gateway(Layer layer, size_t bytes);
Bytes from_peer(Layer layer, size_t bytes);
Bytes with_df(Bytes packet);  // IPv4; IPv6 stays as it is

// An IP packet of the peer's to the gateway.
Bytes peer_packet(Layer layer, uint8_t protocol, const Bytes& payload);
Bytes udp_of(uint16_t source, uint16_t destination, const Bytes& payload);  // header without a checksum

struct Outer {
  Layer layer = Layer::kIpv4;
  bool encapsulated = false;  // in UDP, port 4500 to 4500
};
inline constexpr Outer kPlain{Layer::kIpv4, false}, kInUdp{Layer::kIpv4, true};
size_t outer_bytes(const Outer& outer);
size_t header_bytes(Layer layer);

// What the peer sends: tunnel mode around `inner`.
Bytes sealed_tunnel(const EspKey& key, uint64_t sequence, const Outer& outer, const Bytes& inner);
// Transport mode: `packet` with ESP between its header and the rest.
Bytes sealed_transport(const EspKey& key, uint64_t sequence, const Outer& outer, const Bytes& packet);

// Opens what the gateway sent, and fails the test where a field of the outer headers is not as the RFCs want
// it. `high`: of the sequence number.
OpenedEsp open(const EspKey& key, const Outer& outer, const Bytes& packet, uint32_t high = 0);
// The packet that is inside of transport mode ESP: with the outer header, as it was before.
Bytes unwrapped_transport(const OpenedEsp& opened, const Bytes& packet);

// --- Configuration ---

std::string state(uint32_t spi, std::string_view direction, const char* source, const char* destination,
                  const std::string& keywords, std::string_view more = {});
std::string policy(std::string_view direction, std::string_view source, std::string_view destination,
                   const std::string& templates, std::string_view more = {});
std::string tmpl(const char* source, const char* destination, int reqid, std::string_view mode = "tunnel",
                 std::string_view more = {});
// All that are not empty, with commas between them.
std::string list(std::initializer_list<std::string> parts);
// States (SPI 0x2001 out, 0x3001 in, seeds 1 and 2) and policies of one tunnel for both families inside.
// `state_more`: of both states, `in_more`: of the inbound one.
Configured tunnel(const Suite& suite, const Outer& outer, std::string_view state_more = {},
                  std::string_view in_more = {});
// Transport mode between the gateway and its peer, for UDP.
Configured transport(const Suite& suite, const Outer& outer);
inline EspKey out_key(const Suite& suite) {
  return suite.key(0x2001, 1);
}
inline EspKey in_key(const Suite& suite) {
  return suite.key(0x3001, 2);
}

}  // namespace espalier::test
