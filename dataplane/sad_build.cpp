// Installing and removing SAs: the main lcore's half of sad.hpp.
#include <algorithm>
#include <bit>
#include <set>

#include "dataplane/sad.hpp"

namespace espalier::dataplane {
namespace {

bool matches(IpAddress wanted, IpAddress is) {
  return wanted.is_unspecified() || wanted == is;
}

bool fits(const PolicyRecord& policy, const PolicyTemplate& wanted, const Sa& sa) {
  return sa.direction() == Direction::kOut && sa.vti() == policy.vti && sa.mode() == wanted.mode &&
         (wanted.reqid.value == 0 || wanted.reqid == sa.reqid()) &&
         (wanted.spi.value == 0 || wanted.spi == sa.spi()) && matches(wanted.source, sa.source()) &&
         matches(wanted.destination, sa.destination());
}

bool fits(const PolicyTemplate& wanted, const PathInfo::Layer& layer) {
  return (wanted.reqid.value == 0 || wanted.reqid == layer.reqid) && wanted.mode == layer.mode &&
         matches(wanted.source, layer.source) && matches(wanted.destination, layer.destination);
}

constexpr uint64_t kErased = 1;

bool has_limits(const SaLimits& limits) {
  return limits.soft_packets || limits.hard_packets || limits.soft_bytes || limits.hard_bytes;
}

}  // namespace

EspShape shape_of(const SaRecord& record) {
  EspShape shape;
  shape.outer_bytes = record.mode == EspMode::kTransport ? 0
                      : record.destination.is_v4()       ? sizeof(Ipv4Header)
                                                         : sizeof(Ipv6Header);
  shape.udp_bytes = record.flags & kSaEncap ? sizeof(UdpHeader) : 0;
  shape.iv_bytes = static_cast<uint8_t>(record.algorithm.iv_bytes());
  shape.icv_bytes = record.algorithm.icv_bytes;
  shape.align_bytes = static_cast<uint8_t>(record.algorithm.align_bytes());
  return shape;
}

Sa::Sa(SaIndex index, const SaRecord& record, SecurityPath path, crypto::EspKey key,
       const SaDirectory& directory, WindowLock* window_lock)
    : index_(index),
      spi_(record.spi),
      direction_(record.direction),
      mode_(record.mode),
      limited_(has_limits(record.limits)),
      flags_(record.flags),
      shape_(shape_of(record)),
      reqid_(record.reqid),
      path_(path),
      source_(record.source),
      destination_(record.destination),
      encap_source_port_(be16::from_host(record.encap_source_port)),
      encap_destination_port_(be16::from_host(record.encap_destination_port)),
      keepalive_s_(record.keepalive_s),
      vti_(record.vti),
      outbound_(&directory.outbound(index)),
      counters_(&directory.counters(index)),
      peer_watch_({record.source, be16::from_host(record.encap_source_port)}),
      window_(directory.window(index, window_lock)),
      algorithm_(record.algorithm),
      limits_(record.limits),
      selector_(record.selector),
      name_(record.name),
      key_(std::move(key)) {}

PolicySas::PolicySas(size_t policies)
    : sas_(std::make_unique<std::atomic<uint32_t>[]>(policies * PolicyRecord::kMaxTemplates)) {
  for (size_t i = 0; i < policies * PolicyRecord::kMaxTemplates; ++i)
    sas_[i].store(kNone32, std::memory_order_relaxed);
}

Sad::Sad(uint32_t capacity)
    : capacity_(capacity),
      slots_(std::make_unique<std::atomic<const Sa*>[]>(capacity)),
      paths_(std::make_unique<PathSlot[]>(kMaxPaths)) {
  const uint32_t places = std::bit_ceil(std::max<uint32_t>(capacity, 4) * 4);
  index_ = std::make_unique<std::atomic<uint64_t>[]>(places);
  index_mask_ = places - 1;
  index_shift_ = static_cast<uint32_t>(std::countl_zero(places)) + 1;
}

Sad::~Sad() {
  for (uint32_t i = 0; i < capacity_; ++i) delete slots_[i].load(std::memory_order_relaxed);
}

void Sad::index_insert(Spi spi, uint32_t slot) {
  uint32_t i = probe_start(spi);
  while (index_[i].load(std::memory_order_relaxed) > kErased) i = (i + 1) & index_mask_;
  index_[i].store(static_cast<uint64_t>(spi.value) << 32 | (slot + 2), std::memory_order_release);
}

void Sad::index_erase(Spi spi, uint32_t slot) {
  const uint64_t wanted = static_cast<uint64_t>(spi.value) << 32 | (slot + 2);
  uint32_t i = probe_start(spi);
  while (index_[i].load(std::memory_order_relaxed) != wanted) i = (i + 1) & index_mask_;
  index_[i].store(kErased, std::memory_order_release);
  // An erased place at the end of a probe run is free again, so that erasing and adding for years (rekeys)
  // never fills the index with erased places.
  while (index_[(i + 1) & index_mask_].load(std::memory_order_relaxed) == 0 &&
         index_[i].load(std::memory_order_relaxed) == kErased) {
    index_[i].store(0, std::memory_order_release);
    i = (i - 1) & index_mask_;
  }
}

// The slot never is empty in between: a worker that found the old SA goes on with the new one. One that
// changes (its peer moved) keeps its place in the order of installation.
std::unique_ptr<const Sa> Sad::install(std::unique_ptr<const Sa> sa) {
  const uint32_t slot = sa->index().value;
  const Spi spi = sa->spi();
  sa->tell_path_mtu(0);  // what an earlier process or SA learned in this cell
  enter_path(sa->path());
  std::unique_ptr<const Sa> old(slots_[slot].exchange(sa.release(), std::memory_order_acq_rel));
  if (old) leave_path(old->path());
  if (old && old->spi() == spi) return old;
  std::erase(order_, slot);
  order_.push_back(slot);
  index_insert(spi, slot);
  if (old) index_erase(old->spi(), slot);
  return old;
}

std::unique_ptr<const Sa> Sad::remove(SaIndex i) {
  const Sa* old = slots_[i.value].load(std::memory_order_relaxed);
  if (!old) return nullptr;
  index_erase(old->spi(), i.value);
  slots_[i.value].store(nullptr, std::memory_order_release);
  std::erase(order_, i.value);
  leave_path(old->path());
  return std::unique_ptr<const Sa>(old);
}

SecurityPath Sad::intern(const PathInfo& wanted) {
  const uint32_t key = wanted.layers[wanted.count - 1].reqid.value;
  const auto [begin, end] = paths_of_reqid_.equal_range(key);
  for (auto known = begin; known != end; ++known)
    if (paths_[known->second].info == wanted) return SecurityPath{paths_[known->second].value};
  const uint32_t count = path_count_.load(std::memory_order_relaxed);
  // Full: a path that no policy accepts, so the SA's packets are dropped and counted rather than confused.
  if (free_paths_.empty() && count == kMaxPaths) return kUnknownPath;
  const uint32_t index = free_paths_.empty() ? count : free_paths_.front();
  if (free_paths_.empty())
    path_count_.store(count + 1, std::memory_order_release);
  else
    free_paths_.pop_front();
  PathSlot& slot = paths_[index];
  slot.info = wanted;
  slot.next_value = slot.next_value == 0 ? index : slot.next_value;
  slot.value.store(slot.next_value, std::memory_order_release);
  paths_of_reqid_.emplace(key, index);
  wanted.count > 1 ? void(++chains_) : unused_paths_.push_back(index);
  return SecurityPath{slot.next_value};
}

void Sad::enter_path(SecurityPath path) {
  if (path_info(path)) ++paths_[slot_of(path)].sas;
}

void Sad::leave_path(SecurityPath path) {
  if (path_info(path) && --paths_[slot_of(path)].sas == 0) unused_paths_.push_back(slot_of(path));
}

// First nobody finds the path any more; at the next call nobody looks at it any more either.
void Sad::reclaim_paths() {
  for (const uint32_t slot : std::exchange(ended_paths_, {})) free_paths_.push_back(slot);
  for (const uint32_t slot : std::exchange(unused_paths_, {}))
    if (paths_[slot].sas == 0 && paths_[slot].value != 0) end_path(slot);
}

void Sad::end_path(uint32_t slot) {
  PathSlot& ended = paths_[slot];
  ended.value.store(0, std::memory_order_release);
  ended.next_value += kMaxPaths;
  ended_paths_.push_back(slot);
  const PathInfo& path = ended.info;
  const auto [begin, end] = paths_of_reqid_.equal_range(path.layers[path.count - 1].reqid.value);
  paths_of_reqid_.erase(std::find_if(begin, end, [slot](const auto& known) { return known.second == slot; }));
  if (path.count > 1)
    --chains_;
  else if (chains_ != 0)
    end_chains_with(path.layers[0]);
}

void Sad::end_chains_with(const PathInfo::Layer& layer) {
  const uint32_t count = path_count_.load(std::memory_order_relaxed);
  for (uint32_t i = kNamedPaths; i < count; ++i) {
    const PathInfo& path = paths_[i].info;
    if (paths_[i].value == 0 || path.count == 1) continue;
    const auto* const end = path.layers.data() + path.count;
    if (std::find(path.layers.data(), end, layer) != end) end_path(i);
  }
}

SecurityPath Sad::intern_path(const SaRecord& record) {
  PathInfo path;
  path.count = 1;
  path.layers[0] = {.reqid = record.reqid,
                    .spi = record.spi,
                    .mode = record.mode,
                    .source = record.source,
                    .destination = record.destination,
                    .selector = {}};
  if (record.flags & kSaHasSelector) path.layers[0].selector = record.selector;
  return intern(path);
}

// From the outermost template, which is the last one, inwards: all SAs that fit, after all that came before.
void Sad::intern_chains(std::span<const PolicyRecord> policies) {
  for (const PolicyRecord& policy : policies) {
    if (policy.templates < 2 || policy.direction == Direction::kOut) continue;
    std::vector<PathInfo> chains{PathInfo{}};
    for (size_t t = policy.templates; t-- > 0;) {
      std::vector<PathInfo> longer;
      for (const PathInfo& chain : chains)
        for (const uint32_t slot : order_) {
          const Sa& sa = *at(SaIndex{slot});
          const PathInfo* own = path_info(sa.path());
          if (sa.direction() != Direction::kIn || !own || !fits(policy.tmpl[t], own->layers[0])) continue;
          PathInfo path = chain;
          path.layers[path.count++] = own->layers[0];
          longer.push_back(path);
        }
      chains = std::move(longer);
      for (const PathInfo& chain : chains)
        if (chain.count > 1) intern(chain);
    }
  }
}

SaIndex Sad::choose(const PolicyRecord& policy, const PolicyTemplate& tmpl,
                    std::span<const uint32_t> slots) const {
  for (size_t i = slots.size(); i-- > 0;) {  // the latest one
    const Sa& sa = *at(SaIndex{slots[i]});
    if (fits(policy, tmpl, sa) && !sa.counters().has_expired(kExpiredHard)) return sa.index();
  }
  return kNoSa;
}

void Sad::assign_policies(std::span<const PolicyRecord> policies, PolicySas& sas,
                          std::span<const SaIndex> leaving, std::span<const Reqid> changed) const {
  const std::set<Reqid> reqids(changed.begin(), changed.end());
  const auto may_change = [&](const PolicyTemplate& tmpl) {
    return reqids.empty() || tmpl.reqid.value == 0 || reqids.contains(tmpl.reqid);
  };
  std::vector<uint32_t> staying;
  std::unordered_map<uint32_t, std::vector<uint32_t>> staying_by_reqid;
  const std::set<SaIndex> gone(leaving.begin(), leaving.end());
  for (const uint32_t slot : order_) {
    if (gone.contains(SaIndex{slot})) continue;
    staying.push_back(slot);
    staying_by_reqid[at(SaIndex{slot})->reqid().value].push_back(slot);
  }
  for (const PolicyRecord& policy : policies) {
    if (policy.direction != Direction::kOut || policy.action != PolicyAction::kProtect) continue;
    for (size_t t = 0; t < policy.templates; ++t) {
      const PolicyTemplate& tmpl = policy.tmpl[t];
      if (!may_change(tmpl)) continue;
      sas.set(policy.index, t,
              choose(policy, tmpl, tmpl.reqid.value == 0 ? staying : staying_by_reqid[tmpl.reqid.value]));
    }
  }
}

}  // namespace espalier::dataplane
