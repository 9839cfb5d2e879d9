#include "dataplane/port_set.hpp"

namespace espalier::dataplane {

PortSet::PortSet(std::vector<std::shared_ptr<SharedPort>> open, uint16_t workers)
    : ports(std::move(open)), receive(workers), transmit(workers + 1u) {
  for (size_t i = 0; i < ports.size(); ++i) {
    Port& port = ports[i]->port;
    for (uint16_t q = 0; q < port.rx_queues(); ++q) receive[(i + q) % workers].push_back({&port, q});
    const bool enough = port.tx_queues() >= transmit.size();
    for (size_t thread = 0; thread < transmit.size(); ++thread) {
      const auto queue = static_cast<uint16_t>(thread % port.tx_queues());
      transmit[thread][port.id()] = {
          .queue = queue, .open = true, .lock = enough ? nullptr : &ports[i]->locks[queue]};
    }
  }
}

}  // namespace espalier::dataplane
