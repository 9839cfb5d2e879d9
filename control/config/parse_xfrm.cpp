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

IpAddress read_address(Reader& reader, const char* key) {
  return reader.parsed(key, parse_address).value_or(IpAddress{});
}

// Ports, or type and code: ICMP has them in the place of ports (as XFRM does).
void read_ports(Reader& reader, TrafficSelector& selector) {
  selector.source_port = reader.parsed("src-port", parse_ports).value_or(PortRange{});
  selector.destination_port = reader.parsed("dst-port", parse_ports).value_or(PortRange{});
  for (const char* key : {"src-port", "dst-port"})
    if (reader.has(key) && !has_ports(selector.protocol)) reader.error(key, "needs protocol tcp or udp");
  for (const char* key : {"icmp-type", "icmp-code"}) {
    const auto value = reader.optional_integer(key, 0, 255);
    if (reader.has(key) && !is_icmp(selector.protocol)) reader.error(key, "needs protocol icmp");
    if (!value || !is_icmp(selector.protocol)) continue;
    const auto number = static_cast<uint16_t>(*value);
    (std::string_view(key) == "icmp-type" ? selector.source_port : selector.destination_port) = {number,
                                                                                                 number};
  }
  if (reader.has("icmp-code") && !reader.has("icmp-type")) reader.error("icmp-code", "needs icmp-type");
}

// src and dst are required: "0.0.0.0/0" says that any address is meant, and of which family.
TrafficSelector read_selector(Reader& reader) {
  TrafficSelector selector;
  for (const char* key : {"src", "dst"}) reader.require(key);
  selector.source = reader.parsed("src", parse_prefix).value_or(IpPrefix{});
  selector.destination = reader.parsed("dst", parse_prefix).value_or(IpPrefix{});
  selector.protocol = read_protocol(reader);
  read_ports(reader, selector);
  const bool both = selector.source.address.is_set() && selector.destination.address.is_set();
  if (both && selector.source.address.family != selector.destination.address.family)
    reader.error("dst", "is of another family than src");
  return selector;
}

struct LimitWord {
  const char* soft_key;
  const char* hard_key;
  uint64_t Lifetime::*soft;
  uint64_t Lifetime::*hard;
};
constexpr LimitWord kLimitWords[] = {
    {"packet-soft", "packet-hard", &Lifetime::soft_packets, &Lifetime::hard_packets},
    {"byte-soft", "byte-hard", &Lifetime::soft_bytes, &Lifetime::hard_bytes},
    {"time-soft", "time-hard", &Lifetime::soft_seconds, &Lifetime::hard_seconds}};

