// The security association database: SAs in slots, found by (SPI, destination) for inbound packets and by
// policy for outbound ones.
//
// Writer: the main lcore, which installs and removes single SAs in place while workers read (an install costs
// microseconds whatever the size). Readers: all workers, lock-free; an Sa that was removed is freed only
// after every worker was quiescent (the main lcore's RCU). What changes per packet lives in the SA's cell, in
// memory that survives this process (control/shared/vault.hpp).
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "control/shared/sa_directory.hpp"
#include "crypto/esp_transform.hpp"
#include "dataplane/fib.hpp"
#include "dataplane/packet.hpp"
#include "dataplane/peer_watch.hpp"

namespace espalier::dataplane {

// The smallest path MTU that an ICMP message may teach (Linux: net.ipv4.route.min_pmtu; RFC 8200 section 5).
inline constexpr uint32_t kMinPathMtu = 552;
inline constexpr uint32_t kMinPathMtuIpv6 = 1280;
inline constexpr uint64_t kPathMtuLifetimeMs = 600'000;

// What ESP puts around a packet.
struct EspShape {
  uint8_t outer_bytes = sizeof(Ipv4Header);  // outer IP header; 0 in transport mode
  uint8_t udp_bytes = 0;                     // with encapsulation in UDP
  uint8_t iv_bytes = 8;
  uint8_t icv_bytes = 16;
  uint8_t align_bytes = 4;  // of payload with padding and trailer

  constexpr uint32_t front_bytes() const { return outer_bytes + udp_bytes + sizeof(EspHeader) + iv_bytes; }
  // RFC 4303 section 2.4.
  constexpr uint32_t pad_bytes(uint32_t payload_bytes) const {
    return (0u - (payload_bytes + sizeof(EspTrailer))) & (align_bytes - 1u);
  }
  // The largest packet whose ESP packet is at most `outer_mtu_bytes`; `ip_bytes` is what of it is not
  // encrypted: 0 in tunnel mode, the IP header in transport mode.
  constexpr uint32_t inner_mtu(uint32_t outer_mtu_bytes, uint32_t ip_bytes) const {
    const uint32_t around = front_bytes() + icv_bytes + ip_bytes;
    if (outer_mtu_bytes < around + align_bytes) return 0;
    return ((outer_mtu_bytes - around) & ~(align_bytes - 1u)) + ip_bytes - sizeof(EspTrailer);
  }
};
static_assert(EspShape{}.inner_mtu(1500, 0) == 1446 && EspShape{}.inner_mtu(1400, 0) == 1346);
static_assert(EspShape{.outer_bytes = 0}.inner_mtu(1500, 20) == 1466);

EspShape shape_of(const SaRecord& record);

// One installed SA. Immutable but for the atomics, whose writers are named.
class Sa {
 public:
  // `index` was claimed from `directory`, whose cells must outlive this. The record's key bytes are not
  // looked at: `key` is the expanded one. `window_lock`: the slot's, which every SA that ever is in the slot
  // shares; null when there is one worker only.
  Sa(SaIndex index, const SaRecord& record, SecurityPath path, crypto::EspKey key,
     const SaDirectory& directory, WindowLock* window_lock);

  SaIndex index() const { return index_; }
  Spi spi() const { return spi_; }
  Direction direction() const { return direction_; }
  EspMode mode() const { return mode_; }
  bool has(SaFlags flag) const { return flags_ & flag; }
  const EspShape& shape() const { return shape_; }
  IpAddress source() const { return source_; }
  IpAddress destination() const { return destination_; }
  Reqid reqid() const { return reqid_; }
  be16 encap_source_port() const { return encap_source_port_; }
  be16 encap_destination_port() const { return encap_destination_port_; }
  uint16_t keepalive_s() const { return keepalive_s_; }
  InterfaceIndex vti() const { return vti_; }
  SecurityPath path() const { return path_; }
  const Selector& selector() const { return selector_; }
  const SaLimits& limits() const { return limits_; }
  EspAlgorithm algorithm() const { return algorithm_; }
  const crypto::EspKey& key() const { return key_; }
  OutboundCell& outbound() const { return *outbound_; }
  CellCounters& counters() const { return *counters_; }
  const ReplayWindow& window() const { return window_; }
  const Name& name() const { return name_; }

