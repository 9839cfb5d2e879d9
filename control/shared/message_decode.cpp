#include "control/shared/message_decode.hpp"

#include "control/shared/record_check.hpp"

namespace espalier::message {
namespace {

using record_check::Finding;

// What in a payload has values to check.
Finding check_values(const ConfigBegin& m) {
  return record_check::check(m.settings);
}
Finding check_values(const Interface& m) {
  return record_check::check(m.record);
}
Finding check_values(const Address& m) {
  return record_check::check(m.record);
}
Finding check_values(const Route& m) {
  return record_check::check(m.record);
}
Finding check_values(const Neighbor& m) {
  return record_check::check(m.record);
}
Finding check_values(const NatRule& m) {
  return record_check::check(m.record);
}
Finding check_values(const Policy& m) {
  return record_check::check(m.record);
}
Finding check_values(const Sa& m) {
  return record_check::check(m.record);
}
Finding check_values(const IkeBegin&) {
  return {};
}
Finding check_values(const IkeCommit&) {
  return {};
}
Finding check_values(const ConfigCommit&) {
  return {};
}
Finding check_values(const ConfigAbort&) {
  return {};
}
template <class Other>
Finding check_values(const Other& m) {
  return record_check::check(m);
}

template <class Variant, class Payload>
std::expected<Variant, std::string_view> decode_as(const Slot& slot) {
  Payload payload;
  if (!read(slot, payload)) return std::unexpected("wrong payload size");
  if (const Finding finding = check_values(payload)) return std::unexpected(*finding);
  return payload;
}

// The alternative of the variant whose type number the header has.
template <class Variant, size_t I = 0>
std::expected<Variant, std::string_view> decode(const Slot& slot) {
  if constexpr (I == std::variant_size_v<Variant>) {
    return std::unexpected("unknown message type");
  } else {
    using Payload = std::variant_alternative_t<I, Variant>;
    if (slot.header.type == Payload::kType) return decode_as<Variant, Payload>(slot);
    return decode<Variant, I + 1>(slot);
  }
}

}  // namespace

std::expected<FromDaemon, std::string_view> decode_from_daemon(const Slot& slot) {
  if (slot.header.version != kVersion) return std::unexpected("unknown message version");
  return decode<FromDaemon>(slot);
}

std::expected<FromDataplane, std::string_view> decode_from_dataplane(const Slot& slot) {
  if (slot.header.version != kVersion) return std::unexpected("unknown message version");
  return decode<FromDataplane>(slot);
}

std::expected<FromIke, std::string_view> decode_from_ike(const Slot& slot) {
  if (slot.header.version != kVersion) return std::unexpected("unknown message version");
  return decode<FromIke>(slot);
}

std::expected<ForIke, std::string_view> decode_for_ike(const Slot& slot) {
  if (slot.header.version != kVersion) return std::unexpected("unknown message version");
  return decode<ForIke>(slot);
}

}  // namespace espalier::message
