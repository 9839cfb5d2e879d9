#include "dataplane/port_set.hpp"

#include <spdlog/spdlog.h>

#include <ranges>

namespace espalier::dataplane {

MtuChanges::~MtuChanges() {
  for (const auto& [port, mtu_bytes] : std::ranges::reverse_view(before_))
    if (const auto done = port->port.set_mtu(mtu_bytes); !done)
      spdlog::error("subsystem=net the MTU could not be put back: {}", done.error().text);
}

Result<void> MtuChanges::set(const std::shared_ptr<SharedPort>& port, uint32_t mtu_bytes) {
  const uint32_t before = port->port.mtu_bytes();
  TRY(port->port.set_mtu(mtu_bytes));
  if (mtu_bytes != before) before_.push_back({port, before});
  return {};
}

PortSet::PortSet(std::vector<std::shared_ptr<SharedPort>> open, uint16_t workers)
    : ports(std::move(open)), receive(workers), transmit(workers + 1u) {
  for (size_t i = 0; i < ports.size(); ++i) {
    Port& port = ports[i]->port;
    for (uint16_t q = 0; q < port.rx_queues(); ++q) receive[(port.id() + q) % workers].push_back({&port, q});
    const bool enough = port.tx_queues() >= transmit.size();
    for (size_t thread = 0; thread < transmit.size(); ++thread) {
      const auto queue = static_cast<uint16_t>(thread % port.tx_queues());
      transmit[thread][port.id()] = {
          .queue = queue, .open = true, .lock = enough ? nullptr : &ports[i]->locks[queue]};
    }
  }
}

}  // namespace espalier::dataplane
