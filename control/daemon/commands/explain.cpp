// "explain": one synthetic packet through the live tables; the dataplane's own stages answer.
#include <algorithm>

#include "control/config/address.hpp"
#include "control/daemon/commands/page.hpp"
#include "control/daemon/commands/sa_list.hpp"
#include "control/daemon/text.hpp"

namespace espalier::daemon::commands {
namespace {

Result<IpAddress> required_address(Request& request, const char* key) {
  const auto address = config::parse_address(TRY(request.required_text(key)));
  if (!address) return fail("\"{}\" {}", key, address.error().text);
  return *address;
}

Result<InterfaceIndex> ingress(const config::Tables& tables, std::string_view name) {
  if (name == "local") return kNoInterface;
  for (const auto& interface : tables.interfaces)
    if (interface.name.view() == name) return interface.index;
  return fail("no interface {}; \"local\" is the gateway itself", config::quoted(name));
}

Result<uint8_t> protocol(Request& request) {
  const auto name = TRY(request.text("protocol"));
  if (!name) return uint8_t{kProtoUdp};
  const auto found = config::find_protocol(*name);
  if (!found || *found == kProtoAny) return fail("no protocol {}", config::quoted(*name));
  return *found;
}

// The dataplane finds the SA by its SPI alone: that has to stand for one SA.
Result<Spi> inbound_spi(std::string_view tunnel, const SharedMemory* memory) {
  if (memory == nullptr) return fail("no SA is installed");
  const auto number = spi_of(tunnel);
  std::vector<Spi> spis, found;
  for (const auto& [index, sa] : installed_sas(*memory).sas) {
    if (sa.direction != Direction::kIn) continue;
    spis.push_back(sa.spi);
    if (number ? sa.spi == *number : sa.name.view() == tunnel) found.push_back(sa.spi);
  }
  if (found.empty()) return fail("no inbound SA {}; show ipsec sa lists them", config::quoted(tunnel));
  if (found.size() > 1 || std::count(spis.begin(), spis.end(), found[0]) > 1)
    return fail("{} stands for several inbound SAs, or its SPI does; show ipsec sa lists them",
                config::quoted(tunnel));
  return found[0];
}

// Ports and ICMP types that the protocol does not have are refused, not ignored.
Result<void> read_l4(Request& request, message::Explain& e) {
  const bool icmp = config::is_icmp(e.protocol), ports = e.protocol == kProtoTcp || e.protocol == kProtoUdp;
  const auto sport = TRY(request.number("sport", 0, 65535)), dport = TRY(request.number("dport", 0, 65535)),
             type = TRY(request.number("icmp_type", 0, 255));
  if (sport && !ports && !icmp) return fail("\"sport\" is for tcp and udp, and for icmp the identifier");
  if (dport && !ports) return fail("\"dport\" is for tcp and udp");
  if (type && !icmp) return fail("\"icmp_type\" is for protocol icmp and icmpv6");
  e.source_port = static_cast<uint16_t>(sport.value_or(e.source_port));
  e.destination_port = static_cast<uint16_t>(dport.value_or(e.destination_port));
  constexpr uint8_t kEchoRequest = 8, kEchoRequest6 = 128;
  e.icmp_type = static_cast<uint8_t>(type.value_or(e.protocol == kProtoIcmp ? kEchoRequest : kEchoRequest6));
  return {};
}

Result<void> read_numbers(Request& request, message::Explain& e) {
  e.size_bytes = static_cast<uint16_t>(TRY(request.number("size", 40, 65535)).value_or(e.size_bytes));
  e.ttl = static_cast<uint8_t>(TRY(request.number("ttl", 0, 255)).value_or(e.ttl));
  e.dont_fragment = TRY(request.flag("df"));
  if (!e.destination.is_v4() && e.size_bytes < 48) return fail("\"size\" of an IPv6 packet is at least 48");
  return {};
}

Result<message::Explain> packet_of(Context& context, Request& request) {
  message::Explain e;
  e.in = TRY(ingress(context.applier.running(), TRY(request.required_text("in"))));
  e.source = TRY(required_address(request, "src"));
  e.destination = TRY(required_address(request, "dst"));
  if (e.source.family() != e.destination.family()) return fail("\"src\" and \"dst\" are of two families");
  e.protocol = TRY(protocol(request));
  if (e.protocol == (e.source.is_v4() ? kProtoIcmpv6 : kProtoIcmp))
    return fail("{} has protocol {}", config::name_of(e.source.family()),
                e.source.is_v4() ? "icmp" : "icmpv6");
  TRY(read_l4(request, e));
  TRY(read_numbers(request, e));
  if (const auto tunnel = TRY(request.text("tunnel"))) {
    if (e.in == kNoInterface) return fail("\"tunnel\" is for what came in; \"local\" is the gateway itself");
    e.decrypted = 1;
    e.sa_spi = TRY(inbound_spi(*tunnel, context.supervisor.memory()));
  }
  return e;
}

Json lines_of(const DataplaneLink::Answer& answer) {
  Json lines = Json::array();
  for (const auto& row : answer.rows)
    if (const auto* text = std::get_if<message::TextRow>(&row))
      lines.push_back({{"stage", text->stage.view()}, {"text", text->text.view()}});
  return {{"lines", std::move(lines)}};
}

}  // namespace

Result<void> explain(Context& context, Request& request, const Reply& reply) {
  const message::Explain packet = TRY(packet_of(context, request));
  TRY(request.no_others());
  ask(
      context, [packet](uint64_t id) { return message::make(packet, id, 0); }, reply, lines_of);
  return {};
}

}  // namespace espalier::daemon::commands
