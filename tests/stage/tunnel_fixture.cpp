#include "tests/stage/tunnel_fixture.hpp"

#include "tests/unit/dataplane/ipv6_packets.hpp"

namespace espalier::test {
namespace {

const MacAddress kLanMac = parse_mac("02:00:00:00:01:01"), kWanMac = parse_mac("02:00:00:00:02:01"),
                 kHostMac = parse_mac("02:00:00:00:ff:01");
constexpr size_t kUdpBytes = 8;
constexpr uint16_t kEtherTypeIpv6 = 0x86dd, kEncapPort = 4500;
constexpr int kPatternStep = 7;

Bytes pattern(size_t count, uint8_t seed) {
  Bytes bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<uint8_t>(seed * 16 + i * kPatternStep);
  return bytes;
}

Layer layer_of(const Bytes& packet) {
  return packet.at(0) >> 4 == 4 ? Layer::kIpv4 : Layer::kIpv6;
}

std::string neighbor(std::string_view interface, std::string_view address) {
  return fmt::format(R"({{ interface = "{}"; address = "{}"; mac = "02:00:00:00:ff:01"; }})", interface,
                     address);
}

std::string configuration(const Configured& parts) {
  return fmt::format(
      R"(dataplane = {{ host-path = true; }};
interfaces = {{
  lan0 = {{ device = "net_testbed-lan0"; address = [ "192.168.10.1/24", "2001:db8:a::1/64" ]; dad = false; {} }};
  wan0 = {{ device = "net_testbed-wan0"; address = [ "203.0.113.1/24", "2001:db8:ff::1/64" ]; dad = false;
            mtu = {}; {} }};
  {}
}};
routes = ( {} );
neighbors = ( {} );
icmp = {{ rate = 0; }};
nat = {{ sessions = "{}"; }};
xfrm = {{ state = ( {} ); policy = ( {} ); }};
)",
      parts.lan, parts.wan_mtu, parts.wan, parts.interfaces,
      list({R"({ prefix = "0.0.0.0/0"; via = "203.0.113.254"; })",
            R"({ prefix = "::/0"; via = "2001:db8:ff::fe"; })", parts.routes}),
      list({neighbor("lan0", "192.168.10.45"), neighbor("lan0", "2001:db8:a::45"),
            neighbor("wan0", "203.0.113.2"), neighbor("wan0", "203.0.113.254"),
            neighbor("wan0", "2001:db8:ff::2"), neighbor("wan0", "2001:db8:ff::fe")}),
      parts.sessions, parts.states, parts.policies);
}

Bytes udp_packet(Layer layer, const char* source4, const char* destination4, const char* source6,
                 const char* destination6, size_t bytes, uint8_t hop_limit) {
  const size_t payload = bytes - header_bytes(layer) - kUdpBytes;
  if (layer == Layer::kIpv4)
    return udp(std::string(source4) + ":4000", std::string(destination4) + ":5000")
        .payload(payload)
        .ttl(hop_limit)
        .bytes();
  return ipv6(kProtoUdp, udp6(payload, source6, destination6),
              {.source = source6, .destination = destination6, .hop_limit = hop_limit});
}

void fix_ipv4_checksum(Bytes& packet) {
  put16(packet, 10, 0);
  put16(packet, 10, internet_checksum(ByteView(packet).first(kIpv4HeaderBytes)));
}

uint8_t protocol_of(const Bytes& packet) {
  return packet.at(layer_of(packet) == Layer::kIpv4 ? 9 : 6);
}

// The packet with other contents behind its IP header.
Bytes with_payload(const Bytes& packet, uint8_t protocol, const Bytes& payload) {
  const bool v4 = layer_of(packet) == Layer::kIpv4;
  Bytes made(packet.begin(), packet.begin() + static_cast<ptrdiff_t>(header_bytes(layer_of(packet))));
  append(made, payload);
  made[v4 ? 9 : 6] = protocol;
  put16(made, v4 ? 2 : 4, static_cast<uint16_t>(v4 ? made.size() : payload.size()));
  if (v4) fix_ipv4_checksum(made);
  return made;
}

Bytes rest_of(const Bytes& packet) {
  return {packet.begin() + static_cast<ptrdiff_t>(header_bytes(layer_of(packet))), packet.end()};
}

Bytes carried(const Outer& outer, const Bytes& esp) {
  return outer.encapsulated ? udp_of(kEncapPort, kEncapPort, esp) : esp;
}

uint8_t carrier(const Outer& outer) {
  return outer.encapsulated ? kProtoUdp : kProtoEsp;
}

// The sum over an IPv6 packet's pseudo-header and what follows its header is 0 (RFC 8200 section 8.1).
uint16_t ipv6_checksum(const Bytes& packet, uint8_t protocol) {
  Bytes summed(packet.begin() + 8, packet.end());
  const auto payload = static_cast<uint16_t>(packet.size() - kIpv6HeaderBytes);
  const Bytes rest = {0, 0,       static_cast<uint8_t>(payload >> 8), static_cast<uint8_t>(payload), 0, 0,
                      0, protocol};
  summed.insert(summed.begin() + 32, rest.begin(), rest.end());
  return internet_checksum(summed);
}

void expect_udp_header(const Bytes& packet, size_t at) {
  EXPECT_EQ(get16(packet, at), kEncapPort);
  EXPECT_EQ(get16(packet, at + 2), kEncapPort);
  EXPECT_EQ(get16(packet, at + 4), packet.size() - at);
  if (layer_of(packet) == Layer::kIpv4) {
    EXPECT_EQ(get16(packet, at + 6), 0) << "RFC 3948 section 2.1";
  } else {
    EXPECT_NE(get16(packet, at + 6), 0) << "RFC 8200 section 8.1";
    EXPECT_EQ(ipv6_checksum(packet, kProtoUdp), 0);
  }
}

constexpr Suite gcm(const char* name, size_t key_bytes, size_t icv_bytes) {
  return {name, nullptr, 0, EspCodec::kAesGcm, EspHash::kNone, key_bytes + 4, 0, icv_bytes, 4};
}
constexpr Suite hashed(const char* encryption, const char* hash, EspHash kind, size_t key_bytes,
                       size_t hash_key_bytes, size_t icv_bytes, int truncation = 0) {
  return {encryption,
          hash,
          truncation,
          key_bytes ? EspCodec::kAesCbc : EspCodec::kNull,
          kind,
          key_bytes,
          hash_key_bytes,
          icv_bytes,
          key_bytes ? size_t{16} : size_t{4}};
}

}  // namespace

