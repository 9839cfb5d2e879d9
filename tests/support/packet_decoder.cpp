#include "tests/support/packet_decoder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "tests/support/packet_builder.hpp"

namespace espalier::test {
namespace {

constexpr size_t kEthernetBytes = 14;
constexpr size_t kIpHeaderBytes = 20;
constexpr uint8_t kEchoReply = 0, kEchoRequest = 8;

bool is_icmp_error(uint8_t type) {
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

// Appends fields under a path prefix. Each function reads one header and calls the next.
class Decoder {
 public:
  explicit Decoder(const KeyRing& keys) : keys_(keys) {}

  void frame(ByteView bytes);
  void ip(const std::string& path, ByteView bytes);
  Fields take() { return std::move(fields_); }

 private:
  // What the IP header says about the bytes behind it.
  struct Context {
    Ipv4Address source;
    Ipv4Address destination;
    bool whole = true;  // false: cut off in a quote, or a fragment
  };

  void l4(const std::string& path, uint8_t protocol, const Context& context, ByteView bytes);
  void udp(const std::string& path, const Context& context, ByteView bytes);
  void tcp(const std::string& path, const Context& context, ByteView bytes);
  void icmp(const std::string& path, const Context& context, ByteView bytes);
  void esp(const std::string& path, const Context& context, ByteView bytes);
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
  Fields fields_;
};

void Decoder::frame(ByteView frame) {
  if (frame.size() < kEthernetBytes) return bytes("ethernet.truncated", frame);
  bytes("ethernet.destination", frame.first(6));
  bytes("ethernet.source", frame.subspan(6, 6));
  const uint16_t type = get16(frame, 12);
  number("ethernet.type", type);
  const ByteView body = frame.subspan(kEthernetBytes);
  if (type != kEtherTypeIpv4 || body.size() < kIpHeaderBytes) return bytes("ethernet.payload", body);
  const size_t length = std::min<size_t>(body.size(), get16(body, 2));
  ip("ip", body.first(length));
  bytes("ethernet.trailer", body.subspan(length));
}

void Decoder::ip(const std::string& path, ByteView packet) {
  const size_t header_bytes = packet.empty() ? 0 : (packet[0] & 15) * size_t{4};
  if (packet.size() < kIpHeaderBytes || header_bytes < kIpHeaderBytes || packet.size() < header_bytes)
    return bytes(path + ".malformed", packet);
  const uint16_t word = get16(packet, 6);
  const uint8_t protocol = packet[9];
  Bytes flow = copy(packet.subspan(12, 8));
  append8(flow, protocol);
  number(path + ".version", packet[0] >> 4);
  number(path + ".header_bytes", header_bytes);
  number(path + ".tos", packet[1]);
  number(path + ".total_length", get16(packet, 2));
  number(path + ".id", get16(packet, 4), FieldKind::kIpId, flow);
  number(path + ".reserved_flag", word >> 15);
  number(path + ".df", word >> 14 & 1);
  number(path + ".mf", word >> 13 & 1);
  number(path + ".fragment_offset", (word & 0x1fff) * 8u);
  number(path + ".ttl", packet[8]);
  number(path + ".protocol", protocol);
  verdict(path, ones_sum(packet.first(header_bytes)));
  number(path + ".source", get32(packet, 12));
  number(path + ".destination", get32(packet, 16));
  bytes(path + ".options", packet.subspan(kIpHeaderBytes, header_bytes - kIpHeaderBytes));

  Context context{Ipv4Address::from_host(get32(packet, 12)), Ipv4Address::from_host(get32(packet, 16)),
                  get16(packet, 2) == packet.size()};
  number(path + ".whole", context.whole);
  const ByteView body = packet.subspan(header_bytes);
  if ((word & 0x3fff) == 0) return l4(path, protocol, context, body);
  context.whole = false;
  fragment(path + ".fragment", protocol, (word & 0x1fff) * 8u, context, body);
}

// ESP fragments hold ciphertext, which differs by the IV: what they carry is compared after reassembly.
void Decoder::fragment(const std::string& path, uint8_t protocol, size_t offset, const Context& context,
                       ByteView body) {
  number(path + ".length", body.size());
  if (protocol == kProtoEsp) return;
  if (offset == 0) return l4(path, protocol, context, body);
  bytes(path + ".payload", body);
}

void Decoder::l4(const std::string& path, uint8_t protocol, const Context& context, ByteView body) {
  if (protocol == kProtoUdp && body.size() >= 8) return udp(path + ".udp", context, body);
  if (protocol == kProtoTcp && body.size() >= 20) return tcp(path + ".tcp", context, body);
  if (protocol == kProtoIcmp && body.size() >= 8) return icmp(path + ".icmp", context, body);
  if (protocol == kProtoEsp && body.size() >= 8) return esp(path + ".esp", context, body);
  bytes(path + ".payload", body);
}

// `at` is the offset of the checksum field in `body`.
void Decoder::l4_checksum(const std::string& path, uint8_t protocol, const Context& context, ByteView body,
                          size_t at) {
  if (!context.whole) return number(path + ".raw_checksum", get16(body, at));
  if (protocol == kProtoUdp && get16(body, at) == 0)
    return number(path + ".checksum", static_cast<uint64_t>(Checksum::kNone));
  const uint16_t start = protocol == kProtoIcmp
                             ? uint16_t{0}
                             : pseudo_header_sum(context.source, context.destination, protocol, body.size());
  verdict(path, ones_sum(body, start));
}

void Decoder::udp(const std::string& path, const Context& context, ByteView body) {
  number(path + ".source_port", get16(body, 0), FieldKind::kPort);
  number(path + ".destination_port", get16(body, 2), FieldKind::kPort);
  number(path + ".length", get16(body, 4));
  l4_checksum(path, kProtoUdp, context, body, 6);
  bytes(path + ".payload", body.subspan(8));
}

void Decoder::tcp(const std::string& path, const Context& context, ByteView body) {
  number(path + ".source_port", get16(body, 0), FieldKind::kPort);
  number(path + ".destination_port", get16(body, 2), FieldKind::kPort);
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

void Decoder::icmp(const std::string& path, const Context& context, ByteView body) {
  const uint8_t type = body[0];
  number(path + ".type", type);
  number(path + ".code", body[1]);
  l4_checksum(path, kProtoIcmp, context, body, 2);
  if (type == kEchoReply || type == kEchoRequest) {
    number(path + ".id", get16(body, 4), FieldKind::kIcmpId);
    number(path + ".sequence", get16(body, 6));
    return bytes(path + ".payload", body.subspan(8));
  }
  number(path + ".rest", get32(body, 4));
  if (is_icmp_error(type)) return ip(path + ".quote", body.subspan(8));
  bytes(path + ".payload", body.subspan(8));
}

void Decoder::esp(const std::string& path, const Context& context, ByteView body) {
  const uint32_t spi = get32(body, 0);
  number(path + ".spi", spi);
  number(path + ".sequence", get32(body, 4));
  const auto key = keys_.find(spi);
  if (!context.whole || key == keys_.end()) return number(path + ".length", body.size());
  const auto opened = open_esp(key->second, body);
  number(path + ".authentic", opened.has_value());
  if (!opened) return;
  Bytes scope;
  append32(scope, spi);
  number(path + ".iv", opened->iv, FieldKind::kNonce, scope);
  bytes(path + ".padding", opened->padding);
  bool counts = true;  // RFC 4303 section 2.4: 1, 2, 3 ...
  for (size_t i = 0; i < opened->padding.size(); ++i) counts = counts && opened->padding[i] == i + 1;
  number(path + ".padding_counts", counts);
  number(path + ".next_header", opened->next_header);
  if (opened->next_header == kProtoIpip) return ip(path + ".ip", opened->inner);
  bytes(path + ".payload", opened->inner);
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

Fields decode_frame(ByteView frame, const KeyRing& keys) {
  Decoder decoder(keys);
  decoder.frame(frame);
  return decoder.take();
}

Fields decode_ip(ByteView packet, const KeyRing& keys) {
  Decoder decoder(keys);
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
