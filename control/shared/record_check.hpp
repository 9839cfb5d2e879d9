// Validation of records that came through a ring.
//
// A record's type says nothing about its values: the sender may be broken, another version, or hostile. The
// receiver decodes by message_decode.hpp, which calls check() on everything, refuses what fails, and counts
// it. Only what one record can say by itself is checked, and that indices fit the statistics segment; whether
// a route's interface exists is the table's question. std::nullopt: valid. Otherwise a short reason (static
// storage) for the log. Any thread.
#pragma once

#include <optional>
#include <string_view>

#include "control/shared/messages_ike.hpp"
#include "control/shared/messages_tap.hpp"

namespace espalier::record_check {

using Finding = std::optional<std::string_view>;

// Which algorithms exist; for who reads a configuration, too. AES-GCM with keys of 16, 24 or 32 bytes and an
// ICV of 8, 12 or 16 (RFC 4106); ChaCha20-Poly1305 (RFC 7634); AES-CBC (RFC 3602) or NULL (RFC 2410) with an
// HMAC, cut to 12 bytes or more (RFC 2404: 12 for SHA-1, RFC 4868: half of the others).
Finding check(EspAlgorithm algorithm);

Finding check(const SettingsRecord& record);
Finding check(const InterfaceRecord& record);
Finding check(const AddressRecord& record);
Finding check(const RouteRecord& record);
Finding check(const NeighborRecord& record);
Finding check(const NatRuleRecord& record);
Finding check(const PolicyRecord& record);
Finding check(const SaRecord& record);
Finding check(const message::Query& query);
Finding check(const message::Explain& explain);
// Of a filter's piece only that its jumps lead forwards; the whole is checked by who runs it.
Finding check(const message::TapFilter& filter);
Finding check(const message::TapStart& start);
Finding check(const message::TapRead& read);
Finding check(const message::TapStop& stop);

// The other direction: what espalierd shows to the operator.
Finding check(const message::Ack& ack);
Finding check(const message::InterfaceRow& row);
Finding check(const message::RouteRow& row);
Finding check(const message::NeighborRow& row);
Finding check(const message::SessionRow& row);
Finding check(const message::TextRow& row);
Finding check(const message::TapPacket& packet);
Finding check(const message::TapData& data);
Finding check(const message::Acquire& event);
Finding check(const message::Expire& event);
Finding check(const message::Mapping& event);

// record_check_ike.cpp: espalier-ike to the dataplane, and back.
Finding check(const message::IkeSend& send);
Finding check(const message::IkeSa& sa);
Finding check(const message::IkeSaRemove& remove);
Finding check(const message::IkeSaMove& move);
Finding check(const message::IkeSaAsk& ask);
Finding check(const message::IkeWay& way);
Finding check(const message::IkeReceived& received);
Finding check(const message::IkeAck& ack);
Finding check(const message::IkeSaUse& use);
Finding check(const message::IkeWayIs& way);
Finding check(const message::IkeAcquire& event);
Finding check(const message::IkeExpire& event);
Finding check(const message::IkeMapping& event);

}  // namespace espalier::record_check
