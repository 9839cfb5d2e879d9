// dataplane, interfaces, routes, neighbors, icmp.
#include <algorithm>
#include <limits>

#include "control/config/device.hpp"
#include "control/config/parse.hpp"
#include "control/shared/limits.hpp"
#include "control/shared/statistics.hpp"

namespace espalier::config {
namespace {

constexpr int64_t kMaxMtu =
    9702;  // the largest frame of common NICs (9728) without Ethernet header, VLAN tags, CRC
constexpr int64_t kMinMtu = 576;          // RFC 791: every host must take datagrams of this size
constexpr size_t kMaxInterfaceName = 15;  // Linux's IFNAMSIZ without its terminator

// "1-3,6" as in Linux's cpulist.
Result<std::vector<uint16_t>> parse_cores(std::string_view text) {
  constexpr uint32_t kMaxCore = 1023;
  std::vector<uint16_t> cores;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    const std::string_view part = text.substr(at, comma - at);
    const size_t dash = part.find('-');
    uint32_t low = 0, high = 0;
    if (!parse_decimal(part.substr(0, dash), kMaxCore, low))
      return fail("is not a list of cores, as in \"1-3,6\"");
    high = low;
    if (dash != part.npos && (!parse_decimal(part.substr(dash + 1), kMaxCore, high) || high < low))
      return fail("is not a list of cores, as in \"1-3,6\"");
    for (uint32_t core = low; core <= high; ++core) cores.push_back(static_cast<uint16_t>(core));
    at = comma + 1;
  }
  std::sort(cores.begin(), cores.end());
  if (std::adjacent_find(cores.begin(), cores.end()) != cores.end()) return fail("names a core twice");
  return cores;
}

void read_common(Reader& reader, Interface& interface, uint32_t default_mtu) {
  interface.line = reader.line();
  interface.addresses = reader.parsed_list("address", parse_interface_address);
  interface.mtu = static_cast<uint32_t>(reader.integer("mtu", kMinMtu, kMaxMtu, default_mtu));
  interface.disable = reader.flag("disable");
  interface.description = reader.string("description");
  if (interface.name.size() > kMaxInterfaceName)
    reader.group_error("{} is longer than {} characters", quoted(interface.name), kMaxInterfaceName);
}

// "pmtu" or a number of bytes.
Result<uint32_t> parse_mss_clamp(std::string_view text) {
  uint32_t bytes = 0;
  if (text == "pmtu") return kClampToPathMtu;
  if (!parse_decimal(text, 65495, bytes) || bytes < 500)
    return fail("is neither \"pmtu\" nor between 500 and 65495");
  return bytes;
}

void read_ethernet(Reader& reader, Interface& interface) {
  if (reader.require("device")) interface.device = reader.parsed("device", parse_device).value_or("");
}

void read_gre(Reader& reader, Interface& interface) {
  for (const char* key : {"local-ip", "remote-ip"}) reader.require(key);
  interface.local_ip = reader.parsed("local-ip", parse_address).value_or(IpAddress{});
  interface.remote_ip = reader.parsed("remote-ip", parse_address).value_or(IpAddress{});
  if (interface.local_ip.is_set() && interface.remote_ip.is_set() &&
      interface.local_ip.family != interface.remote_ip.family)
    reader.error("remote-ip", "is of another family than local-ip");
  interface.protect = reader.located_string("protect");
  if (const auto key = reader.optional_integer("key", 0, std::numeric_limits<uint32_t>::max()))
    interface.gre_key = static_cast<uint32_t>(*key);
}

void read_vifs(Reader& reader, const std::string& parent, size_t parent_index, uint32_t mtu, Model& model) {
  std::vector<bool> taken(4095);
  reader.groups("vif", [&](Reader& vif) {
    const auto number = vif.required_integer("id", 1, 4094);
    if (!number) return;
    const auto id = static_cast<uint16_t>(*number);
    if (taken[id]) vif.error("id", "{} stands twice", id);
    taken[id] = true;
    Interface interface;
    interface.type = InterfaceType::kVif;
    interface.parent = parent_index;
    interface.vlan_id = id;
    interface.name = fmt::format("{}.{}", parent, id);
    vif.set_path("interfaces." + interface.name);
    read_common(vif, interface, mtu);
    if (interface.mtu > mtu) vif.error("mtu", "{} is above the {} of {}", interface.mtu, mtu, parent);
    model.interfaces.push_back(std::move(interface));
  });
}

void read_interface(std::string name, Reader& reader, Model& model) {
  Interface interface;
  interface.name = std::move(name);
  if (interface.name == "any" || interface.name == "local")
    reader.group_error("{} cannot be the name of an interface", quoted(interface.name));
  interface.type = reader.choice("type", kInterfaceTypeWords, InterfaceType::kEthernet);
  read_common(reader, interface, 1500);
  interface.mss_clamp = reader.parsed("mss-clamp", parse_mss_clamp);
  if (interface.type == InterfaceType::kEthernet) read_ethernet(reader, interface);
  if (interface.type == InterfaceType::kGre) read_gre(reader, interface);
  const bool ethernet = interface.type == InterfaceType::kEthernet;
  const std::string parent = interface.name;
  const uint32_t mtu = interface.mtu;
  model.interfaces.push_back(std::move(interface));
  if (ethernet) read_vifs(reader, parent, model.interfaces.size() - 1, mtu, model);
}

struct TargetWord {
  const char* key;
  RouteTarget target;
};
constexpr TargetWord kFlagTargets[] = {{"blackhole", RouteTarget::kBlackhole},
                                       {"unreachable", RouteTarget::kUnreachable},
                                       {"prohibit", RouteTarget::kProhibit}};

void read_route(Reader& reader, Model& model) {
  Route route;
  route.line = reader.line();
  const auto prefix = reader.parsed("prefix", parse_prefix);
  if (!reader.require("prefix") || !prefix) return reader.abandon();
  route.prefix = *prefix;
  reader.set_path("routes " + to_string(route.prefix));
  route.via = reader.parsed_list("via", parse_address);
  route.interface = reader.located_string("interface");
  if (const auto metric = reader.optional_integer("metric", 0, std::numeric_limits<uint32_t>::max()))
    route.metric = static_cast<uint32_t>(*metric);
  int targets = reader.has("via") || reader.has("interface");
  route.target = reader.has("via") ? RouteTarget::kVia : RouteTarget::kInterface;
  for (const TargetWord& word : kFlagTargets) {
    // A value that is neither true nor false has been told of, and names a target all the same.
    const bool named = reader.optional_flag(word.key).value_or(reader.has(word.key));
    if (named) route.target = word.target, ++targets;
  }
  if (targets != 1)
    reader.group_error("needs exactly one of via, interface, blackhole, unreachable and prohibit, has {}",
                       targets == 0 ? "none" : std::to_string(targets));
  if (reader.has("via") && route.via.empty()) reader.error("via", "names no usable next hop");
  for (const auto& via : route.via)
    if (via.value.family != route.prefix.address.family)
      reader.error("via", "{} is of another family than the prefix", to_string(via.value));
  model.routes.push_back(std::move(route));
}

}  // namespace