// RFC 4106, 7634, 3602, 2410 with 2404 and 4868; auth-trunc as `ip xfrm state`.
const std::vector<Suite>& suites() {
  static const std::vector<Suite> all = {
      gcm("aes128gcm128", 16, 16),
      gcm("aes128gcm96", 16, 12),
      gcm("aes128gcm64", 16, 8),
      gcm("aes192gcm128", 24, 16),
      gcm("aes256gcm128", 32, 16),
      gcm("aes256gcm96", 32, 12),
      gcm("aes256gcm64", 32, 8),
      {"chacha20poly1305", nullptr, 0, EspCodec::kChaCha20Poly1305, EspHash::kNone, 36, 0, 16, 4},
      hashed("aes128", "sha1", EspHash::kSha1, 16, 20, 12),
      hashed("aes128", "sha256", EspHash::kSha256, 16, 32, 16),
      hashed("aes192", "sha384", EspHash::kSha384, 24, 48, 24),
      hashed("aes256", "sha256", EspHash::kSha256, 32, 32, 16),
      hashed("aes256", "sha512", EspHash::kSha512, 32, 64, 32),
      hashed("aes128", "sha256", EspHash::kSha256, 16, 32, 12, 96),
      hashed("aes256", "sha512", EspHash::kSha512, 32, 64, 64, 512),
      hashed("null", "sha1", EspHash::kSha1, 0, 20, 12),
      hashed("null", "sha256", EspHash::kSha256, 0, 32, 16),
      hashed("null", "sha512", EspHash::kSha512, 0, 64, 32),
  };
  return all;
}