  // The inner packet's tuple lies within the SA's selector, if it has one.
  bool covers(const Tuple& tuple) const;

  PeerWatch& peer_watch() const { return peer_watch_; }  // inbound, with kSaEncap

  bool is_limited() const { return limited_; }
  // Counts a packet of an SA with limits, if it is within the hard ones; else the SA is expired from then on.
  // Any worker.
  bool count_within_limits(uint64_t bytes) const;
  // Whether it would, after `packets` and `bytes` more than were counted; counts nothing.
  bool leaves_room(uint64_t packets, uint64_t bytes) const;

  // Outer MTU: `route_mtu_bytes` of the egress interface or what an ICMP message taught within the last ten
  // minutes. Forgets what is older.
  uint32_t outer_mtu(uint32_t route_mtu_bytes, uint64_t now_ms) const;
  // Any worker, from an ICMP message about a packet of this SA.
  void learn_path_mtu(uint32_t mtu_bytes, uint64_t now_ms) const;
  // What the cell says was learned; 0: nothing.
  void tell_path_mtu(uint32_t mtu_bytes) const;

 private:
  SaIndex index_;
  Spi spi_;
  Direction direction_;
  EspMode mode_;
  bool limited_;
  uint32_t flags_;
  EspShape shape_;
  Reqid reqid_;
  SecurityPath path_;
  IpAddress source_;
  IpAddress destination_;
  be16 encap_source_port_;
  be16 encap_destination_port_;
  uint16_t keepalive_s_;
  InterfaceIndex vti_;
  OutboundCell* outbound_;
  CellCounters* counters_;
  mutable std::atomic<uint32_t> path_mtu_{0};
  mutable std::atomic<uint64_t> path_mtu_expires_ms_{0};
  mutable PeerWatch peer_watch_;
  ReplayWindow window_;
  EspAlgorithm algorithm_;
  SaLimits limits_;
  Selector selector_;
  Name name_;
  crypto::EspKey key_;
};

// The way of an SA's ESP packets; part of the snapshot, by SaIndex.
struct OuterRoute {
  RouteResult route;
  uint32_t mtu_bytes = 1500;  // of the egress interface
};

// Which SAs a policy's packets use, one for each of its templates: the latest that was installed among those
// that fit. Writer: main lcore (Sad::assign_policies); part of the snapshot, since it is as long as its
// policy list.
class PolicySas {
 public:
  explicit PolicySas(size_t policies);
  SaIndex at(PolicyIndex p, size_t tmpl) const {
    return SaIndex{sas_[p.value * PolicyRecord::kMaxTemplates + tmpl].load(std::memory_order_acquire)};
  }
  void set(PolicyIndex p, size_t tmpl, SaIndex sa) {
    sas_[p.value * PolicyRecord::kMaxTemplates + tmpl].store(sa.value, std::memory_order_release);
  }

 private:
  std::unique_ptr<std::atomic<uint32_t>[]> sas_;  // SaIndex values, kNone32: none
};

// How a packet was decrypted, the outermost SA first.
struct PathInfo {
  static constexpr size_t kMaxLayers = PolicyRecord::kMaxTemplates;
  struct Layer {
    Reqid reqid;
    Spi spi;  // of the SA that was first seen on this path; two SAs of one reqid share it
    EspMode mode = EspMode::kTunnel;
    IpAddress source, destination;
    std::optional<Selector> selector;
    friend bool operator==(const Layer& a, const Layer& b) {
      return a.reqid == b.reqid && a.mode == b.mode && a.source == b.source &&
             a.destination == b.destination && a.selector == b.selector;
    }
  };
  uint8_t count = 0;
  std::array<Layer, kMaxLayers> layers;
  friend bool operator==(const PathInfo&, const PathInfo&) = default;
};

class Sad {
 public:
  explicit Sad(uint32_t capacity);
  ~Sad();

