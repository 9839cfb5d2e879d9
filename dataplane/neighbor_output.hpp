// What the main lcore is to do for the neighbour resolver: it does no I/O itself.
#pragma once

#include <rte_mbuf.h>

#include <vector>

#include "dataplane/wire.hpp"

namespace espalier::dataplane {

struct NeighborFrame {
  InterfaceIndex interface;
  MacAddress destination;  // of the Ethernet header; the source is the interface's
  uint16_t ether_type = 0;
  std::vector<uint8_t> payload;  // an ARP packet, or a whole IPv6 packet
};

// Somebody else uses an address of ours.
struct AddressConflict {
  InterfaceIndex interface;
  IpAddress address;
  MacAddress mac;        // all zero if it did not tell
  bool refused = false;  // it was there first: we do not use the address
};

struct NeighborOutput {
  std::vector<NeighborFrame> frames;       // to send
  std::vector<rte_mbuf*> ready;            // to transmit: Packet::neighbor is resolved
  std::vector<rte_mbuf*> dropped;          // to dispose of: Packet::reason is set
  std::vector<AddressConflict> conflicts;  // to log
};

}  // namespace espalier::dataplane
