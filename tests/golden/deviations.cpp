#include "tests/golden/deviations.hpp"

#include <algorithm>

namespace espalier::test {
namespace {

constexpr uint8_t kCongestionExperienced = 3;
constexpr uint64_t kRedirect = 5, kRedirect6 = 137;
constexpr std::string_view kInnerTos = ".esp.ip.tos";

// Nothing leaves, and `count` packets (nothing: one or more) are dropped with `reason`.
Expected all_dropped(const std::string& reason, std::optional<uint64_t> count) {
  Expected expected;
  expected.drops.push_back({{reason}, count});
  return expected;
}

uint64_t counter(const Step& step, std::string_view name) {
  const auto found = step.linux_counters.find(name);
  return found == step.linux_counters.end() ? 0 : found->second;
}

std::vector<Fields> decode_input(const Scenario& scenario, const Step& step) {
  std::vector<Fields> decoded;
  for (const Bytes& packet : step.input)
    decoded.push_back(step.is_local() ? decode_ip(packet, scenario.keys)
                                      : decode_frame(packet, scenario.keys));
  return decoded;
}

bool has_number(const Fields& fields, std::string_view path, uint64_t value) {
  const Field* field = find_field(fields, path);
  return field != nullptr && field->value == FieldValue(value);
}

// What conntrack calls INVALID; it counts ICMP errors about unknown flows apart, and some of them twice.
std::optional<Expected> drop_invalid(const Step& step) {
  if (counter(step, "Ct.invalid") + counter(step, "Ct.icmp_error") == 0) return std::nullopt;
  return all_dropped("session_invalid", std::nullopt);
}

// An outer header with CE around an inner one that is not ECN capable, at any depth.
bool is_ce_on_not_ect(const Fields& fields) {
  return std::any_of(fields.begin(), fields.end(), [&](const Field& field) {
    if (!field.path.ends_with(kInnerTos) || (std::get<uint64_t>(field.value) & 3) != 0) return false;
    std::string outer = field.path.substr(0, field.path.size() - kInnerTos.size());
    if (outer.ends_with(".udp")) outer.resize(outer.size() - 4);
    const Field* tos = find_field(fields, outer + ".tos");
    return tos != nullptr && (std::get<uint64_t>(tos->value) & 3) == kCongestionExperienced;
  });
}

std::optional<Expected> drop_ce_on_not_ect(const std::vector<Fields>& input) {
  const auto count = std::count_if(input.begin(), input.end(), is_ce_on_not_ect);
  if (count == 0) return std::nullopt;
  return all_dropped("esp_ce_not_ect", static_cast<uint64_t>(count));
}

std::optional<Expected> drop_clear_from_tunnel(const Step& step) {
  if (!step.clear_from_tunnel) return std::nullopt;
  return all_dropped("clear_from_tunnel", std::nullopt);  // fragments are put together before
}

// The outer source of the packet, if its SA has another peer.
bool is_from_other_peer(const Scenario& scenario, const Fields& fields) {
  for (const char* path : {"ip.esp.spi", "ip.udp.esp.spi"}) {
    const Field* spi = find_field(fields, path);
    if (spi == nullptr) continue;
    const auto peer = scenario.peers.find(static_cast<uint32_t>(std::get<uint64_t>(spi->value)));
    const Field* source = find_field(fields, "ip.source");
    if (peer == scenario.peers.end() || source == nullptr) return false;
    const auto* wide = std::get_if<Bytes>(&source->value);
    return wide != nullptr
               ? *wide != peer->second
               : peer->second.size() != 4 || std::get<uint64_t>(source->value) != get32(peer->second, 0);
  }
  return false;
}

std::optional<Expected> drop_from_other_peer(const Scenario& scenario, const std::vector<Fields>& input) {
  const auto count = std::count_if(
      input.begin(), input.end(), [&](const Fields& fields) { return is_from_other_peer(scenario, fields); });
  if (count == 0) return std::nullopt;
  return all_dropped("esp_wrong_peer", static_cast<uint64_t>(count));
}

// Takes out the frames that `unwanted` holds for; how many they were.
template <class Predicate>
uint64_t take_out(FramesByInterface& output, Predicate unwanted) {
  uint64_t taken = 0;
  for (auto& [interface, frames] : output)
    taken += std::erase_if(frames, [&](const Bytes& frame) { return unwanted(decode_frame(frame, {})); });
  std::erase_if(output, [](const auto& entry) { return entry.second.empty(); });
  return taken;
}

bool is_redirect(const Fields& fields) {
  return has_number(fields, "ip.icmp.type", kRedirect) || has_number(fields, "ip.icmp6.type", kRedirect6);
}

// An ICMP error that is not inside of ESP.
bool is_clear_error(const Fields& fields) {
  return std::any_of(fields.begin(), fields.end(), [](const Field& field) {
    const size_t quote = field.path.find(".quote.");
    return quote != std::string::npos && field.path.find(".esp.") > quote;
  });
}

std::optional<Expected> without_redirects(const Step& step) {
  Expected expected = step.expected;
  if (take_out(expected.output, is_redirect) == 0) return std::nullopt;
  return expected;
}

bool was_decrypted(const Fields& fields) {
  return std::any_of(fields.begin(), fields.end(), [](const Field& field) {
    return field.path.ends_with(".esp.authentic") && field.value == FieldValue(uint64_t{1});
  });
}

std::optional<Expected> without_clear_errors(const Step& step, const std::vector<Fields>& input) {
  if (std::none_of(input.begin(), input.end(), was_decrypted)) return std::nullopt;
  Expected expected = step.expected;
  const uint64_t taken = take_out(expected.output, is_clear_error);
  if (taken == 0) return std::nullopt;
  expected.drops.push_back({{"icmp_error_clear"}, taken});
  return expected;
}

}  // namespace

std::vector<Alternative> intended_differences(const Scenario& scenario, const Step& step) {
  const std::vector<Fields> input = decode_input(scenario, step);
  std::vector<Alternative> alternatives;
  const auto add = [&](int reason, std::optional<Expected> expected) {
    if (expected) alternatives.push_back({reason, *std::move(expected)});
  };
  add(1, drop_invalid(step));
  add(2, drop_ce_on_not_ect(input));
  add(3, drop_clear_from_tunnel(step));
  add(5, without_redirects(step));
  add(6, drop_from_other_peer(scenario, input));
  add(7, without_clear_errors(step, input));
  return alternatives;
}

Judgement judge(const Scenario& scenario, const Step& step, const Observation& observed, FrameOrder order,
                Labels& labels) {
  const Labels before = labels;
  Judgement judgement{compare_step(scenario, step, step.expected, observed, order, labels), {}};
  if (judgement.differences.empty()) return judgement;
  for (const Alternative& each : intended_differences(scenario, step)) {
    Labels attempt = before;
    if (!compare_step(scenario, step, each.expected, observed, order, attempt).empty()) continue;
    labels = attempt;
    return {{}, Deviation{step.id, each.reason}};
  }
  return judgement;
}

}  // namespace espalier::test
