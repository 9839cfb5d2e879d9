// The gateway that packet_fuzz and esp_input_fuzz feed: one tunnel 192.168.10.0/24 - 10.10.10.0/24 under a
// masquerade rule that excludes it, sessions, a static neighbour everywhere. And what must never be seen. The
// inbound key is not that of the recordings: seeds that are recorded ESP stay what nobody can decrypt.
#pragma once

#include <cstdio>
#include <cstdlib>

#include "tests/support/packet_builder.hpp"
#include "tests/support/testbed.hpp"

namespace espalier::test {

inline constexpr const char* kFuzzConfiguration = R"(
interfaces = {
  lan0 = { device = "net_testbed-lan0"; address = "192.168.10.1/24"; };
  wan0 = { device = "net_testbed-wan0"; address = "203.0.113.1/24"; };
};
routes = ( { prefix = "0.0.0.0/0"; via = "203.0.113.254"; } );
neighbors = (
  { interface = "lan0"; address = "192.168.10.45"; mac = "02:00:00:00:ff:01"; },
  { interface = "wan0"; address = "203.0.113.2"; mac = "02:00:00:00:ff:01"; },
  { interface = "wan0"; address = "203.0.113.254"; mac = "02:00:00:00:ff:01"; }
);
nat = {
  source = (
    { rule = 10; outbound-interface = "wan0"; source = { address = "192.168.10.0/24"; };
      destination = { address = "10.10.10.0/24"; }; exclude = true; },
    { rule = 20; outbound-interface = "wan0"; source = { address = "192.168.10.0/24"; };
      translation = { address = "masquerade"; }; }
  );
};
xfrm = {
  state = (
    { spi = 0x2001; src = "203.0.113.1"; dst = "203.0.113.2"; reqid = 1; mode = "tunnel"; direction = "out";
      encryption = "aes128gcm128"; key = "0x2121212121212121212121212121212121212121"; },
    { spi = 0x3001; src = "203.0.113.2"; dst = "203.0.113.1"; reqid = 1; mode = "tunnel"; direction = "in";
      encryption = "aes128gcm128"; key = "0x5151515151515151515151515151515151515151"; replay-window = 64; }
  );
  policy = (
    { direction = "out"; src = "192.168.10.0/24"; dst = "10.10.10.0/24"; action = "protect";
      template = { src = "203.0.113.1"; dst = "203.0.113.2"; mode = "tunnel"; reqid = 1; }; },
    { direction = "fwd"; src = "10.10.10.0/24"; dst = "192.168.10.0/24"; action = "protect";
      template = { src = "203.0.113.2"; dst = "203.0.113.1"; mode = "tunnel"; reqid = 1; }; },
    { direction = "in"; src = "10.10.10.0/24"; dst = "192.168.10.0/24"; action = "protect";
      template = { src = "203.0.113.2"; dst = "203.0.113.1"; mode = "tunnel"; reqid = 1; }; }
  );
};
)";

inline constexpr MacAddress kLanMac{2, 0, 0, 0, 1, 1}, kWanMac{2, 0, 0, 0, 2, 1};

inline Testbed& fuzz_gateway() {
  static const std::unique_ptr<Testbed> bed = [] {
    auto made = make_testbed(
        {.workers = 2, .queues = 2, .flow_cache = true, .macs = {{"lan0", kLanMac}, {"wan0", kWanMac}}});
    const auto applied = made ? (*made)->apply(kFuzzConfiguration) : Result<void>{};
    if (!made || !applied) {
      std::fprintf(stderr, "%s\n", (made ? applied.error() : made.error()).text.c_str());
      std::abort();
    }
    return std::move(*made);
  }();
  return *bed;
}

// Dies when a packet between the protected networks leaves by the WAN in clear, or one from them reached the
// LAN that did not come through the tunnel (`decrypted`: it may have).
inline void check_outputs(Testbed& bed, bool decrypted) {
  const auto network = [](const Bytes& frame, size_t at) { return get32(frame, at) & 0xffffff00; };
  constexpr uint32_t kOurs = 0xc0a80a00, kTheirs = 0x0a0a0a00;
  constexpr size_t kSource = 14 + 12, kDestination = 14 + 16;
  for (const Bytes& frame : bed.take_sent("wan0"))
    if (frame.size() >= 34 && frame[12] == 8 && frame[13] == 0 && network(frame, kSource) == kOurs &&
        network(frame, kDestination) == kTheirs)
      std::abort();
  for (const Bytes& frame : bed.take_sent("lan0"))
    if (!decrypted && frame.size() >= 34 && frame[12] == 8 && frame[13] == 0 &&
        network(frame, kSource) == kTheirs && network(frame, kDestination) == kOurs)
      std::abort();
}

}  // namespace espalier::test
