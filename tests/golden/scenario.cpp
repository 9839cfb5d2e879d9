#include "tests/golden/scenario.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tests/support/pcap_file.hpp"

namespace espalier::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

Result<std::string> read_text(const fs::path& file) {
  std::ifstream input(file, std::ios::binary);
  if (!input) return fail("{}: cannot be opened", file.string());
  return std::string(std::istreambuf_iterator<char>(input), std::istreambuf_iterator<char>());
}

// The entry of `table` with this name.
template <class Value, size_t kSize>
Value named(const std::pair<std::string_view, Value> (&table)[kSize], const std::string& name) {
  for (const auto& [known, value] : table)
    if (known == name) return value;
  throw std::invalid_argument("unknown name: " + name);
}

constexpr std::pair<std::string_view, FieldKind> kRandomKinds[] = {{"ip_id", FieldKind::kIpId},
                                                                   {"port", FieldKind::kPort},
                                                                   {"icmp_id", FieldKind::kIcmpId},
                                                                   {"flow_label", FieldKind::kFlowLabel},
                                                                   {"fragment_id", FieldKind::kFragmentId}};
constexpr std::pair<std::string_view, EspCodec> kCodecs[] = {{"gcm", EspCodec::kAesGcm},
                                                             {"chacha", EspCodec::kChaCha20Poly1305},
                                                             {"cbc", EspCodec::kAesCbc},
                                                             {"null", EspCodec::kNull}};
constexpr std::pair<std::string_view, EspHash> kHashes[] = {{"", EspHash::kNone},
                                                            {"sha1", EspHash::kSha1},
                                                            {"sha256", EspHash::kSha256},
                                                            {"sha384", EspHash::kSha384},
                                                            {"sha512", EspHash::kSha512}};

RandomValue parse_random(const json& entry) {
  RandomValue value{
      named(kRandomKinds, entry.at("kind")), entry.at("recorded"), entry.at("low"), entry.at("high"), {}};
  if (entry.contains("not")) value.excluded = entry["not"].get<uint32_t>();
  return value;
}

Bytes parse_ip(const std::string& text) {
  Bytes bytes(text.contains(':') ? 16 : 4);
  if (::inet_pton(bytes.size() == 16 ? AF_INET6 : AF_INET, text.c_str(), bytes.data()) != 1)
    throw std::invalid_argument("no address: " + text);
  return bytes;
}

Bytes parse_bytes(const json& entry, const char* name) {
  return from_hex(entry.at(name).get<std::string>());
}

EspKey parse_key(const json& entry) {
  EspKey key;
  key.spi = entry.at("spi");
  key.key = parse_bytes(entry, "key");
  key.esn = entry.at("esn");
  key.codec = named(kCodecs, entry.at("cipher"));
  key.icv_bytes = entry.at("icv_bytes");
  key.hash = named(kHashes, entry.at("auth"));
  key.hash_key = parse_bytes(entry, "auth_key");
  key.last_sequence = entry.at("sequence");
  return key;
}

void parse_header(const json& document, Scenario& scenario) {
  scenario.title = document.at("title");
  for (const auto& [interface, mac] : document.at("macs").items())
    scenario.macs[interface] = parse_mac(mac.get<std::string>());
  for (const json& entry : document.at("keys")) {
    const EspKey key = parse_key(entry);
    scenario.keys[key.spi] = key;
    scenario.peers[key.spi] = parse_ip(entry.at("src"));
  }
  for (const json& entry : document.at("random")) scenario.random.push_back(parse_random(entry));
  for (const json& port : document.at("host_ports")) scenario.host_ports.insert(port.get<uint16_t>());
  scenario.largest_mtu = std::max(scenario.largest_mtu, document.at("largest_mtu").get<uint32_t>());
  scenario.limited = document.at("limited");
}

