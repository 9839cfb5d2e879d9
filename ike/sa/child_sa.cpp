#include "ike/sa/child_sa.hpp"

namespace espalier::ike {
namespace {

// The one prefix that a selector is; nothing: it is several, or has ports that no Selector can say.
std::optional<IpPrefix> only_prefix(const TrafficSelector& selector) {
  const std::vector<IpPrefix> prefixes = prefixes_of(selector);
  if (prefixes.size() != 1 || selector.ports.low > selector.ports.high) return {};
  return prefixes.front();
}

// The SA's own selector (RFC 4301 section 4.4.2.1), where one pair of prefixes says what was agreed on.
std::optional<Selector> selector_for(const ChildSa& child, Direction direction) {
  if (child.local.size() != 1 || child.remote.size() != 1) return {};
  const bool out = direction == Direction::kOut;
  const TrafficSelector& source = out ? child.local[0] : child.remote[0];
  const TrafficSelector& destination = out ? child.remote[0] : child.local[0];
  const auto from = only_prefix(source), to = only_prefix(destination);
  if (!from || !to || (source.protocol != destination.protocol)) return {};
  return Selector{.source = *from,
                  .destination = *to,
                  .protocol = source.protocol,
                  .source_port = source.ports,
                  .destination_port = destination.ports};
}

// Only what the peer narrowed, or transport mode, needs more than the policies: those say what was
// configured.
bool needs_selector(const ChildSa& child, const ChildPath& path) {
  return child.transport || !same(child.local, selectors_of(child.config->local, path.local)) ||
         !same(child.remote, selectors_of(child.config->remote, path.remote));
}

uint64_t soft(uint64_t hard) {
  return hard - hard / 10;
}

SaLimits limits_of(const ChildConfig& config) {
  SaLimits limits;
  limits.hard_bytes = config.life_bytes;
  limits.hard_packets = config.life_packets;
  limits.hard_seconds = static_cast<uint64_t>(config.lifetime.count());  // also where this process is dead
  if (config.rekey) {
    limits.soft_bytes = soft(config.life_bytes);
    limits.soft_packets = soft(config.life_packets);
  }
  return limits;
}

void set_encapsulation(SaRecord& record, const ChildPath& path) {
  const bool out = record.direction == Direction::kOut;
  record.flags |= kSaEncap;
  record.encap_source_port = out ? path.local_port : path.remote_port;
  record.encap_destination_port = out ? path.remote_port : path.local_port;
  if (out && path.keepalive) record.keepalive_s = kKeepaliveInterval.count();
  if (!out && path.follow_peer) record.flags |= kSaMapping;
}

}  // namespace

SaRecord make_record(const ChildSa& child, const ChildPath& path, Direction direction) {
  const bool out = direction == Direction::kOut;
  SaRecord record;
  record.spi = out ? child.spi_out : child.spi_in;
  record.direction = direction;
  record.mode = child.transport ? EspMode::kTransport : EspMode::kTunnel;
  record.algorithm = child.suite.algorithm;
  record.reqid = child.config->reqid;
  record.replay_window = child.config->replay_window;
  record.source = out ? path.local : path.remote;
  record.destination = out ? path.remote : path.local;
  record.vti = child.config->vti;
  record.limits = limits_of(*child.config);
  if (child.suite.esn == EsnChoice::kYes) record.flags |= kSaEsn;
  if (record.flags & kSaEsn && record.replay_window == 0) record.replay_window = 32;  // RFC 4303 appendix A2
  if (child.encapsulated) set_encapsulation(record, path);
  if (const auto selector = selector_for(child, direction); selector && needs_selector(child, path)) {
    record.flags |= kSaHasSelector;
    record.selector = *selector;
  }
  put_keys(out ? child.keys.out : child.keys.in, record);
  record.name.assign(
      fmt::format("{}-{}", path.connection, child.config->name).substr(0, sizeof record.name.bytes));
  return record;
}

void set_lifetimes(ChildSa& child, Context& context) {
  child.created = context.now;
  const milliseconds life = child.config->lifetime;
  if (life <= milliseconds{0}) return;
  child.expires_at = context.now + life;
  if (child.config->rekey) child.rekey_at = context.now + life * 10 / 11 - context.spread(life / 11);
}

std::vector<TrafficSelector> selectors_of(const SelectorSide& side, IpAddress address) {
  if (!side.prefixes.empty()) return to_wire(side);
  SelectorSide host = side;
  host.prefixes = {IpPrefix::host(address)};
  return to_wire(host);
}

}  // namespace espalier::ike
