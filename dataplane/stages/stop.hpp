// How a stage takes a packet off its way. It only notes why; the pipeline's runner counts and frees.
#pragma once

#include "dataplane/fib.hpp"
#include "dataplane/packet.hpp"

namespace espalier::dataplane {

inline bool stop(rte_mbuf* mbuf, DropReason reason) {
  Packet& p = packet(mbuf);
  p.reason = reason;
  p.exit = Exit::kDrop;
  return false;
}

// What a packet without a way is counted as; kNoRoute also for ESP to an address of our own.
inline DropReason reason_of(RouteVerdict verdict) {
  switch (verdict) {
    case RouteVerdict::kBlackhole:
      return DropReason::kRouteBlackhole;
    case RouteVerdict::kUnreachable:
      return DropReason::kRouteUnreachable;
    case RouteVerdict::kProhibit:
      return DropReason::kRouteProhibit;
    case RouteVerdict::kNoRoute:
    case RouteVerdict::kForward:
    case RouteVerdict::kLocal:
      break;
  }
  return DropReason::kNoRoute;
}

// To the main lcore; `reason` tells it what for (kUsedArp, kNeighborUnresolved).
inline bool stop_for_main(rte_mbuf* mbuf, DropReason reason) {
  Packet& p = packet(mbuf);
  p.reason = reason;
  p.exit = Exit::kToMain;
  return false;
}

// Back into the pipeline: it is another packet now.
inline bool stop_again(rte_mbuf* mbuf, Entry entry) {
  Packet& p = packet(mbuf);
  p.reason = DropReason::kNoMbuf;  // should the list be full
  p.exit = Exit::kAgain;
  p.again = entry;
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