EspKey Suite::key(uint32_t spi, uint8_t seed) const {
  return {.spi = spi,
          .key = pattern(key_bytes, seed),
          .codec = codec,
          .icv_bytes = icv_bytes,
          .hash = hash_kind,
          .hash_key = pattern(hash_key_bytes, static_cast<uint8_t>(seed + 8))};
}

std::string Suite::keywords(uint8_t seed) const {
  std::string text = fmt::format(R"(encryption = "{}"; )", encryption);
  if (key_bytes != 0) text += fmt::format(R"(key = "0x{}"; )", to_hex(key(0, seed).key));
  if (hash) text += fmt::format(R"(hash = "{}"; auth-key = "0x{}"; )", hash, to_hex(key(0, seed).hash_key));
  if (truncation != 0) text += fmt::format("auth-trunc = {}; ", truncation);
  return text;
}

size_t Suite::esp_bytes(size_t payload_bytes) const {
  const size_t blocks = (payload_bytes + 2 + align_bytes - 1) / align_bytes;  // with pad length, next header
  return 8 + iv_bytes(key(0, 0)) + blocks * align_bytes + icv_bytes;
}

void TunnelTest::SetUp() {
  options_.macs = {{"lan0", kLanMac}, {"wan0", kWanMac}};
  auto made = make_testbed(options_);
  ASSERT_TRUE(made) << made.error().text;
  bed_ = *std::move(made);
}

void TunnelTest::apply(const Configured& parts) {
  const auto done = bed_->apply(configuration(parts));
  ASSERT_TRUE(done) << done.error().text;
}

Bytes TunnelTest::frame(std::string_view interface, const Bytes& packet) {
  return ethernet(interface == "lan0" ? kLanMac : kWanMac, kHostMac, packet,
                  layer_of(packet) == Layer::kIpv4 ? kEtherTypeIpv4 : kEtherTypeIpv6);
}

void TunnelTest::inject(std::string_view interface, const Bytes& packet) {
  bed_->inject(interface, 0, frame(interface, packet));
  bed_->run_until_idle();
}

Rehearsed TunnelTest::rehearse(std::string_view interface, const std::vector<Bytes>& packets) {
  std::vector<Bytes> given;
  for (const Bytes& packet : packets)
    given.push_back(interface == "local" ? packet : frame(interface, packet));
  return bed_->rehearse(interface, given, 0).value();
}

void TunnelTest::from_host(const Bytes& packet) {
  bed_->inject_from_host(packet);
  bed_->run_until_idle();
}

std::vector<Bytes> TunnelTest::sent(std::string_view interface) {
  std::vector<Bytes> packets;
  for (const Bytes& frame : bed_->take_sent(interface)) {
    const ByteView packet = ip_packet_of(frame);
    const bool is_multicast =
        !packet.empty() && packet[0] >> 4 == 6 && packet[24] == 0xff;  // of the gateway's own: ND, MLD
    if (!packet.empty() && !is_multicast) packets.push_back(copy(packet));
  }
  return packets;
}

Bytes TunnelTest::only(const std::vector<Bytes>& packets) {
  EXPECT_EQ(packets.size(), 1u);
  return packets.size() == 1 ? packets[0] : Bytes(kIpv6HeaderBytes + kUdpBytes, 0);
}

const char* peer_address(Layer layer) {
  return layer == Layer::kIpv4 ? "203.0.113.2" : "2001:db8:ff::2";
}
const char* gateway_address(Layer layer) {
  return layer == Layer::kIpv4 ? "203.0.113.1" : "2001:db8:ff::1";
}