void parse_dataplane(Reader& root, Model& model) {
  Dataplane& dataplane = model.dataplane;
  root.group("dataplane", [&](Reader& reader) {
    dataplane.line = reader.line();
    dataplane.cores = reader.parsed("cores", parse_cores).value_or(std::vector<uint16_t>());
    const int64_t as_cores = dataplane.cores.empty() ? 1 : static_cast<int64_t>(dataplane.cores.size());
    dataplane.workers =
        static_cast<uint32_t>(reader.integer("workers", 1, statistics::kMaxWorkers, as_cores));
    dataplane.busy_poll = reader.choice("poll", kPollWords, false);
    dataplane.memory = reader.choice("memory", kMemoryWords, Memory::kAuto);
    dataplane.sessions =
        static_cast<uint32_t>(reader.integer("sessions", 1024, limits::kSessions, dataplane.sessions));
    if (!dataplane.cores.empty() && dataplane.cores.size() != dataplane.workers)
      reader.error("cores", "names {} cores for {} workers", dataplane.cores.size(), dataplane.workers);
  });
  root.group("icmp", [&](Reader& reader) {
    model.icmp_errors_per_second =
        static_cast<uint32_t>(reader.integer("rate", 0, 10'000'000, model.icmp_errors_per_second));
  });
}

void parse_interfaces(Reader& root, Model& model) {
  root.named_groups("interfaces", [&](std::string name, Reader& reader) {
    read_interface(std::move(name), reader, model);
  });
  if (model.interfaces.size() > statistics::kMaxInterfaces)
    root.error("interfaces", "{} interfaces are more than the {} that there can be", model.interfaces.size(),
               statistics::kMaxInterfaces);
}

void parse_routes(Reader& root, Model& model) {
  root.groups("routes", [&](Reader& reader) { read_route(reader, model); });
  if (model.routes.size() > limits::kRoutes) root.error("routes", "more than {} routes", limits::kRoutes);
}

void parse_neighbors(Reader& root, Model& model) {
  root.groups("neighbors", [&](Reader& reader) {
    for (const char* key : {"interface", "address", "mac"}) reader.require(key);
    const auto address = reader.parsed("address", parse_address);
    const auto mac = reader.parsed("mac", parse_mac);
    model.neighbors.push_back({reader.line(), reader.located_string("interface"),
                               address.value_or(IpAddress{}), mac.value_or(MacAddress{})});
  });
}

}  // namespace espalier::config
