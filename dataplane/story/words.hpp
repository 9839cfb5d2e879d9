// Packets, policies, SAs and the like as the operator reads them in `explain` and `trace`. Any thread; pure.
#pragma once

#include <string>
#include <string_view>

#include "control/shared/records.hpp"
#include "dataplane/context.hpp"

namespace espalier::dataplane::story {

std::string text(const Tuple& tuple);  // "UDP 10.1.0.10:53 > 10.2.0.10:53"
std::string text(
    const PolicyRecord& policy);             // "policy to-b (priority 0, 10.1.0.0/24 > 10.2.0.0/24): protect"
std::string text(const Sa& sa);              // "SA to-b SPI 0x1001 192.0.2.1 > 203.0.113.1 reqid 1"
std::string text(const MacAddress& mac);     // "02:00:00:00:00:01"
std::string_view text(IcmpReason reason);    // "ICMP time exceeded"
std::string_view text(PolicyAction action);  // "protect"

// Why there is no way to `destination`: "a blackhole route", "no route to 10.9.0.1".
std::string no_way(RouteVerdict verdict, IpAddress destination);

// The route that decided: "route 10.2.0.0/16 metric 20", "network 192.0.2.0/24"; empty where the tables do
// not tell (link-local addresses, multicast). `destination`: that was looked up.
std::string route_text(const Snapshot& tables, const RouteResult& route, IpAddress destination);

// An IP packet by its bytes, as it is on the wire: "ESP 192.0.2.1 > 203.0.113.1 SPI 0x1001 number 17, 120
// bytes"; fragments with their place. `packet` may be of any bytes.
std::string wire_text(std::span<const uint8_t> packet);

}  // namespace espalier::dataplane::story
