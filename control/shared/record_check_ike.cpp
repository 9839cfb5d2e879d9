#include "control/shared/record_check.hpp"
#include "control/shared/value_check.hpp"

namespace espalier::record_check {
namespace {

bool is_sa_direction(Direction direction) {
  return direction == Direction::kOut || direction == Direction::kIn;
}

Finding check_spi(Spi spi) {
  return spi.value < kMinSpi ? Finding("SPI below 256") : std::nullopt;
}

Finding check_name(Spi spi, Direction direction, const IpAddress& destination) {
  if (auto finding = check_spi(spi)) return finding;
  if (!is_sa_direction(direction)) return "SA direction is neither out nor in";
  if (!is_unicast(destination)) return "SA: destination is not unicast";
  return {};
}

Finding check_datagram(const message::IkeDatagram& d) {
  if (!are_unicast_of_one_family(d.local, d.remote))
    return "datagram between what are not two unicast addresses of one family";
  if (d.local_port != 500 && d.local_port != 4500) return "datagram of a port that is not IKE's";
  if (d.remote_port == 0) return "datagram with port 0";
  if (d.total_bytes > message::IkeDatagram::kMostBytes) return "datagram larger than a packet";
  if (d.part_bytes == 0 || d.part_bytes > message::IkeDatagram::kPartBytes)
    return "datagram: a part of no bytes, or too many";
  if (d.offset > d.total_bytes || d.part_bytes > d.total_bytes - d.offset)
    return "datagram: a part beyond its end";
  return {};
}

}  // namespace

Finding check(const message::IkeSend& m) {
  return check_datagram(m.part);
}

Finding check(const message::IkeReceived& m) {
  return check_datagram(m.part);
}

Finding check(const message::IkeSa& m) {
  if ((m.record.flags & kSaStaticKey) != 0) return "an SA of IKE with a static key";
  return check(m.record);
}

Finding check(const message::IkeSaRemove& m) {
  return check_name(m.spi, m.direction, m.destination);
}

Finding check(const message::IkeSaMove& m) {
  if (auto finding = check_name(m.spi, m.direction, m.destination)) return finding;
  if (!are_unicast_of_one_family(m.new_source, m.new_destination))
    return "SA endpoints are not two unicast addresses of one family";
  if ((m.new_source_port == 0) != (m.new_destination_port == 0)) return "encap with one port";
  return {};
}

Finding check(const message::IkeSaAsk& m) {
  return check_spi(m.spi);
}

Finding check(const message::IkeWay& m) {
  return is_unicast(m.remote) ? std::nullopt : Finding("way to what is not unicast");
}

Finding check(const message::IkeAck& m) {
  if (!is_flag(m.ok)) return "ok is neither 0 nor 1";
  if (!is_text(m.text)) return "bad text";
  return {};
}

Finding check(const message::IkeSaUse& m) {
  if (!is_flag(m.known) || !is_flag(m.used)) return "flag is neither 0 nor 1";
  return check_spi(m.spi);
}

Finding check(const message::IkeWayIs& m) {
  const bool is_none = m.local.is_unspecified();
  return is_none || is_unicast(m.local) ? std::nullopt : Finding("way from what is not unicast");
}

// Reqid 0: of a VTI whose policies name none.
Finding check(const message::IkeAcquire& m) {
  if (m.reqid.value == 0 && m.vti == kNoInterface) return "acquire without reqid and VTI";
  if (!is_interface_or_none(m.vti)) return "acquire: no such interface";
  return {};
}

Finding check(const message::IkeExpire& m) {
  if (!is_flag(m.hard)) return "hard is neither 0 nor 1";
  return check_name(m.spi, m.direction, m.destination);
}

Finding check(const message::IkeMapping& m) {
  if (m.port == 0) return "mapping to port 0";
  if (!is_unicast(m.address)) return "mapping to what is not a unicast address";
  return check_spi(m.spi);
}

}  // namespace espalier::record_check
