// How a stage takes a packet off its way. It only notes why; the pipeline's runner counts and frees.
#pragma once

#include "dataplane/packet.hpp"

namespace espalier::dataplane {

inline bool stop(rte_mbuf* mbuf, DropReason reason) {
  Packet& p = packet(mbuf);
  p.reason = reason;
  p.exit = Exit::kDrop;
  return false;
}

// To the main lcore; `reason` tells it what for (kUsedArp, kNeighborUnresolved).
inline bool stop_for_main(rte_mbuf* mbuf, DropReason reason) {
  Packet& p = packet(mbuf);
  p.reason = reason;
  p.exit = Exit::kToMain;
  return false;
}

inline bool stop_for_worker(rte_mbuf* mbuf, WorkerId worker) {
  Packet& p = packet(mbuf);
  p.reason = DropReason::kHandoverFull;  // should the ring be full
  p.exit = Exit::kToWorker;
  p.to_worker = worker;
  return false;
}

}  // namespace espalier::dataplane
