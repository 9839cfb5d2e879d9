// The security association database: SAs in slots, found by (SPI, destination) for inbound packets and by
// policy for outbound ones.
//
// Writer: the main lcore, which installs and removes single SAs in place while workers read (an install costs
// microseconds whatever the size). Readers: all workers, lock-free; an Sa that was removed is freed only
// after every worker was quiescent (the main lcore's RCU). What changes per packet lives in the SA's cell, in
// memory that survives this process (control/shared/vault.hpp).
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "control/shared/sa_directory.hpp"
#include "crypto/gcm.hpp"
#include "dataplane/fib.hpp"
#include "dataplane/packet.hpp"

namespace espalier::dataplane {

// Bytes that tunnel mode AES-GCM ESP adds around an inner packet, padding apart.
inline constexpr uint32_t kEspFixedBytes =
    sizeof(Ipv4Header) + sizeof(EspHeader) + kGcmIvBytes + kGcmIcvBytes;

// The largest inner packet whose ESP packet is at most `outer_mtu_bytes` (packet-order: 1446 for 1500).
constexpr uint32_t inner_mtu(uint32_t outer_mtu_bytes) {
  return ((outer_mtu_bytes - kEspFixedBytes) & ~3u) - sizeof(EspTrailer);
}
static_assert(inner_mtu(1500) == 1446 && inner_mtu(1400) == 1346);

// The smallest path MTU that an ICMP message may teach (Linux: net.ipv4.route.min_pmtu).
inline constexpr uint32_t kMinPathMtu = 552;
inline constexpr uint64_t kPathMtuLifetimeMs = 600'000;

// One installed SA. Immutable but for the atomics, whose writers are named.
class Sa {
 public:
  // `index` was claimed from `directory`, whose cells must outlive this. The record's key bytes are not
  // looked at: `key` is the expanded one. `window_lock`: the slot's, which every SA that ever is in the slot
  // shares; null when there is one worker only.
  Sa(SaIndex index, const SaRecord& record, SecurityPath path, crypto::GcmKey key,
     const SaDirectory& directory, WindowLock* window_lock);

  SaIndex index() const { return index_; }
  Spi spi() const { return spi_; }
  Direction direction() const { return direction_; }
  bool has(SaFlags flag) const { return flags_ & flag; }
  Ipv4Address source() const { return source_; }
  Ipv4Address destination() const { return destination_; }
  Reqid reqid() const { return reqid_; }
  SecurityPath path() const { return path_; }
  const Selector& selector() const { return selector_; }
  const crypto::GcmKey& key() const { return key_; }
  uint32_t salt_raw() const { return salt_raw_; }
  OutboundCell& outbound() const { return *outbound_; }
  CellCounters& counters() const { return *counters_; }
  const ReplayWindow& window() const { return window_; }
  const Name& name() const { return name_; }

  // The inner packet's tuple lies within the SA's selector, if it has one.
  bool covers(const Ipv4Tuple& tuple) const;

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
  uint32_t flags_;
  Reqid reqid_;
  SecurityPath path_;
  uint32_t salt_raw_ = 0;
  Ipv4Address source_;
  Ipv4Address destination_;
  OutboundCell* outbound_;
  CellCounters* counters_;
  mutable std::atomic<uint32_t> path_mtu_{0};
  mutable std::atomic<uint64_t> path_mtu_expires_ms_{0};
  ReplayWindow window_;
  Selector selector_;
  Name name_;
  crypto::GcmKey key_;
};

// The way of an SA's ESP packets; part of the snapshot, by SaIndex.
struct OuterRoute {
  RouteResult route;
  uint32_t mtu_bytes = 1500;  // of the egress interface
};

// Which SA a policy's packets use: the latest one that was installed among those that fit its template.
// Writer: main lcore (Sad::assign_policies); part of the snapshot, since it is as long as its policy list.
struct PolicySas {
  explicit PolicySas(size_t policies);
  size_t size;
  std::unique_ptr<std::atomic<uint32_t>[]> by_policy;  // SaIndex values, kNone32: none
  SaIndex operator[](PolicyIndex p) const {
    return SaIndex{by_policy[p.value].load(std::memory_order_acquire)};
  }
};

class Sad {
 public:
  explicit Sad(uint32_t capacity);
  ~Sad();

  // Any thread.
  const Sa* at(SaIndex i) const { return slots_[i.value].load(std::memory_order_acquire); }
  // The SA of either direction with this SPI and outer destination, or null.
  const Sa* find(Spi spi, Ipv4Address destination) const;
  void prefetch(Spi spi) const;
  uint32_t capacity() const { return capacity_; }

  // Main lcore only. install() replaces what the slot held and returns it for retirement. The path of an SA
  // is interned: SAs with the same reqid, addresses and selector share it, before and after a rekey.
  std::unique_ptr<const Sa> install(std::unique_ptr<const Sa> sa);
  std::unique_ptr<const Sa> remove(SaIndex i);
  SecurityPath intern_path(const SaRecord& record);
  // What the path consists of; for the policy check. Null for kClear and kNestedPath.
  struct PathInfo {
    Reqid reqid;
    Ipv4Address source, destination;
    std::optional<Selector> selector;
    friend bool operator==(const PathInfo&, const PathInfo&) = default;
  };
  const PathInfo* path_info(SecurityPath path) const;  // any thread
  // `leaving`: SAs that no policy may choose any more.
  void assign_policies(std::span<const PolicyRecord> policies, PolicySas& sas,
                       std::span<const SaIndex> leaving = {}) const;
  template <class F>
  void for_each(F f) const {  // in order of installation, oldest first
    for (uint32_t i : order_) f(*slots_[i].load(std::memory_order_relaxed));
  }

 private:
  static constexpr uint32_t kMaxPaths = 1u << 16;
  uint32_t probe_start(Spi spi) const { return (spi.value * 0x9E3779B1u) >> index_shift_; }
  void index_insert(Spi spi, uint32_t slot);
  void index_erase(Spi spi, uint32_t slot);

  uint32_t capacity_;
  uint32_t index_shift_;
  std::unique_ptr<std::atomic<const Sa*>[]> slots_;
  // Open addressing, four entries per possible SA: spi << 32 | slot + 2; 0: never used, 1: erased.
  std::unique_ptr<std::atomic<uint64_t>[]> index_;
  uint32_t index_mask_;
  std::vector<uint32_t> order_;  // installed slots, oldest first
  std::unique_ptr<PathInfo[]> paths_;
  std::unordered_multimap<uint32_t, uint32_t> paths_of_reqid_;
  std::atomic<uint32_t> path_count_{2};  // kClear and kNestedPath come first
};

}  // namespace espalier::dataplane