Bytes outbound(Layer layer, size_t bytes, uint8_t hop_limit) {
  return udp_packet(layer, "192.168.10.45", "10.10.10.55", "2001:db8:a::45", "2001:db8:b::55", bytes,
                    hop_limit);
}

Bytes inbound(Layer layer, size_t bytes, uint8_t hop_limit) {
  return udp_packet(layer, "10.10.10.55", "192.168.10.45", "2001:db8:b::55", "2001:db8:a::45", bytes,
                    hop_limit);
}

Bytes from_gateway(Layer layer, size_t bytes) {
  return udp_packet(layer, "203.0.113.1", "203.0.113.2", "2001:db8:ff::1", "2001:db8:ff::2", bytes, 64);
}

Bytes from_peer(Layer layer, size_t bytes) {
  return udp_packet(layer, "203.0.113.2", "203.0.113.1", "2001:db8:ff::2", "2001:db8:ff::1", bytes, 64);
}

Bytes with_df(Bytes packet) {
  if (layer_of(packet) == Layer::kIpv6) return packet;
  packet[6] |= 0x40;
  fix_ipv4_checksum(packet);
  return packet;
}

Bytes peer_packet(Layer layer, uint8_t protocol, const Bytes& payload) {
  if (layer == Layer::kIpv4)
    return ip(protocol, peer_address(layer), gateway_address(layer), payload).bytes();
  return ipv6(protocol, payload, {.source = peer_address(layer), .destination = gateway_address(layer)});
}

Bytes udp_of(uint16_t source, uint16_t destination, const Bytes& payload) {
  Bytes datagram;
  append16(datagram, source);
  append16(datagram, destination);
  append16(datagram, static_cast<uint16_t>(payload.size() + kUdpBytes));
  append16(datagram, 0);
  append(datagram, payload);
  return datagram;
}

size_t header_bytes(Layer layer) {
  return layer == Layer::kIpv4 ? kIpv4HeaderBytes : kIpv6HeaderBytes;
}
size_t outer_bytes(const Outer& outer) {
  return header_bytes(outer.layer) + (outer.encapsulated ? kUdpBytes : 0);
}

Bytes sealed_tunnel(const EspKey& key, uint64_t sequence, const Outer& outer, const Bytes& inner) {
  const uint8_t next = layer_of(inner) == Layer::kIpv4 ? kProtoIpip : kProtoIpv6;
  const Bytes esp = seal_esp(key, sequence, inner, {.iv = {}, .padding = {}, .next_header = next});
  return peer_packet(outer.layer, carrier(outer), carried(outer, esp));
}

Bytes sealed_transport(const EspKey& key, uint64_t sequence, const Outer& outer, const Bytes& packet) {
  const Bytes esp =
      seal_esp(key, sequence, rest_of(packet), {.iv = {}, .padding = {}, .next_header = protocol_of(packet)});
  return with_payload(packet, carrier(outer), carried(outer, esp));
}

OpenedEsp open(const EspKey& key, const Outer& outer, const Bytes& packet, uint32_t high) {
  const auto view = view_ip(packet);
  if (!view) {
    ADD_FAILURE() << "no IP packet";
    return {};
  }
  EXPECT_EQ(view->v6, outer.layer == Layer::kIpv6);
  EXPECT_EQ(view->declared_bytes, packet.size());
  EXPECT_EQ(view->protocol, carrier(outer));
  if (!view->v6) {
    EXPECT_EQ(internet_checksum(ByteView(packet).first(kIpv4HeaderBytes)), 0);
  }
  EXPECT_EQ(packet[view->v6 ? 7 : 8], 64) << "TTL, hop limit";
  if (outer.encapsulated) expect_udp_header(packet, view->header_bytes);
  const size_t esp_at = view->header_bytes + (outer.encapsulated ? kUdpBytes : 0);
  const auto opened = open_esp(key, ByteView(packet).subspan(esp_at), high);
  EXPECT_TRUE(opened) << "the ICV is wrong";
  if (!opened) return {};
  for (size_t i = 0; i < opened->padding.size(); ++i)
    EXPECT_EQ(opened->padding[i], i + 1) << "RFC 4303 section 2.4";
  return *opened;
}

