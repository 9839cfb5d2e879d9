// xfrm: states and policies with static keys, in the vocabulary of `ip xfrm`.
#include <algorithm>
#include <limits>

#include "control/config/parse.hpp"
#include "control/shared/statistics.hpp"

namespace espalier::config {
namespace {

constexpr int64_t kMaxInt = std::numeric_limits<int64_t>::max();
constexpr size_t kNameBytes = sizeof(Name::bytes);
constexpr int64_t kMax32 = std::numeric_limits<uint32_t>::max();

// Ports, or type and code: ICMP has them in the place of ports (as XFRM does).
void read_ports(Reader& reader, Selector& selector) {
  selector.source_port = reader.parsed("src-port", parse_ports).value_or(PortRange{});
  selector.destination_port = reader.parsed("dst-port", parse_ports).value_or(PortRange{});
  for (const char* key : {"src-port", "dst-port"})
    if (reader.has(key) && !has_selector_ports(selector.protocol))
      reader.error(key, "needs protocol tcp, udp, sctp or dccp");
  for (const char* key : {"icmp-type", "icmp-code"}) {
    const auto value = reader.optional_integer(key, 0, 255);
    if (reader.has(key) && !is_icmp(selector.protocol)) reader.error(key, "needs protocol icmp or icmpv6");
    if (!value || !is_icmp(selector.protocol)) continue;
    const auto number = static_cast<uint16_t>(*value);
    (std::string_view(key) == "icmp-type" ? selector.source_port : selector.destination_port) = {number,
                                                                                                 number};
  }
  if (reader.has("icmp-code") && !reader.has("icmp-type")) reader.error("icmp-code", "needs icmp-type");
}

// src and dst are required: "0.0.0.0/0" says that any address is meant, and of which family.
Selector read_selector(Reader& reader) {
  Selector selector;
  for (const char* key : {"src", "dst"}) reader.require(key);
  const auto source = reader.parsed("src", parse_prefix), destination = reader.parsed("dst", parse_prefix);
  selector.source = source.value_or(IpPrefix{});
  selector.destination = destination.value_or(IpPrefix{});
  selector.protocol = read_protocol(reader);
  read_ports(reader, selector);
  if (source && destination && source->family() != destination->family())
    reader.error("dst", "is of another family than src");
  return selector;
}

struct LimitWord {
  const char* soft_key;
  const char* hard_key;
  uint64_t SaLimits::*soft;
  uint64_t SaLimits::*hard;
};
constexpr LimitWord kLimitWords[] = {
    {"soft-packets", "hard-packets", &SaLimits::soft_packets, &SaLimits::hard_packets},
    {"soft-bytes", "hard-bytes", &SaLimits::soft_bytes, &SaLimits::hard_bytes},
    {"soft-seconds", "hard-seconds", &SaLimits::soft_seconds, &SaLimits::hard_seconds}};

SaLimits read_limits(Reader& parent) {
  SaLimits limits;
  parent.group("limit", [&](Reader& reader) {
    for (const LimitWord& word : kLimitWords) {
      limits.*word.soft = static_cast<uint64_t>(reader.integer(word.soft_key, 1, kMaxInt));
      limits.*word.hard = static_cast<uint64_t>(reader.integer(word.hard_key, 1, kMaxInt));
      if (limits.*word.hard != 0 && limits.*word.soft > limits.*word.hard)
        reader.error(word.soft_key, "is above {}", word.hard_key);
    }
  });
  return limits;
}

// "0x" and pairs of hexadecimal digits; an empty vector if it is anything else.
std::vector<uint8_t> parse_hex(std::string_view text) {
  const auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
  };
  if (!text.starts_with("0x") || text.size() % 2 != 0) return {};
  text.remove_prefix(2);
  std::vector<uint8_t> bytes(text.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return {};
    bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return bytes;
}

// No message repeats the value or a part of it.
Secret read_key(Reader& reader, const char* key, size_t bytes, std::string_view hint) {
  if (!reader.require(key)) return {};
  const Secret text = reader.secret(key);
  Secret result(parse_hex(text.text()));
  if (text.empty()) return {};
  if (result.empty())
    reader.error(key, "is not 0x and an even number of hexadecimal digits");
  else if (result.bytes().size() != bytes)
    reader.error(key, "has {} bytes, but needs {}{}", result.bytes().size(), bytes, hint);
  return result;
}

// The ICV may be cut to another length than the hash's own (`auth-trunc` of `ip xfrm`).
uint8_t read_icv_bytes(Reader& reader, const Integrity& integrity) {
  constexpr Word<int> kBits[] = {{"96", 96},   {"128", 128}, {"160", 160}, {"192", 192},
                                 {"256", 256}, {"384", 384}, {"512", 512}};
  const auto bits = reader.parsed("auth-trunc", [&](std::string_view text) -> Result<int> {
    for (const auto& word : kBits)
      if (word.name == text && word.value <= 8 * integrity.key_bytes) return word.value;
    return fail("is no length in bits of {}: 96, 128, 160, 192, 256, 384 or 512, no longer than the hash",
                integrity.name);
  });
  return bits ? static_cast<uint8_t>(*bits / 8) : integrity.icv_bytes;
}

void read_cipher_key(Reader& reader, State& state) {
  const Cipher& cipher = *state.cipher;
  if (cipher.cipher == EspCipher::kNull) {
    if (reader.has("key")) reader.error("key", "null does not encrypt: leave key out");
    return;
  }
  const size_t bytes = cipher.key_bytes + cipher.salt_bytes();
  state.key = read_key(reader, "key", bytes, cipher.aead() ? ": the key and 4 bytes of salt" : "");
}

void read_integrity(Reader& reader, State& state) {
  const Cipher& cipher = *state.cipher;
  if (cipher.aead()) {
    for (const char* key : {"hash", "auth-key", "auth-trunc"})
      if (reader.has(key)) reader.error(key, "{} authenticates by itself: leave {} out", cipher.name, key);
    return;
  }
  if (!reader.require("hash") || state.integrity == nullptr) return;
  state.auth_key = read_key(reader, "auth-key", state.integrity->key_bytes, "");
  state.algorithm.integrity = state.integrity->integrity;
  state.algorithm.icv_bytes = read_icv_bytes(reader, *state.integrity);
}

void read_algorithms(Reader& reader, State& state) {
  state.cipher = read_cipher(reader, &kNullCipher);
  state.integrity = read_hash(reader).value;
  // Known keywords, also where the algorithms are so wrong that their keys are not looked at.
  for (const char* key : {"key", "auth-key", "auth-trunc"}) reader.has(key);
  if (state.cipher == nullptr) return;
  state.algorithm = {.cipher = state.cipher->cipher,
                     .integrity = EspIntegrity::kNone,
                     .key_bytes = state.cipher->key_bytes,
                     .icv_bytes = state.cipher->icv_bytes};
  read_cipher_key(reader, state);
  read_integrity(reader, state);
}

std::optional<UdpEncapsulation> read_encap(Reader& state, Direction direction) {
  constexpr int64_t kKeepalive = 20;  // RFC 3948 section 4
  const bool out = direction == Direction::kOut;
  std::optional<UdpEncapsulation> encap;
  state.group("encap", [&](Reader& reader) {
    constexpr Word<bool> kTypes[] = {{"espinudp", true}};
    encap.emplace();
    if (reader.require("type")) reader.choice("type", kTypes, true);
    encap->source_port = static_cast<uint16_t>(reader.integer("sport", 1, 65535, 4500));
    encap->destination_port = static_cast<uint16_t>(reader.integer("dport", 1, 65535, 4500));
  });
  const auto keepalive = state.optional_integer("keepalive", 0, 65535);
  const bool mapping = state.flag("mapping");
  if (keepalive.value_or(0) != 0 && (!out || !encap))
    state.error("keepalive", "is for direction \"out\" with encap");
  if (mapping && (out || !encap)) state.error("mapping", "is for direction \"in\" with encap");
  if (!encap) return encap;
  encap->keepalive_s = static_cast<uint16_t>(keepalive.value_or(out ? kKeepalive : 0));
  encap->mapping = mapping;
  return encap;
}

void read_outer_addresses(Reader& reader, State& state) {
  const auto read = [&](const char* key) {
    std::optional<IpAddress> address;
    if (reader.require(key)) address = reader.parsed(key, parse_address);
    if (address && !is_unicast(*address)) reader.error(key, "{} is no address of a host", to_text(*address));
    return address;
  };
  const auto source = read("src"), destination = read("dst");
  if (source && destination && source->family() != destination->family())
    reader.error("dst", "is of another family than src");
  state.source = source.value_or(IpAddress{});
  state.destination = destination.value_or(IpAddress{});
}

// RFC 4303 section 2.2.1: the last number is 2^32-1, with ESN 2^64-1 (libconfig ends at 2^63-1).
void read_numbers(Reader& reader, State& state) {
  state.esn = reader.flag("esn");
  state.replay_window = static_cast<uint32_t>(reader.integer("replay-window", 0, kMaxReplayWindow, 32));
  if (state.esn && state.replay_window == 0)
    reader.error("replay-window", "must be at least 1 with esn: the window tells the high half of a number");
  state.last_sequence =
      static_cast<uint64_t>(reader.integer("last-sequence", 0, state.esn ? kMaxInt : kMax32));
}

void read_state_selector(Reader& reader, State& state) {
  for (const uint32_t bit : reader.choices("flag", kStateFlagWords)) state.flags |= bit;
  reader.group("selector", [&](Reader& selector) { state.selector = read_selector(selector); });
  if (!state.selector) return;
  if ((state.flags & kAfUnspec) != 0)
    reader.error("flag", "\"af-unspec\" has no effect beside a selector: leave one of them out");
  if (state.mode == EspMode::kTransport && state.selector->source.family() != state.source.family())
    reader.error("selector",
                 "is of another family than src and dst: in transport mode they are the packet's own");
}

void read_state(Reader& reader, Model& model) {
  State state;
  state.line = reader.line();
  const auto spi = reader.required_integer("spi", 256, kMax32);  // RFC 4303 section 2.1: below is reserved
  if (!spi) return;
  state.spi = static_cast<uint32_t>(*spi);
  reader.set_path(fmt::format("xfrm.state 0x{:x}", state.spi));
  if (reader.require("direction"))
    state.direction = reader.choice("direction", kStateDirectionWords, Direction::kOut);
  state.name = reader.has("name") ? reader.label("name", kNameBytes) : default_name(state);
  read_outer_addresses(reader, state);
  state.reqid = static_cast<uint32_t>(reader.integer("reqid", 0, kMax32));
  state.mode = reader.choice("mode", kModeWords, EspMode::kTunnel);
  read_algorithms(reader, state);
  read_numbers(reader, state);
  state.encap = read_encap(reader, state.direction);
  read_state_selector(reader, state);
  state.vti = reader.located_string("vti");
  state.limits = read_limits(reader);
  model.states.push_back(std::move(state));
}

// "0.0.0.0" and "::" stand for any address, as in `ip xfrm`.
IpAddress read_template_address(Reader& reader, const char* key, bool needed) {
  const auto address = reader.parsed(key, parse_address);
  const bool any = !address || address->is_unspecified();
  if (needed && !reader.has(key))
    reader.require(key);
  else if (needed && address && any)
    reader.error(key, "must be an address: a tunnel needs both ends");
  if (any) return {};
  if (!is_unicast(*address)) reader.error(key, "{} is no address of a host", to_text(*address));
  return *address;
}

Template read_template(Reader& reader, Direction direction) {
  Template result;
  result.line = reader.line();
  PolicyTemplate& record = result.record;
  record.mode = reader.choice("mode", kModeWords, EspMode::kTunnel);
  const bool tunnel_out = direction == Direction::kOut && record.mode == EspMode::kTunnel;
  record.source = read_template_address(reader, "src", tunnel_out);
  record.destination = read_template_address(reader, "dst", tunnel_out);
  if (!record.source.is_unspecified() && !record.destination.is_unspecified() &&
      record.source.family() != record.destination.family())
    reader.error("dst", "is of another family than src");
  record.reqid = Reqid(static_cast<uint32_t>(reader.integer("reqid", 0, kMax32)));
  record.spi = Spi(static_cast<uint32_t>(reader.integer("spi", 256, kMax32)));
  record.level = reader.choice("level", kLevelWords, TemplateLevel::kRequired);
  if (record.level == TemplateLevel::kUse && tunnel_out)
    reader.error("level", "\"use\" is for transport mode: a tunnel cannot be left out");
  return result;
}

void read_templates(Reader& reader, std::optional<PolicyAction> action, Policy& policy) {
  reader.groups("template",
                [&](Reader& one) { policy.templates.push_back(read_template(one, policy.direction)); });
  if (policy.templates.size() > PolicyRecord::kMaxTemplates)
    reader.error("template", "{} are more than the {} that there can be", policy.templates.size(),
                 PolicyRecord::kMaxTemplates);
  if (action == PolicyAction::kProtect && policy.templates.empty())
    reader.group_error("protects, and so needs a template");
  if (action && action != PolicyAction::kProtect && reader.has("template"))
    reader.error("template", "is only for action \"protect\"");
}

void read_policy(Reader& reader, size_t position, Model& model) {
  Policy policy;
  policy.line = reader.line();
  policy.name = reader.has("name") ? reader.label("name", kNameBytes) : fmt::format("policy {}", position);
  reader.require("direction");
  const auto direction = reader.optional_choice("direction", kPolicyDirectionWords);
  policy.direction = direction.value_or(Direction::kIn);  // what a template needs then is needed in any case
  policy.selector = read_selector(reader);
  policy.interface = reader.located_string("interface");
  if (direction && direction != Direction::kOut && reader.has("interface"))
    reader.error("interface", "is the interface that packets leave by: only for direction \"out\"");
  policy.priority = static_cast<uint32_t>(reader.integer("priority", 0, kMax32));
  reader.require("action");
  const auto action = reader.optional_choice("action", kPolicyActionWords);
  policy.action = action.value_or(PolicyAction::kProtect);
  read_templates(reader, action, policy);
  policy.vti = reader.located_string("vti");
  read_limits(reader);
  policy.has_limit = reader.has("limit");
  model.policies.push_back(std::move(policy));
}

}  // namespace

void parse_xfrm(Reader& root, Model& model) {
  root.group("xfrm", [&](Reader& xfrm) {
    xfrm.groups("state", [&](Reader& reader) { read_state(reader, model); });
    size_t position = 0;
    xfrm.groups("policy", [&](Reader& reader) { read_policy(reader, ++position, model); });
    if (model.policies.size() > statistics::kMaxPolicies)
      xfrm.error("policy", "{} policies are more than the {} that there can be", model.policies.size(),
                 statistics::kMaxPolicies);
  });
}

}  // namespace espalier::config
