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
constexpr int64_t kMinMtu = 576;  // RFC 791: every host must take datagrams of this size
constexpr int64_t kMaxMetric = 2147483647;
constexpr uint8_t kRouteOfKernel =
    2;  // RTPROT_KERNEL: connected networks; below it nothing is a route's origin
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

// "pmtu" or a number of bytes: between what fits any IPv4 link (128 bytes) and a jumbo frame (9180).
Result<uint16_t> parse_mss_clamp(std::string_view text) {
  constexpr uint32_t kLeast = 88, kMost = 9140;
  uint32_t bytes = 0;
  if (text == "pmtu") return kMssToPathMtu;
  if (!parse_decimal(text, kMost, bytes) || bytes < kLeast)
    return fail("is neither \"pmtu\" nor between {} and {}", kLeast, kMost);
  return static_cast<uint16_t>(bytes);
}

void read_common(Reader& reader, Interface& interface, uint32_t default_mtu) {
  interface.line = reader.line();
  interface.addresses = reader.parsed_list("address", parse_interface_address);
  interface.mtu = static_cast<uint32_t>(reader.integer("mtu", kMinMtu, kMaxMtu, default_mtu));
  interface.disable = reader.flag("disable");
  interface.dad = reader.flag("dad", true);
  interface.mss_clamp = reader.parsed("mss-clamp", parse_mss_clamp).value_or(uint16_t{0});
  interface.description = reader.string("description");
  if (interface.name.size() > kMaxInterfaceName)
    reader.group_error("{} is longer than {} characters", quoted(interface.name), kMaxInterfaceName);
}

void read_ethernet(Reader& reader, Interface& interface) {
  if (reader.require("device")) interface.device = reader.parsed("device", parse_device).value_or("");
}

// Outer addresses: of a gre required, of a vti only held against its states.
void read_tunnel_ends(Reader& reader, Interface& interface) {
  const bool required =
      interface.type == InterfaceType::kGre || reader.has("local-ip") || reader.has("remote-ip");
  for (const auto& [key, address] :
       {std::pair("local-ip", &interface.local_ip), {"remote-ip", &interface.remote_ip}}) {
    if (required) reader.require(key);
    const auto given = reader.parsed(key, parse_address);
    if (given && !is_unicast(*given)) reader.error(key, "{} is no address of a host", to_text(*given));
    *address = given.value_or(IpAddress{});
  }
  const IpAddress &local = interface.local_ip, &remote = interface.remote_ip;
  if (local.is_unspecified() || remote.is_unspecified()) return;
  if (local.family() != remote.family()) reader.error("remote-ip", "is of another family than local-ip");
  if (local == remote) reader.error("remote-ip", "is local-ip");
}

void read_gre(Reader& reader, Interface& interface) {
  if (const auto key = reader.optional_integer("key", 0, std::numeric_limits<uint32_t>::max()))
    interface.gre_key = static_cast<uint32_t>(*key);
  interface.ttl = static_cast<uint8_t>(reader.integer("ttl", 0, 255, interface.ttl));
  interface.protect = reader.flag("protect");
}

// What fits into 1500 bytes behind GRE (RFC 2784) in IPv4 or IPv6; a VTI's is VyOS's usual guess.
uint32_t default_mtu(const Interface& interface) {
  constexpr uint32_t kEthernet = 1500, kVti = 1480, kIpv4 = 20, kIpv6 = 40, kGre = 4, kGreKey = 4;
  if (interface.type == InterfaceType::kVti) return kVti;
  if (interface.type != InterfaceType::kGre) return kEthernet;
  const bool v6 = interface.remote_ip.family() == Family::kIpv6;
  return kEthernet - (v6 ? kIpv6 : kIpv4) - kGre - (interface.gre_key ? kGreKey : 0);
}

void read_by_type(Reader& reader, Interface& interface) {
  switch (interface.type) {
    case InterfaceType::kEthernet:
      return read_ethernet(reader, interface);
    case InterfaceType::kGre:
      read_gre(reader, interface);
      return read_tunnel_ends(reader, interface);
    case InterfaceType::kVti:
      return read_tunnel_ends(reader, interface);
    case InterfaceType::kVif:
    case InterfaceType::kDummy:
      return;
  }
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
  read_by_type(reader, interface);
  read_common(reader, interface, default_mtu(interface));
  const bool ethernet = interface.type == InterfaceType::kEthernet;
  const std::string parent = interface.name;
  const uint32_t mtu = interface.mtu;
  model.interfaces.push_back(std::move(interface));
  if (ethernet) read_vifs(reader, parent, model.interfaces.size() - 1, mtu, model);
}

