#include "tests/support/packet_rewriter.hpp"

#include <algorithm>

#include "tests/support/ip_view.hpp"

namespace espalier::test {
namespace {

constexpr uint16_t kGreOptionFlags[] = {0x8000, 0x2000, 0x1000};

MutableView ip_of(MutableView frame) {
  const ByteView packet = ip_packet_of(frame);
  return packet.empty() ? MutableView{} : frame.subspan(network_offset(frame), packet.size());
}

bool is_whole(const IpView& view, ByteView packet) {
  return !view.is_fragment() && view.declared_bytes == packet.size();
}

// Offset of the checksum in the transport header, or nothing if there is none.
std::optional<size_t> checksum_offset(uint8_t protocol, ByteView body) {
  if (protocol == kProtoUdp && body.size() >= 8 && get16(body, 6) != 0) return 6;
  if (protocol == kProtoTcp && body.size() >= 18) return 16;
  if ((protocol == kProtoIcmp || protocol == kProtoIcmpv6) && body.size() >= 8) return 2;
  return std::nullopt;
}

// What the ESP header lies behind in `body`: nothing, or the UDP header of ESP in UDP.
std::optional<size_t> esp_offset(uint8_t protocol, ByteView body, const KeyRing& keys) {
  if (protocol == kProtoEsp && body.size() >= 8 && keys.contains(get32(body, 0))) return 0;
  if (protocol == kProtoUdp && body.size() >= 16 && keys.contains(get32(body, 8))) return 8;
  return std::nullopt;
}

// Where the packet inside of GRE or of IP in IP begins.
std::optional<size_t> inner_packet_offset(uint8_t protocol, ByteView body) {
  if (protocol == kProtoIpip || protocol == kProtoIpv6) return 0;
  if (protocol != kProtoGre || body.size() < 4) return std::nullopt;
  size_t at = 4;
  for (const uint16_t flag : kGreOptionFlags)
    if ((get16(body, 0) & flag) != 0) at += 4;
  return at < body.size() ? std::optional(at) : std::nullopt;
}

// Opens the ESP packet `esp`, lets `change` work on what is inside and seals it again with the same IV.
using Change = std::function<void(uint8_t protocol, MutableView inner)>;
bool inside_esp(MutableView esp, const KeyRing& keys, const Change& change) {
  const EspKey& key = keys.at(get32(esp, 0));
  auto opened = open_esp_of_any_epoch(key, esp);
  if (!opened) return false;
  change(opened->next_header, opened->inner);
  const Bytes sealed =
      seal_esp(key, opened->sequence, opened->inner, {opened->iv, opened->padding, opened->next_header});
  std::copy(sealed.begin(), sealed.end(), esp.begin());
  return true;
}

class Rewriter {
 public:
  Rewriter(const KeyRing& keys, const Substitute& substitute) : keys_(keys), substitute_(substitute) {}
  void ip(MutableView packet);

 private:
  // Replaces the word at `at`; the checksum at `checksum_at` of the same bytes follows.
  void word(MutableView bytes, size_t at, std::optional<size_t> checksum_at, FieldKind kind,
            const Bytes& scope = {});
  void transport(uint8_t protocol, const Bytes& addresses, MutableView body, bool whole);
  void icmp(uint8_t protocol, MutableView body);

