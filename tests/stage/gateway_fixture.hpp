// The whole gateway with two ports, lan0 192.168.10.1/24 and wan0 203.0.113.1/24 as a test configures it;
// kHostMac is every station's.
#pragma once

#include <gtest/gtest.h>

#include "tests/support/ip_view.hpp"
#include "tests/support/packet_builder.hpp"
#include "tests/support/testbed.hpp"

namespace espalier::test {

inline const MacAddress kLanMac = parse_mac("02:00:00:00:01:01"), kWanMac = parse_mac("02:00:00:00:02:01"),
                        kHostMac = parse_mac("02:00:00:00:ff:01");
inline constexpr size_t kIpBytes = 20;
inline constexpr std::string_view kMasquerade =
    R"(source = ( { rule = 10; outbound-interface = "wan0"; translation = { address = "masquerade"; }; } );)";

class GatewayBed : public testing::Test {
 protected:
  void SetUp() override {
    TestbedOptions options;
    options.macs = {{"lan0", kLanMac}, {"wan0", kWanMac}};
    auto made = make_testbed(options);
    ASSERT_TRUE(made) << made.error().text;
    bed_ = *std::move(made);
  }
  void apply_text(const std::string& text) {
    const auto done = bed_->apply(text);
    ASSERT_TRUE(done) << done.error().text;
  }
  void inject(std::string_view interface, const Bytes& packet) {
    bed_->inject(interface, 0, ethernet(interface == "lan0" ? kLanMac : kWanMac, kHostMac, packet));
    bed_->run_until_idle();
  }
  // The IP packets that left, ARP apart.
  std::vector<Bytes> taken(std::string_view interface) {
    std::vector<Bytes> packets;
    for (const Bytes& frame : bed_->take_sent(interface))
      if (get16(frame, 12) == kEtherTypeIpv4)
        packets.emplace_back(frame.begin() + kEthernetBytes, frame.end());
    return packets;
  }
  uint64_t drops(DropReason reason) const { return bed_->drops()[static_cast<size_t>(reason)]; }

  std::unique_ptr<Testbed> bed_;
};

}  // namespace espalier::test
