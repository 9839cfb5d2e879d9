// The eyes of a `capture` in one thread: tells its tap of packets at the points that it wants.
#pragma once

#include "dataplane/tap/packet_tap.hpp"

namespace espalier::dataplane {

class CaptureObserver final : public Observer {
 public:
  // `thread`: a worker's number, or that of workers for the main lcore.
  CaptureObserver(PacketTap& tap, const Sad& sad, uint16_t thread)
      : Observer(tap.interests()), tap_(tap), sad_(sad), thread_(thread) {}

  void received(const Context& ctx, MbufSpan frames) override;
  void sent(rte_mbuf* frame, InterfaceIndex out) override;
  void encrypting(const Sa& sa, MbufSpan packets) override;
  void decrypted(const Sa& sa, rte_mbuf* packet) override;
  void ended(rte_mbuf* mbuf, DropReason reason) override;
  void entering(const Context&, size_t, MbufSpan) override {}
  void passed(const Context&, size_t, MbufSpan, MbufSpan) override {}
  void decided(const Context&, rte_mbuf*, const Decision&, size_t) override {}

 private:
  void take_frame(rte_mbuf* frame, message::TapPoint point, InterfaceIndex interface);

  PacketTap& tap_;
  const Sad& sad_;
  uint16_t thread_;
};

}  // namespace espalier::dataplane
