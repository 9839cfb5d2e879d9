#include "tests/support/packet_decoder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "tests/support/ip_view.hpp"

namespace espalier::test {
namespace {

constexpr uint16_t kGreIpv4 = 0x0800, kGreIpv6 = 0x86dd;
constexpr uint16_t kGreChecksum = 0x8000, kGreKey = 0x2000, kGreSequence = 0x1000;

// Appends fields under a path prefix. Each function reads one header and calls the next.
class Decoder {
 public:
  Decoder(const KeyRing& keys, FragmentContent content) : keys_(keys), content_(content) {}

  void frame(ByteView bytes);
  void ip(const std::string& path, ByteView bytes);
  Fields take() { return std::move(fields_); }

 private:
  // What the IP header says about the bytes behind it.
  struct Context {
    Bytes addresses;    // source and destination
    bool whole = true;  // false: cut off in a quote, or a fragment
  };

  void ipv4(const std::string& path, ByteView packet, const IpView& view);
  void ipv6(const std::string& path, ByteView packet, const IpView& view);
  void l4(const std::string& path, uint8_t protocol, const Context& context, ByteView bytes);
  void ports(const std::string& path, const Context& context, ByteView bytes);
  void udp(const std::string& path, const Context& context, ByteView bytes);
  void tcp(const std::string& path, const Context& context, ByteView bytes);
  void icmp(const std::string& path, uint8_t protocol, const Context& context, ByteView bytes);
  void gre(const std::string& path, ByteView bytes);
  void esp(const std::string& path, const Context& context, ByteView bytes);
  void inside_esp(const std::string& path, const Context& context, const OpenedEsp& opened,
                  const Bytes& scope);
  void fragment(const std::string& path, uint8_t protocol, size_t offset, const Context& context,
                ByteView bytes);
  void l4_checksum(const std::string& path, uint8_t protocol, const Context& context, ByteView bytes,
                   size_t at);

  void number(std::string path, uint64_t value, FieldKind kind = FieldKind::kPlain, Bytes scope = {}) {
    fields_.push_back({std::move(path), value, kind, std::move(scope)});
  }
  void bytes(std::string path, ByteView value) { fields_.push_back({std::move(path), copy(value)}); }
  // `sum` is the one's complement sum over all that the checksum covers, itself included. What is wrong must
  // be wrong by the same amount in both packets: a translation adjusts a checksum and does not compute it
  // anew.
  void verdict(const std::string& path, uint16_t sum) {
    const bool right = sum == 0xffff;
    number(path + ".checksum", static_cast<uint64_t>(right ? Checksum::kRight : Checksum::kWrong));
    if (!right) number(path + ".checksum_residue", sum);
  }