ExpectedDrop parse_drop(const json& entry) {
  ExpectedDrop drop{entry.at("any_of"), {}};
  if (!entry.at("count").is_null()) drop.count = entry["count"].get<uint64_t>();
  drop.may_be_none = entry.value("may_be_none", false);
  return drop;
}

Step parse_step(const json& entry) {
  Step step;
  step.id = entry.at("id");
  step.note = entry.at("note");
  step.interface = entry.at("in");
  step.linux_counters = entry.at("linux").get<NamedCounts>();
  for (const json& drop : entry.at("drops")) step.expected.drops.push_back(parse_drop(drop));
  for (const json& each : entry.at("to_host"))
    step.expected.to_host.push_back(
        {each.at("port"), each.at("peer"), each.at("peer_port"), parse_bytes(each, "data")});
  if (entry.contains("skip")) step.skip = entry["skip"].get<std::string>();
  if (entry.contains("from_host")) step.input.push_back(parse_bytes(entry, "from_host"));
  step.wait = std::chrono::milliseconds(entry.at("wait_ms").get<uint32_t>());
  step.clear_from_tunnel = entry.at("clear_from_tunnel");
  return step;
}

Result<void> parse_steps(const json& document, const fs::path& folder, Scenario& scenario) {
  for (const json& entry : document.at("steps")) {
    Step step = parse_step(entry);
    if (entry.contains("config")) step.config = TRY(read_text(folder / entry["config"].get<std::string>()));
    scenario.steps.push_back(std::move(step));
  }
  return {};
}

// "in-lan0.pcap", "out-wan0.pcap": a frame's seconds are its step's number, from 1.
Result<void> load_frames(const fs::path& file, Scenario& scenario) {
  const std::string name = file.stem().string();
  const size_t dash = name.find('-');
  const std::string direction = name.substr(0, dash);
  const std::string interface = dash == std::string::npos ? "" : name.substr(dash + 1);
  if ((direction != "in" && direction != "out") || !scenario.macs.contains(interface))
    return fail("{}: not in-INTERFACE.pcap or out-INTERFACE.pcap", file.string());
  for (PcapFrame& each : TRY(read_pcap(file))) {
    if (each.seconds < 1 || each.seconds > scenario.steps.size())
      return fail("{}: a frame of step {}, which does not exist", file.string(), each.seconds);
    Step& step = scenario.steps[each.seconds - 1];
    if (direction == "in" && step.interface != interface)
      return fail("{}: step {} goes in by {}", file.string(), step.id, step.interface);
    (direction == "in" ? step.input : step.expected.output[interface]).push_back(std::move(each.frame));
  }
  return {};
}

Result<void> parse_document(const fs::path& folder, const std::string& text, Scenario& scenario) {
  try {
    const json document = json::parse(text);
    parse_header(document, scenario);
    return parse_steps(document, folder, scenario);
  } catch (const std::exception& error) {
    return fail("{}: {}", (folder / "steps.json").string(), error.what());
  }
}

}  // namespace

Result<Scenario> load_scenario(const fs::path& folder) {
  Scenario scenario;
  scenario.name = folder.filename().string();
  scenario.config = TRY(read_text(folder / "espalier.0.conf"));
  if (auto done = parse_document(folder, TRY(read_text(folder / "steps.json")), scenario); !done)
    return std::unexpected(std::move(done).error());
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".pcap")
      if (auto done = load_frames(entry.path(), scenario); !done)
        return std::unexpected(std::move(done).error());
  for (const Step& step : scenario.steps)
    if (step.input.empty() && !step.skip) return fail("{}: step {} has no input", folder.string(), step.id);
  return scenario;
}

NamedCounts named_drops(const DropCounts& before, const DropCounts& after) {
  NamedCounts named;
  for (const DropReasonInfo& each : kDropReasonTable) {
    const auto index = static_cast<size_t>(each.reason);
    if (each.drop && after[index] != before[index])
      named[std::string(each.name)] = after[index] - before[index];
  }
  return named;
}

}  // namespace espalier::test
