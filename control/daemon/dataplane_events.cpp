#include "control/daemon/dataplane_events.hpp"

#include "control/daemon/log.hpp"
#include "control/daemon/text.hpp"

namespace espalier::daemon {
namespace {

constexpr uint32_t kLinesPerSecond = 10;
constexpr size_t kMostRemembered = 65536;  // names of SAs; beyond it the oldest reasons do not matter

// As conntrack writes a packet; ports where there are some.
std::string packet_text(const Tuple& t) {
  std::string text = fmt::format("source={} destination={} protocol={}", to_text(t.source),
                                 to_text(t.destination), config::protocol_name(t.protocol));
  if (config::has_ports(t.protocol))
    text += fmt::format(" sport={} dport={}", t.source_port.host(), t.destination_port.host());
  return text;
}

std::string policy_text(const config::Tables& tables, PolicyIndex policy) {
  if (policy.value >= tables.policies.size()) return fmt::format("{}", policy.value);
  return config::quoted(tables.policies[policy.value].name.view());
}

// An IPv6 address in brackets, as before every port.
std::string endpoint_text(const IpAddress& address, uint16_t port) {
  return fmt::format(fmt::runtime(address.is_v4() ? "{}:{}" : "[{}]:{}"), to_text(address), port);
}

}  // namespace

bool DataplaneEvents::LineLimit::take(Clock::time_point now) {
  if (now - second_began_ >= milliseconds(1000)) second_began_ = now, lines_ = 0;
  if (lines_ == kLinesPerSecond) {
    ++left_out_;
    return false;
  }
  ++lines_;
  return true;
}

std::string DataplaneEvents::LineLimit::note() {
  const uint64_t count = std::exchange(left_out_, 0);
  return count == 0 ? "" : fmt::format(" ({} more were not logged)", count);
}

bool DataplaneEvents::is_event(const message::FromDataplane& message) {
  return std::holds_alternative<message::Acquire>(message) ||
         std::holds_alternative<message::Expire>(message) ||
         std::holds_alternative<message::Mapping>(message);
}

void DataplaneEvents::take(const message::FromDataplane& event, Clock::time_point now) {
  if (const auto* acquire = std::get_if<message::Acquire>(&event)) take(*acquire, now);
  if (const auto* expire = std::get_if<message::Expire>(&event)) take(*expire, now);
  if (const auto* mapping = std::get_if<message::Mapping>(&event)) take(*mapping, now);
}

void DataplaneEvents::take(const message::Acquire& event, Clock::time_point now) {
  ++counts_.acquires;
  const config::Tables& tables = running_();
  if (event.policy != kNoPolicy && event.policy.value >= tables.first_ike_policy) return;  // espalier-ike acts on it
  if (!acquire_lines_.take(now)) return;
  const std::string what = event.policy == kNoPolicy
                               ? fmt::format("interface={}", interface_name(tables, event.vti))
                               : fmt::format("policy={}", policy_text(tables, event.policy));
  log::spd().warn("{} {} no SA takes it, and it was dropped{}", what, packet_text(event.tuple),
                  acquire_lines_.note());
}

void DataplaneEvents::take(const message::Expire& event, Clock::time_point now) {
  ++(event.hard ? counts_.hard_expires : counts_.soft_expires);
  if (event.hard) {
    if (expired_.size() >= kMostRemembered) expired_.clear();
    expired_.emplace(event.direction, event.spi, event.name.view());
  }
  if (!expire_lines_.take(now)) return;
  log::esp().log(event.hard ? spdlog::level::warn : spdlog::level::info, "tunnel={} spi={} direction={} {}{}",
                 config::quoted(event.name.view()), spi_text(event.spi), word(event.direction),
                 event.hard ? "reached a hard limit and is not used any more: give it another key"
                            : "reached a soft limit: it is time for another key",
                 expire_lines_.note());
}

void DataplaneEvents::take(const message::Mapping& event, Clock::time_point now) {
  ++counts_.mappings;
  if (!mapping_lines_.take(now)) return;
  log::esp().info("tunnel={} spi={} the peer moved from {} to {}{}", config::quoted(event.name.view()),
                  spi_text(event.spi), endpoint_text(event.old_address, event.old_port),
                  endpoint_text(event.new_address, event.new_port), mapping_lines_.note());
}

bool DataplaneEvents::has_expired(const SaRecord& sa) const {
  return expired_.contains(SaName(sa.direction, sa.spi, sa.name.view()));
}

}  // namespace espalier::daemon