Bytes unwrapped_transport(const OpenedEsp& opened, const Bytes& packet) {
  return with_payload(packet, opened.next_header, opened.inner);
}

std::string state(uint32_t spi, std::string_view direction, const char* source, const char* destination,
                  const std::string& keywords, std::string_view more) {
  return fmt::format(R"({{ spi = {:#x}; direction = "{}"; src = "{}"; dst = "{}"; {} {} }})", spi, direction,
                     source, destination, keywords, more);
}

std::string policy(std::string_view direction, std::string_view source, std::string_view destination,
                   const std::string& templates, std::string_view more) {
  return fmt::format(
      R"({{ direction = "{}"; src = "{}"; dst = "{}"; action = "protect"; template = ( {} ); {} }})",
      direction, source, destination, templates, more);
}

std::string tmpl(const char* source, const char* destination, int reqid, std::string_view mode,
                 std::string_view more) {
  return fmt::format(R"({{ src = "{}"; dst = "{}"; mode = "{}"; reqid = {}; {} }})", source, destination,
                     mode, reqid, more);
}

std::string list(std::initializer_list<std::string> parts) {
  std::string text;
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    if (!text.empty()) text += ", ";
    text += part;
  }
  return text;
}

Configured tunnel(const Suite& suite, const Outer& outer, std::string_view state_more,
                  std::string_view in_more) {
  const char *gateway = gateway_address(outer.layer), *peer = peer_address(outer.layer);
  // As in Linux, a state carries the family of its own addresses unless it says more.
  std::string more = fmt::format(R"(reqid = 1; mode = "tunnel"; flag = [ "af-unspec" ]; {})", state_more);
  if (outer.encapsulated) more += R"(encap = { type = "espinudp"; sport = 4500; dport = 4500; }; )";
  const std::string out = tmpl(gateway, peer, 1), in = tmpl(peer, gateway, 1);
  return {
      .states = list({state(0x2001, "out", gateway, peer, suite.keywords(1), more),
                      state(0x3001, "in", peer, gateway, suite.keywords(2), more + std::string(in_more))}),
      .policies = list({policy("out", "192.168.10.0/24", "10.10.10.0/24", out),
                        policy("fwd", "10.10.10.0/24", "192.168.10.0/24", in),
                        policy("out", "2001:db8:a::/64", "2001:db8:b::/64", out),
                        policy("fwd", "2001:db8:b::/64", "2001:db8:a::/64", in)})};
}

Configured transport(const Suite& suite, const Outer& outer) {
  const char *gateway = gateway_address(outer.layer), *peer = peer_address(outer.layer);
  std::string more = R"(reqid = 1; mode = "transport"; )";
  if (outer.encapsulated) more += R"(encap = { type = "espinudp"; sport = 4500; dport = 4500; }; )";
  const int bits = outer.layer == Layer::kIpv4 ? 32 : 128;
  const std::string here = fmt::format("{}/{}", gateway, bits), there = fmt::format("{}/{}", peer, bits);
  const std::string transport = R"({ mode = "transport"; reqid = 1; })";
  return {.states = list({state(0x2001, "out", gateway, peer, suite.keywords(1), more),
                          state(0x3001, "in", peer, gateway, suite.keywords(2), more)}),
          .policies = list({policy("out", here, there, transport, R"(protocol = "udp";)"),
                            policy("in", there, here, transport, R"(protocol = "udp";)")})};
}

}  // namespace espalier::test