  const KeyRing& keys_;
  const Substitute& substitute_;
};

void Rewriter::word(MutableView bytes, size_t at, std::optional<size_t> checksum_at, FieldKind kind,
                    const Bytes& scope) {
  const uint16_t old = get16(bytes, at);
  const auto value = substitute_(kind, scope, old);
  if (!value) return;
  put16(bytes, at, *value);
  if (!checksum_at || *checksum_at + 2 > bytes.size()) return;  // none, or cut off in a quote
  put16(bytes, *checksum_at, adjusted_checksum(get16(bytes, *checksum_at), old, *value));
}

void Rewriter::ip(MutableView packet) {
  const auto view = view_ip(packet);
  if (!view) return;
  if (!view->v6) {
    Bytes scope = copy(view->addresses(packet));
    append8(scope, view->protocol);
    word(packet, 4, 10, FieldKind::kIpId, scope);
  }
  if (view->fragment_offset != 0) return;
  transport(view->protocol, copy(view->addresses(packet)), packet.subspan(view->header_bytes),
            is_whole(*view, packet));
}

// A checksum over what lies further inside follows the sum of it.
void Rewriter::transport(uint8_t protocol, const Bytes& addresses, MutableView body, bool whole) {
  const auto checksum_at = checksum_offset(protocol, body);
  if ((protocol == kProtoUdp || protocol == kProtoTcp) && body.size() >= 8) {
    const uint16_t source = get16(body, 0), destination = get16(body, 2);
    word(body, 0, checksum_at, FieldKind::kPort, port_scope(addresses, destination));
    word(body, 2, checksum_at, FieldKind::kPort, port_scope(addresses, source));
  }
  if ((protocol == kProtoIcmp || protocol == kProtoIcmpv6) && body.size() >= 8) return icmp(protocol, body);
  if (!whole) return;
  const auto esp_at = esp_offset(protocol, body, keys_);
  const auto packet_at = inner_packet_offset(protocol, body);
  if (!esp_at && !packet_at) return;
  const size_t inside = esp_at ? *esp_at : *packet_at;
  const uint16_t before = ones_sum(body.subspan(inside));
  if (esp_at)
    inside_esp(body.subspan(inside), keys_,
               [&](uint8_t next, MutableView inner) { transport(next, addresses, inner, true); });
  else
    ip(body.subspan(inside));
  if (checksum_at)
    put16(body, *checksum_at,
          adjusted_checksum(get16(body, *checksum_at), before, ones_sum(body.subspan(inside))));
}

void Rewriter::icmp(uint8_t protocol, MutableView body) {
  if (is_echo(protocol, body[0])) return word(body, 4, 2, FieldKind::kIcmpId);
  if (!is_icmp_error(protocol, body[0])) return;
  const uint16_t before = ones_sum(body.subspan(8));
  ip(body.subspan(8));
  put16(body, 2, adjusted_checksum(get16(body, 2), before, ones_sum(body.subspan(8))));
}

void make_transport_checksum_right(MutableView body, uint8_t protocol, ByteView addresses) {
  const auto at = checksum_offset(protocol, body);
  if (!at) return;
  put16(body, *at, 0);
  const uint16_t start =
      has_pseudo_header(protocol) ? pseudo_header_sum(addresses, protocol, body.size()) : uint16_t{0};
  put16(body, *at, internet_checksum(body, start));
}

void make_checksums_right(MutableView packet) {
  const auto view = view_ip(packet);
  if (!view) return;
  if (!view->v6) {
    put16(packet, 10, 0);
    put16(packet, 10, internet_checksum(packet.first(view->header_bytes)));
  }
  if (is_whole(*view, packet))
    make_transport_checksum_right(packet.subspan(view->header_bytes), view->protocol,
                                  view->addresses(packet));
}

// Flips in the innermost part: `packet` itself, or what lies inside of it.
class Flipper {
 public:
  Flipper(const KeyRing& keys, size_t offset, uint8_t mask) : keys_(keys), offset_(offset), mask_(mask) {}

  bool ip(MutableView packet) {
    const auto view = view_ip(packet);
    if (!view) return false;
    if (is_whole(*view, packet))
      if (const auto done =
              inside(view->protocol, packet.subspan(view->header_bytes), view->addresses(packet)))
        return *done;
    if (offset_ >= packet.size()) return false;
    packet[offset_] ^= mask_;
    make_checksums_right(packet);
    return true;
  }

 private:
  // Nothing if there is nothing inside.
  std::optional<bool> inside(uint8_t protocol, MutableView body, ByteView addresses) {
    if (const auto at = inner_packet_offset(protocol, body); at && view_ip(body.subspan(*at)))
      return ip(body.subspan(*at));
    const auto at = esp_offset(protocol, body, keys_);
    if (!at) return std::nullopt;
    bool done = false;
    const bool opened = inside_esp(body.subspan(*at), keys_, [&](uint8_t next, MutableView inner) {
      const auto deeper = inside(next, inner, addresses);
      done = deeper ? *deeper : flip(inner, next, addresses);
    });
    return opened ? std::optional(done) : std::nullopt;
  }

  bool flip(MutableView body, uint8_t protocol, ByteView addresses) {
    if (offset_ >= body.size()) return false;
    body[offset_] ^= mask_;
    make_transport_checksum_right(body, protocol, addresses);
    return true;
  }

  const KeyRing& keys_;
  const size_t offset_;
  const uint8_t mask_;
};

}  // namespace

Bytes rewrite_frame(ByteView frame, const KeyRing& keys, const Substitute& substitute) {
  Bytes changed = copy(frame);
  Rewriter(keys, substitute).ip(ip_of(changed));
  return changed;
}

bool flip_innermost(Bytes& frame, const KeyRing& keys, size_t offset, uint8_t mask) {
  return Flipper(keys, offset, mask).ip(ip_of(frame));
}

}  // namespace espalier::test