Lifetime read_limit(Reader& parent) {
  Lifetime limit;
  parent.group("limit", [&](Reader& reader) {
    for (const LimitWord& word : kLimitWords) {
      limit.*word.soft = static_cast<uint64_t>(reader.integer(word.soft_key, 1, kMaxInt));
      limit.*word.hard = static_cast<uint64_t>(reader.integer(word.hard_key, 1, kMaxInt));
      if (limit.*word.hard != 0 && limit.*word.soft > limit.*word.hard)
        reader.error(word.soft_key, "is above {}", word.hard_key);
    }
  });
  return limit;
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

void read_algorithms(Reader& reader, State& state) {
  state.cipher = read_cipher(reader);
  state.integrity = read_hash(reader).value;
  // Known keywords, also where the algorithms are so wrong that their keys are not looked at.
  const bool has_hash = reader.has("hash"), has_auth_key = reader.has("auth-key");
  if (state.cipher == nullptr) return static_cast<void>(reader.has("key"));
  const Cipher& cipher = *state.cipher;
  const size_t key_bytes = cipher.key_bytes + cipher.salt_bytes;
  state.key =
      read_key(reader, "key", key_bytes, cipher.salt_bytes != 0 ? ": the key and 4 bytes of salt" : "");
  if (cipher.aead) {
    if (has_hash) reader.error("hash", "{} authenticates by itself: leave hash out", cipher.name);
    if (has_auth_key) reader.error("auth-key", "{} authenticates by itself: leave auth-key out", cipher.name);
    return;
  }
  if (!reader.require("hash") || state.integrity == nullptr) return;
  state.auth_key = read_key(reader, "auth-key", state.integrity->key_bytes, "");
}

std::optional<UdpEncapsulation> read_encap(Reader& state) {
  std::optional<UdpEncapsulation> encap;
  state.group("encap", [&](Reader& reader) {
    constexpr Word<bool> kTypes[] = {{"espinudp", true}};
    encap.emplace();
    if (reader.require("type")) reader.choice("type", kTypes, true);
    encap->source_port = static_cast<uint16_t>(reader.integer("sport", 1, 65535, 4500));
    encap->destination_port = static_cast<uint16_t>(reader.integer("dport", 1, 65535, 4500));
  });
  return encap;
}

void read_outer_addresses(Reader& reader, State& state) {
  for (const char* key : {"src", "dst"}) {
    IpAddress& address = std::string_view(key) == "src" ? state.source : state.destination;
    if (reader.require(key)) address = read_address(reader, key);
    if (address.is_set() && !address.is_unicast())
      reader.error(key, "{} is no address of a host", to_string(address));
  }
  if (state.source.is_set() && state.destination.is_set() && state.source.family != state.destination.family)
    reader.error("dst", "is of another family than src");
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
  state.mode = reader.choice("mode", kModeWords, Mode::kTunnel);
  read_algorithms(reader, state);
  state.esn = reader.flag("esn");
  state.replay_window = static_cast<uint32_t>(reader.integer("replay-window", 0, kMaxReplayWindow, 32));
  for (const uint32_t bit : reader.choices("flag", kStateFlagWords)) state.flags |= bit;
  state.encap = read_encap(reader);
  reader.group("selector", [&](Reader& selector) { state.selector = read_selector(selector); });
  state.vti = reader.located_string("vti");
  state.limit = read_limit(reader);
  model.states.push_back(std::move(state));
}

// "0.0.0.0" and "::" stand for any address, as in `ip xfrm`.
IpAddress read_template_address(Reader& reader, const char* key, bool needed) {
  const IpAddress address = read_address(reader, key);
  const bool any = !address.is_set() || address.is_unspecified();
  if (needed && !reader.has(key))
    reader.require(key);
  else if (needed && address.is_set() && any)
    reader.error(key, "must be an address: a tunnel needs both ends");
  if (any) return {};
  if (!address.is_unicast()) reader.error(key, "{} is no address of a host", to_string(address));
  return address;
}

Template read_template(Reader& reader, Direction direction) {
  Template result;
  result.line = reader.line();
  result.mode = reader.choice("mode", kModeWords, Mode::kTunnel);
  const bool needed = direction == Direction::kOut && result.mode == Mode::kTunnel;
  result.source = read_template_address(reader, "src", needed);
  result.destination = read_template_address(reader, "dst", needed);
  if (result.source.is_set() && result.destination.is_set() &&
      result.source.family != result.destination.family)
    reader.error("dst", "is of another family than src");
  result.reqid = static_cast<uint32_t>(reader.integer("reqid", 0, kMax32));
  result.optional = reader.choice("level", kLevelWords, false);
  if (result.optional && result.mode == Mode::kTunnel && direction == Direction::kOut)
    reader.error("level", "\"use\" is for transport mode: a tunnel cannot be left out");
  return result;
}

void read_policy(Reader& reader, size_t position, Model& model) {
  Policy policy;
  policy.line = reader.line();
  policy.name = reader.has("name") ? reader.label("name", kNameBytes) : fmt::format("policy {}", position);
  reader.require("direction");
  const auto direction = reader.optional_choice("direction", kPolicyDirectionWords);
  policy.direction = direction.value_or(Direction::kIn);  // what a template needs then is needed in any case
  policy.selector = read_selector(reader);
  policy.priority = static_cast<uint32_t>(reader.integer("priority", 0, kMax32));
  reader.require("action");
  const auto action = reader.optional_choice("action", kPolicyActionWords);
  policy.action = action.value_or(PolicyAction::kProtect);
  reader.groups("template",
                [&](Reader& one) { policy.templates.push_back(read_template(one, policy.direction)); });
  policy.vti = reader.located_string("vti");
  policy.limit = read_limit(reader);
  if (action == PolicyAction::kProtect && policy.templates.empty())
    reader.group_error("protects, and so needs a template");
  if (action && action != PolicyAction::kProtect && reader.has("template"))
    reader.error("template", "is only for action \"protect\"");
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
