// From a slot as it came out of a ring to a message that may be acted upon.
//
// Version, type, size (messages.hpp) and values (record_check.hpp) are all checked here and nowhere else, so
// there is one function per direction to trust and to fuzz. What is refused comes back as a short reason in
// static storage, for the refused-messages counter and the log. Any thread; nothing is allocated.
#pragma once

#include <expected>
#include <string_view>
#include <variant>

#include "control/shared/messages_ike.hpp"
#include "control/shared/messages_tap.hpp"

namespace espalier::message {

// An Sa carries keys: whoever holds a FromDaemon wipes it after use.
using FromDaemon =
    std::variant<ConfigBegin, Interface, Address, Route, Neighbor, NatRule, Policy, Sa, ConfigCommit,
                 ConfigAbort, Query, Explain, TapFilter, TapStart, TapRead, TapStop>;
using FromDataplane = std::variant<Ack, InterfaceRow, RouteRow, NeighborRow, SessionRow, TextRow, TapPacket,
                                   TapData, Acquire, Expire, Mapping>;

// Between the dataplane and espalier-ike. An IkeSa carries keys as well.
using FromIke = std::variant<IkeSend, IkeBegin, IkeSa, IkeSaRemove, IkeSaMove, IkeSaAsk, IkeWay, IkeCommit>;
using ForIke = std::variant<IkeReceived, IkeAck, IkeSaUse, IkeWayIs, IkeAcquire, IkeExpire, IkeMapping>;

std::expected<FromDaemon, std::string_view> decode_from_daemon(const Slot& slot);
std::expected<FromDataplane, std::string_view> decode_from_dataplane(const Slot& slot);
std::expected<FromIke, std::string_view> decode_from_ike(const Slot& slot);
std::expected<ForIke, std::string_view> decode_for_ike(const Slot& slot);

}  // namespace espalier::message