  const KeyRing& keys_;
  const FragmentContent content_;
  Fields fields_;
};

void Decoder::frame(ByteView frame) {
  if (frame.size() < kEthernetBytes) return bytes("ethernet.truncated", frame);
  bytes("ethernet.destination", frame.first(6));
  bytes("ethernet.source", frame.subspan(6, 6));
  const size_t at = network_offset(frame);
  bytes("ethernet.tags", frame.subspan(12, at - kEthernetBytes));
  number("ethernet.type", get16(frame, at - 2));
  const ByteView packet = ip_packet_of(frame);
  if (packet.empty()) return bytes("ethernet.payload", frame.subspan(at));
  ip("ip", packet);
  bytes("ethernet.trailer", frame.subspan(at + packet.size()));
}

void Decoder::ip(const std::string& path, ByteView packet) {
  const auto view = view_ip(packet);
  if (!view) return bytes(path + ".malformed", packet);
  view->v6 ? ipv6(path, packet, *view) : ipv4(path, packet, *view);
  Context context{copy(view->addresses(packet)), view->declared_bytes == packet.size()};
  number(path + ".whole", context.whole);
  const ByteView body = packet.subspan(view->header_bytes);
  if (!view->is_fragment()) return l4(path, view->protocol, context, body);
  context.whole = false;
  fragment(path + ".fragment", view->protocol, view->fragment_offset, context, body);
}

Bytes id_scope(ByteView packet, const IpView& view) {
  Bytes scope = copy(view.addresses(packet));
  append8(scope, view.protocol);
  return scope;
}

void Decoder::ipv4(const std::string& path, ByteView packet, const IpView& view) {
  const uint16_t word = get16(packet, 6);
  const bool atomic = (word & 0x4000) != 0 && !view.is_fragment();
  number(path + ".version", 4);
  number(path + ".header_bytes", view.header_bytes);
  number(path + ".tos", packet[1]);
  number(path + ".total_length", view.declared_bytes);
  number(path + ".id", view.id, atomic ? FieldKind::kAtomicIpId : FieldKind::kIpId, id_scope(packet, view));
  number(path + ".reserved_flag", word >> 15);
  number(path + ".df", word >> 14 & 1);
  number(path + ".mf", view.more);
  number(path + ".fragment_offset", view.fragment_offset);
  number(path + ".ttl", packet[8]);
  number(path + ".protocol", view.protocol);
  verdict(path, ones_sum(packet.first(view.header_bytes)));
  number(path + ".source", get32(packet, 12));
  number(path + ".destination", get32(packet, 16));
  bytes(path + ".options", packet.subspan(kIpv4HeaderBytes, view.header_bytes - kIpv4HeaderBytes));
}

// Extension headers come as they stand, except for the identification of fragments.
void Decoder::ipv6(const std::string& path, ByteView packet, const IpView& view) {
  const uint32_t first = get32(packet, 0);
  number(path + ".version", 6);
  number(path + ".tos", first >> 20 & 0xff);
  number(path + ".flow_label", first & 0xfffff, FieldKind::kFlowLabel);
  number(path + ".total_length", view.declared_bytes);
  number(path + ".next_header", packet[6]);
  number(path + ".ttl", packet[7]);
  number(path + ".protocol", view.protocol);
  bytes(path + ".source", packet.subspan(8, 16));
  bytes(path + ".destination", packet.subspan(24, 16));
  if (!view.fragment_header)
    return bytes(path + ".options", packet.subspan(kIpv6HeaderBytes, view.header_bytes - kIpv6HeaderBytes));
  const size_t at = *view.fragment_header, behind = at + kFragmentHeaderBytes;
  bytes(path + ".options", packet.subspan(kIpv6HeaderBytes, at - kIpv6HeaderBytes));
  number(path + ".fragment_next_header", packet[at]);
  number(path + ".fragment_reserved", packet[at + 1] << 2 | (packet[at + 3] >> 1 & 3));
  number(path + ".mf", view.more);
  number(path + ".fragment_offset", view.fragment_offset);
  number(path + ".id", view.id, FieldKind::kFragmentId, id_scope(packet, view));
  bytes(path + ".fragment_options", packet.subspan(behind, view.header_bytes - behind));
}

void Decoder::fragment(const std::string& path, uint8_t protocol, size_t offset, const Context& context,
                       ByteView body) {
  number(path + ".length", body.size());
  if (protocol == kProtoEsp || content_ == FragmentContent::kHidden) return;
  if (offset == 0) return l4(path, protocol, context, body);
  bytes(path + ".payload", body);
}

void Decoder::l4(const std::string& path, uint8_t protocol, const Context& context, ByteView body) {
  if (protocol == kProtoUdp && body.size() >= 8) return udp(path + ".udp", context, body);
  if (protocol == kProtoTcp && body.size() >= 20) return tcp(path + ".tcp", context, body);
  if (protocol == kProtoIcmp && body.size() >= 8) return icmp(path + ".icmp", protocol, context, body);
  if (protocol == kProtoIcmpv6 && body.size() >= 8) return icmp(path + ".icmp6", protocol, context, body);
  if (protocol == kProtoEsp && body.size() >= 8) return esp(path + ".esp", context, body);
  if (protocol == kProtoGre && body.size() >= 4) return gre(path + ".gre", body);
  if ((protocol == kProtoIpip || protocol == kProtoIpv6) && !body.empty()) return ip(path + ".ip", body);
  bytes(path + ".payload", body);
}

// `at` is the offset of the checksum field in `body`.
void Decoder::l4_checksum(const std::string& path, uint8_t protocol, const Context& context, ByteView body,
                          size_t at) {
  if (!context.whole) return number(path + ".raw_checksum", get16(body, at));
  if (protocol == kProtoUdp && get16(body, at) == 0)
    return number(path + ".checksum", static_cast<uint64_t>(Checksum::kNone));
  const uint16_t start =
      has_pseudo_header(protocol) ? pseudo_header_sum(context.addresses, protocol, body.size()) : uint16_t{0};
  verdict(path, ones_sum(body, start));
}

// RFC 3948 section 2: ESP in UDP begins with an SPI, which is never zero. The port is the SA's.
bool holds_known_esp(ByteView datagram, const KeyRing& keys) {
  return datagram.size() >= 16 && keys.contains(get32(datagram, 8));
}

void Decoder::ports(const std::string& path, const Context& context, ByteView body) {
  number(path + ".source_port", get16(body, 0), FieldKind::kPort,
         port_scope(context.addresses, get16(body, 2)));
  number(path + ".destination_port", get16(body, 2), FieldKind::kPort,
         port_scope(context.addresses, get16(body, 0)));
}

void Decoder::udp(const std::string& path, const Context& context, ByteView body) {
  ports(path, context, body);
  number(path + ".length", get16(body, 4));
  l4_checksum(path, kProtoUdp, context, body, 6);
  if (holds_known_esp(body, keys_)) return esp(path + ".esp", context, body.subspan(8));
  bytes(path + ".payload", body.subspan(8));
}

void Decoder::tcp(const std::string& path, const Context& context, ByteView body) {
  ports(path, context, body);
  number(path + ".sequence", get32(body, 4));
  number(path + ".acknowledgment", get32(body, 8));
  const size_t header_bytes = std::clamp<size_t>((body[12] >> 4) * size_t{4}, 20, body.size());
  number(path + ".header_bytes", (body[12] >> 4) * 4u);
  number(path + ".reserved", body[12] & 15);
  number(path + ".flags", body[13]);
  number(path + ".window", get16(body, 14));
  l4_checksum(path, kProtoTcp, context, body, 16);
  number(path + ".urgent", get16(body, 18));
  bytes(path + ".options", body.subspan(20, header_bytes - 20));
  bytes(path + ".payload", body.subspan(header_bytes));
}

void Decoder::icmp(const std::string& path, uint8_t protocol, const Context& context, ByteView body) {
  const uint8_t type = body[0];
  number(path + ".type", type);
  number(path + ".code", body[1]);
  l4_checksum(path, protocol, context, body, 2);
  if (is_echo(protocol, type)) {
    number(path + ".id", get16(body, 4), FieldKind::kIcmpId);
    number(path + ".sequence", get16(body, 6));
    return bytes(path + ".payload", body.subspan(8));
  }
  number(path + ".rest", get32(body, 4));
  if (is_icmp_error(protocol, type)) return ip(path + ".quote", body.subspan(8));
  bytes(path + ".payload", body.subspan(8));
}

// RFC 2784, RFC 2890: checksum, key and sequence number are there as the flags say.
void Decoder::gre(const std::string& path, ByteView body) {
  const uint16_t flags = get16(body, 0), type = get16(body, 2);
  number(path + ".flags", flags);
  number(path + ".protocol", type);
  size_t at = 4;
  const auto option = [&](uint16_t flag, const char* name) {
    if ((flags & flag) == 0 || body.size() < at + 4) return;
    number(path + name, get32(body, at));
    at += 4;
  };
  option(kGreChecksum, ".checksum");
  option(kGreKey, ".key");
  option(kGreSequence, ".sequence");
  if ((type == kGreIpv4 || type == kGreIpv6) && body.size() > at) return ip(path + ".ip", body.subspan(at));
  bytes(path + ".payload", body.subspan(at));
}

void Decoder::esp(const std::string& path, const Context& context, ByteView body) {
  const uint32_t spi = get32(body, 0);
  Bytes scope;
  append32(scope, spi);
  number(path + ".spi", spi);
  number(path + ".sequence", get32(body, 4), FieldKind::kSequence, scope);
  const auto key = keys_.find(spi);
  if (key == keys_.end()) return bytes(path + ".payload", body.subspan(8));  // of others, passing through
  if (!context.whole) return number(path + ".length", body.size());
  const auto opened = open_esp_of_any_epoch(key->second, body);
  number(path + ".authentic", opened.has_value());
  if (opened) inside_esp(path, context, *opened, scope);
}

// Transport mode has the outer packet's addresses under its checksums.
void Decoder::inside_esp(const std::string& path, const Context& context, const OpenedEsp& opened,
                         const Bytes& scope) {
  number(path + ".sequence_high", opened.sequence >> 32);
  if (!opened.iv.empty()) fields_.push_back({path + ".iv", opened.iv, FieldKind::kNonce, scope});
  bytes(path + ".padding", opened.padding);
  bool counts = true;  // RFC 4303 section 2.4: 1, 2, 3 ...
  for (size_t i = 0; i < opened.padding.size(); ++i) counts = counts && opened.padding[i] == i + 1;
  number(path + ".padding_counts", counts);
  number(path + ".next_header", opened.next_header);
  l4(path, opened.next_header, context, opened.inner);
}

std::string dotted(uint64_t address) {
  return fmt::format("{}.{}.{}.{}", address >> 24 & 255, address >> 16 & 255, address >> 8 & 255,
                     address & 255);
}

bool ends_with_address(std::string_view path) {
  return path.ends_with("ip.source") || path.ends_with("ip.destination") || path.ends_with("quote.source") ||
         path.ends_with("quote.destination");
}

}  // namespace

Fields decode_frame(ByteView frame, const KeyRing& keys, FragmentContent content) {
  Decoder decoder(keys, content);
  decoder.frame(frame);
  return decoder.take();
}

Fields decode_ip(ByteView packet, const KeyRing& keys) {
  Decoder decoder(keys, FragmentContent::kShown);
  decoder.ip("ip", packet);
  return decoder.take();
}

const Field* find_field(const Fields& fields, std::string_view path) {
  for (const Field& field : fields)
    if (field.path == path) return &field;
  return nullptr;
}

uint64_t number_at(const Fields& fields, std::string_view path) {
  const Field* field = find_field(fields, path);
  if (field == nullptr || !std::holds_alternative<uint64_t>(field->value))
    throw std::out_of_range("no number at " + std::string(path));
  return std::get<uint64_t>(field->value);
}

std::string describe(const Field& field) {
  if (const auto* value = std::get_if<Bytes>(&field.value)) return to_hex(*value);
  const uint64_t number = std::get<uint64_t>(field.value);
  return ends_with_address(field.path) ? dotted(number) : fmt::format("{}", number);
}

std::string describe(const Fields& fields) {
  static constexpr std::string_view kTold[] = {".source",      ".destination",      ".ttl",  ".total_length",
                                               ".source_port", ".destination_port", ".type", ".code",
                                               ".spi",         ".sequence"};
  std::string line;
  for (const Field& field : fields)
    for (const std::string_view suffix : kTold)
      if (field.path.ends_with(suffix) && !field.path.starts_with("ethernet"))
        line += fmt::format("{}{}={}", line.empty() ? "" : " ", field.path, describe(field));
  return line;
}

}  // namespace espalier::test