constexpr Word<RouteKind> kFlagTargets[] = {{"blackhole", RouteKind::kBlackhole},
                                            {"unreachable", RouteKind::kUnreachable},
                                            {"prohibit", RouteKind::kProhibit}};

void read_target(Reader& reader, Route& route) {
  int targets = reader.has("via") || reader.has("interface");
  for (const auto& word : kFlagTargets) {
    // A value that is neither true nor false has been told of, and names a target all the same.
    const bool named = reader.optional_flag(word.name.data()).value_or(reader.has(word.name.data()));
    if (named) route.kind = word.value, ++targets;
  }
  if (targets != 1)
    reader.group_error("needs exactly one of via, interface, blackhole, unreachable and prohibit, has {}",
                       targets == 0 ? "none" : std::to_string(targets));
}

void check_vias(Reader& reader, const Route& route) {
  if (reader.has("via") && route.via.empty()) reader.error("via", "names no usable next hop");
  if (route.via.size() > RouteRecord::kMaxNextHops)
    reader.error("via", "{} next hops are more than the {} that there can be", route.via.size(),
                 RouteRecord::kMaxNextHops);
  for (const auto& via : route.via)
    if (via.value.family() != route.prefix.family())
      reader.error("via", "{} is of another family than the prefix", to_text(via.value));
}

void read_static_route(Reader& reader, Model& model) {
  Route route;
  route.line = reader.line();
  const auto prefix = reader.parsed("prefix", parse_prefix);
  if (!reader.require("prefix") || !prefix) return reader.abandon();
  route.prefix = *prefix;
  reader.set_path("routes " + to_text(route.prefix));
  route.via = reader.parsed_list("via", parse_address);
  route.interface = reader.located_string("interface");
  route.metric = static_cast<uint32_t>(reader.integer("metric", 0, kMaxMetric));
  read_target(reader, route);
  check_vias(reader, route);
  model.routes.push_back(std::move(route));
}

Result<uint8_t> parse_route_protocol(std::string_view name) {
  uint32_t number = 0;
  for (const auto& word : kRouteProtocolWords)
    if (word.name == name) return word.value;
  if (!parse_decimal(name, 255, number) || number <= kRouteOfKernel)
    return fail(
        "is not a routing protocol that can be imported: a name such as bgp, ospf, static, or a number from "
        "{} to 255",
        kRouteOfKernel + 1);
  return static_cast<uint8_t>(number);
}

void read_import(Reader& reader, Model& model) {
  constexpr Word<bool> kSources[] = {{"kernel", true}};
  if (model.import) reader.group_error("import stands twice (line {})", model.import->line);
  RouteImport& import = model.import.emplace();
  import.line = reader.line();
  reader.choice("import", kSources, true);
  import.table =
      static_cast<uint32_t>(reader.integer("table", 1, std::numeric_limits<uint32_t>::max(), import.table));
  if (!reader.has("protocol"))
    for (size_t number = kRouteOfKernel + 1; number < import.protocols.size(); ++number)
      import.protocols.set(number);
  for (const auto& protocol : reader.parsed_list("protocol", parse_route_protocol))
    import.protocols.set(protocol.value);
  if (reader.has("protocol") && import.protocols.none())
    reader.error("protocol", "names none that can be imported");
}

void read_host_path(Reader& reader, Dataplane& dataplane) {
  dataplane.host_path = reader.flag("host-path");
  dataplane.host_namespace = {reader.label("host-namespace", sizeof(SettingsRecord{}.host_namespace.bytes)),
                              reader.line_of("host-namespace")};
  const std::string& name = dataplane.host_namespace.value;
  if (name == "." || name == ".." || name.find('/') != name.npos)
    reader.error("host-namespace", "{} is not the name of a network namespace, as `ip netns` shows it",
                 quoted(name));
  if (reader.has("host-namespace") && !dataplane.host_path)
    reader.error("host-namespace", "needs host-path = true");
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
    read_host_path(reader, dataplane);
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
  root.groups("routes", [&](Reader& reader) {
    reader.has("import") ? read_import(reader, model) : read_static_route(reader, model);
  });
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
