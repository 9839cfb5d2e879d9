#include "tests/support/packet_rewriter.hpp"

#include <algorithm>

#include "tests/support/packet_builder.hpp"

namespace espalier::test {
namespace {

constexpr size_t kEthernetBytes = 14;
constexpr size_t kIpHeaderBytes = 20;

size_t header_bytes_of(ByteView packet) {
  return (packet[0] & 15) * size_t{4};
}

bool is_ip(ByteView packet) {
  return packet.size() >= kIpHeaderBytes && header_bytes_of(packet) >= kIpHeaderBytes &&
         header_bytes_of(packet) <= packet.size();
}

// The part of the frame that is the IP packet; empty for other frames.
MutableView ip_of(MutableView frame) {
  if (frame.size() < kEthernetBytes + kIpHeaderBytes || get16(frame, 12) != kEtherTypeIpv4) return {};
  const MutableView body = frame.subspan(kEthernetBytes);
  return body.first(std::min<size_t>(body.size(), get16(body, 2)));
}

struct Transport {
  MutableView bytes;  // behind the IP header
  uint8_t protocol = 0;
  bool first = false;  // holds the start of the transport header
  bool whole = false;
};

Transport transport_of(MutableView packet) {
  const uint16_t word = get16(packet, 6);
  return {packet.subspan(header_bytes_of(packet)), packet[9], (word & 0x1fff) == 0,
          (word & 0x3fff) == 0 && get16(packet, 2) == packet.size()};
}

// Opens the ESP packet in `body`, lets `change` work on the inner bytes and seals it again with the same IV.
void inside_esp(MutableView body, const KeyRing& keys, const std::function<void(MutableView)>& change) {
  const auto key = body.size() < 8 ? keys.end() : keys.find(get32(body, 0));
  if (key == keys.end()) return;
  auto opened = open_esp(key->second, body);
  if (!opened || opened->next_header != kProtoIpip) return;
  change(opened->inner);
  const Bytes sealed = seal_esp(key->second, opened->sequence, opened->inner,
                                {opened->iv, opened->padding, opened->next_header});
  std::copy(sealed.begin(), sealed.end(), body.begin());
}

class Rewriter {
 public:
  Rewriter(const KeyRing& keys, const Substitute& substitute) : keys_(keys), substitute_(substitute) {}
  void ip(MutableView packet);

 private:
  // Replaces the word at `at`; the checksum at `checksum_at` of the same bytes follows.
  void word(MutableView bytes, size_t at, size_t checksum_at, FieldKind kind, const Bytes& scope = {});
  void ports(MutableView body, size_t checksum_at);
  void icmp(MutableView body);

  const KeyRing& keys_;
  const Substitute& substitute_;
};

void Rewriter::word(MutableView bytes, size_t at, size_t checksum_at, FieldKind kind, const Bytes& scope) {
  const uint16_t old = get16(bytes, at);
  const auto value = substitute_(kind, scope, old);
  if (!value) return;
  put16(bytes, at, *value);
  if (checksum_at + 2 > bytes.size()) return;  // cut off in a quote
  put16(bytes, checksum_at, adjusted_checksum(get16(bytes, checksum_at), old, *value));
}

void Rewriter::ip(MutableView packet) {
  if (!is_ip(packet)) return;
  Bytes scope = copy(packet.subspan(12, 8));
  append8(scope, packet[9]);
  word(packet, 4, 10, FieldKind::kIpId, scope);
  const Transport transport = transport_of(packet);
  if (!transport.first) return;
  if (transport.protocol == kProtoUdp && transport.bytes.size() >= 8) ports(transport.bytes, 6);
  if (transport.protocol == kProtoTcp && transport.bytes.size() >= 8) ports(transport.bytes, 16);
  if (transport.protocol == kProtoIcmp && transport.bytes.size() >= 8) icmp(transport.bytes);
  if (transport.protocol == kProtoEsp && transport.whole)
    inside_esp(transport.bytes, keys_, [this](MutableView inner) { ip(inner); });
}

void Rewriter::ports(MutableView body, size_t checksum_at) {
  const bool no_checksum = checksum_at == 6 && get16(body, 6) == 0;
  const size_t at = no_checksum ? body.size() : checksum_at;
  word(body, 0, at, FieldKind::kPort);
  word(body, 2, at, FieldKind::kPort);
}

void Rewriter::icmp(MutableView body) {
  if (body[0] == 0 || body[0] == 8) return word(body, 4, 2, FieldKind::kIcmpId);
  const bool error = body[0] == 3 || body[0] == 4 || body[0] == 5 || body[0] == 11 || body[0] == 12;
  if (!error) return;
  const uint16_t before = ones_sum(body.subspan(8));
  ip(body.subspan(8));
  put16(body, 2, adjusted_checksum(get16(body, 2), before, ones_sum(body.subspan(8))));
}

void make_transport_checksum_right(MutableView packet) {
  const Transport transport = transport_of(packet);
  const auto source = Ipv4Address::from_host(get32(packet, 12));
  const auto destination = Ipv4Address::from_host(get32(packet, 16));
  if (!transport.whole) return;
  const MutableView body = transport.bytes;
  size_t at = 0;
  if (transport.protocol == kProtoUdp && body.size() >= 8 && get16(body, 6) != 0) at = 6;
  if (transport.protocol == kProtoTcp && body.size() >= 20) at = 16;
  if (transport.protocol == kProtoIcmp && body.size() >= 8) at = 2;
  if (at == 0) return;
  put16(body, at, 0);
  const bool pseudo = transport.protocol != kProtoIcmp;
  put16(
      body, at,
      internet_checksum(body, pseudo ? pseudo_header_sum(source, destination, transport.protocol, body.size())
                                     : uint16_t{0}));
}

void make_checksums_right(MutableView packet) {
  if (!is_ip(packet)) return;
  put16(packet, 10, 0);
  put16(packet, 10, internet_checksum(packet.first(header_bytes_of(packet))));
  make_transport_checksum_right(packet);
}

bool flip(MutableView packet, const KeyRing& keys, size_t offset, uint8_t mask) {
  const Transport transport = transport_of(packet);
  if (transport.protocol == kProtoEsp && transport.whole) {
    bool inside = false, done = false;
    inside_esp(transport.bytes, keys, [&](MutableView inner) {
      inside = is_ip(inner);
      if (inside) done = flip(inner, keys, offset, mask);
    });
    if (inside) return done;
  }
  if (offset >= packet.size()) return false;
  packet[offset] ^= mask;
  make_checksums_right(packet);
  return true;
}

}  // namespace

Bytes rewrite_frame(ByteView frame, const KeyRing& keys, const Substitute& substitute) {
  Bytes changed = copy(frame);
  Rewriter(keys, substitute).ip(ip_of(changed));
  return changed;
}

bool flip_innermost(Bytes& frame, const KeyRing& keys, size_t offset, uint8_t mask) {
  const MutableView packet = ip_of(frame);
  return is_ip(packet) && flip(packet, keys, offset, mask);
}

}  // namespace espalier::test