  // Any thread.
  const Sa* at(SaIndex i) const { return slots_[i.value].load(std::memory_order_acquire); }
  // The SA of either direction with this SPI and outer destination, or null.
  const Sa* find(Spi spi, IpAddress destination) const;
  void prefetch(Spi spi) const;
  uint32_t capacity() const { return capacity_; }

  // Main lcore only. install() replaces what the slot held and returns it for retirement. The path of an SA
  // is interned: SAs with the same reqid, addresses and selector share it, before and after a rekey. It lasts
  // until reclaim_paths() finds no SA on it.
  std::unique_ptr<const Sa> install(std::unique_ptr<const Sa> sa);
  std::unique_ptr<const Sa> remove(SaIndex i);
  SecurityPath intern_path(const SaRecord& record);
  // Makes the paths of all ways in which packets can come that policies with several templates ask for.
  void intern_chains(std::span<const PolicyRecord> policies);
  // When every worker was quiescent since the last install(): peers that move for years must not fill the
  // table with the paths that they came by. Packets and flows that still have such a path have one that no
  // policy accepts.
  void reclaim_paths();

  // Any thread. The path of a packet that came by `before` and was decrypted by `sa` then.
  SecurityPath path_after(SecurityPath before, const Sa& sa) const;
  // What the path consists of, for the policy check. Null for those of packet.hpp.
  const PathInfo* path_info(SecurityPath path) const;

  // Main lcore.
  // `leaving`: SAs that no policy may choose any more. `changed`: only policies that may use SAs of these
  // reqids choose anew; empty: all.
  void assign_policies(std::span<const PolicyRecord> policies, PolicySas& sas,
                       std::span<const SaIndex> leaving = {}, std::span<const Reqid> changed = {}) const;
  template <class F>
  void for_each(F f) const {  // in order of installation, oldest first
    for (uint32_t i : order_) f(*slots_[i].load(std::memory_order_relaxed));
  }

 private:
  static constexpr uint32_t kMaxPaths = 1u << 16;
  // What is in its low half, and how often the slot was given to another path in the high half: so the value
  // of a path that is no more is not that of another.
  static constexpr uint32_t slot_of(SecurityPath path) { return path.value % kMaxPaths; }
  struct PathSlot {
    std::atomic<uint32_t> value{0};  // SecurityPath; 0: none, as long as `info` may change
    uint32_t next_value = 0;
    uint32_t sas = 0;  // installed ones that have this path
    PathInfo info;
  };
  uint32_t probe_start(Spi spi) const { return (spi.value * 0x9E3779B1u) >> index_shift_; }
  void index_insert(Spi spi, uint32_t slot);
  void index_erase(Spi spi, uint32_t slot);
  SecurityPath intern(const PathInfo& path);
  void enter_path(SecurityPath path);
  void leave_path(SecurityPath path);
  void end_path(uint32_t slot);
  void end_chains_with(const PathInfo::Layer& layer);
  SaIndex choose(const PolicyRecord& policy, const PolicyTemplate& tmpl,
                 std::span<const uint32_t> slots) const;

  uint32_t capacity_;
  uint32_t index_shift_;
  std::unique_ptr<std::atomic<const Sa*>[]> slots_;
  // Open addressing, four entries per possible SA: spi << 32 | slot + 2; 0: never used, 1: erased.
  std::unique_ptr<std::atomic<uint64_t>[]> index_;
  uint32_t index_mask_;
  std::vector<uint32_t> order_;  // installed slots, oldest first
  std::unique_ptr<PathSlot[]> paths_;
  std::unordered_multimap<uint32_t, uint32_t> paths_of_reqid_;  // by the innermost SA's
  std::atomic<uint32_t> path_count_{kNamedPaths};               // slots that were ever used
  uint32_t chains_ = 0;                                         // paths of several layers
  std::vector<uint32_t> unused_paths_;                          // slots that may be of no SA
  std::vector<uint32_t> ended_paths_;                           // that were, when workers were last quiescent
  std::deque<uint32_t> free_paths_;                             // the one that is free longest first
};

}  // namespace espalier::dataplane
