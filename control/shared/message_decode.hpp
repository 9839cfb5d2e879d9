// From a slot as it came out of a ring to a message that may be acted upon.
//
// Version, type, size (messages.hpp) and values (record_check.hpp) are all checked here and nowhere else, so
// there is one function per direction to trust and to fuzz. What is refused comes back as a short reason in
// static storage, for the refused-messages counter and the log. Any thread; nothing is allocated.
#pragma once

#include <expected>
#include <string_view>
#include <variant>

#include "control/shared/messages_tap.hpp"

namespace espalier::message {

// An Sa carries keys: whoever holds a FromDaemon wipes it after use.
using FromDaemon =
    std::variant<ConfigBegin, Interface, Address, Route, Neighbor, NatRule, Policy, Sa, ConfigCommit,
                 ConfigAbort, Query, Explain, TapFilter, TapStart, TapRead, TapStop>;
using FromDataplane = std::variant<Ack, InterfaceRow, RouteRow, NeighborRow, SessionRow, TextRow, TapPacket,
                                   TapData, Acquire, Expire, Mapping>;

std::expected<FromDaemon, std::string_view> decode_from_daemon(const Slot& slot);
std::expected<FromDataplane, std::string_view> decode_from_dataplane(const Slot& slot);

}  // namespace espalier::message
