// A worker's context with hand-made tables, so that a stage can be called on a hand-made burst.
//
// Interfaces: lan0 192.168.10.1/24 (port 0), wan0 203.0.113.1/24 (port 1); no device is behind them. One
// tunnel 192.168.10.0/24 - 10.10.10.0/24 with OpenSSL's half of the keys in kOutKey and kInKey.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "control/shared/vault.hpp"
#include "dataplane/pipeline.hpp"
#include "dataplane/sa_store.hpp"
#include "tests/support/packet_builder.hpp"

namespace espalier::dataplane {

inline const test::EspKey kOutKey{.spi = 0x2001, .key = test::Bytes(20, 0x21)};
inline const test::EspKey kInKey{.spi = 0x3001, .key = test::Bytes(20, 0x31)};
inline constexpr MacAddress kLanMac{2, 0, 0, 0, 1, 1}, kWanMac{2, 0, 0, 0, 2, 1},
    kHostMac{2, 0, 0, 0, 0xff, 1};
inline constexpr InterfaceIndex kLan{0}, kWan{1};

class StageBench : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // An mbuf of `bytes` as received by the port of `in`.
  rte_mbuf* frame(InterfaceIndex in, test::ByteView bytes);
  // A parsed packet from `in`, as behind the stage parse.
  rte_mbuf* parsed(InterfaceIndex in, test::ByteView ip_packet);
  // An ESP packet from the peer around `inner`, parsed.
  rte_mbuf* from_peer(uint64_t sequence, test::ByteView inner, const test::SealOptions& options = {},
                      std::string_view peer = "203.0.113.2");
  DropReason reason(rte_mbuf* mbuf) const { return packet(mbuf).reason; }
  test::Bytes content(rte_mbuf* mbuf) const {
    const auto span = bytes(mbuf);
    return {span.begin(), span.end()};
  }
  const Sa& sa(Direction direction) const;
  uint64_t drops(DropReason reason) const;
  // The tunnel's policy of a direction.
  static PolicyRecord tunnel_policy(uint32_t index, Direction direction);
  // Instead of the tunnel's two.
  void set_policies(const std::vector<PolicyRecord>& policies);
  // No policy has an SA any more, as when SAs are removed while flows live.
  void forget_policy_sas();
  // What the outbound SA's outer destination is routed to from now on.
  void route_outer(RouteVerdict verdict);
  // The tunnel's ESP packets leave by kLan from now on, which has this MTU.
  void send_outer_by_lan(uint32_t mtu_bytes);

  Context ctx;
  std::vector<rte_mbuf*> burst;  // freed at the end

 private:
  void make_tables();
  void make_sas();

  std::filesystem::path folder_;
  std::unique_ptr<statistics::Block> stats_ = std::make_unique<statistics::Block>();
  std::optional<Vault> vault_;
  std::optional<SaCells> cells_;
  std::unique_ptr<SaStore> sas_;
  std::unique_ptr<nat::SessionTable> sessions_;
  std::unique_ptr<NeighborTable> neighbors_;
  std::unique_ptr<FlowCache> flows_;
  std::unique_ptr<Reassembler> reassembler_;
  std::optional<crypto::EspEngine> esp_;
  std::unique_ptr<Mailbox> mailbox_;
  Mailbox* mailboxes_[1] = {};
  std::unique_ptr<Transmitter> transmitter_;
  Snapshot tables_;
  LinkState link_;
};

}  // namespace espalier::dataplane
