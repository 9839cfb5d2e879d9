#include "tests/golden/scenario.hpp"

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

FieldKind parse_kind(const std::string& name) {
  if (name == "ip_id") return FieldKind::kIpId;
  if (name == "port") return FieldKind::kPort;
  if (name == "icmp_id") return FieldKind::kIcmpId;
  throw std::invalid_argument("unknown kind of random value: " + name);
}

RandomValue parse_random(const json& entry) {
  RandomValue value{
      parse_kind(entry.at("kind")), entry.at("recorded"), entry.at("low"), entry.at("high"), {}};
  if (entry.contains("not")) value.excluded = entry["not"].get<uint16_t>();
  return value;
}

void parse_header(const json& document, Scenario& scenario) {
  scenario.title = document.at("title");
  for (const auto& [interface, mac] : document.at("macs").items())
    scenario.macs[interface] = parse_mac(mac.get<std::string>());
  for (const json& entry : document.at("esp_keys")) {
    const uint32_t spi = entry.at("spi");
    scenario.keys[spi] = {spi, from_hex(entry.at("key").get<std::string>()), false};
  }
  for (const json& entry : document.at("random")) scenario.random.push_back(parse_random(entry));
}

Step parse_step(const json& entry) {
  Step step;
  step.id = entry.at("id");
  step.note = entry.value("note", "");
  step.interface = entry.at("in");
  step.linux_counters = entry.at("linux").get<NamedCounts>();
  step.drops = entry.at("drops").get<NamedCounts>();
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
    (direction == "in" ? step.input : step.output[interface]).push_back(std::move(each.frame));
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

std::vector<std::string> scenario_names(const fs::path& recordings) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(recordings))
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

Result<Scenario> load_scenario(const fs::path& folder) {
  Scenario scenario;
  scenario.name = folder.filename().string();
  scenario.config = TRY(read_text(folder / "espalier.conf"));
  if (auto done = parse_document(folder, TRY(read_text(folder / "steps.json")), scenario); !done)
    return std::unexpected(std::move(done).error());
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".pcap")
      if (auto done = load_frames(entry.path(), scenario); !done)
        return std::unexpected(std::move(done).error());
  for (const Step& step : scenario.steps)
    if (step.input.empty()) return fail("{}: step {} has no input", folder.string(), step.id);
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
