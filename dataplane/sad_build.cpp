// Installing and removing SAs: the main lcore's half of sad.hpp.
#include <algorithm>
#include <bit>
#include <set>

#include "dataplane/sad.hpp"

namespace espalier::dataplane {
namespace {

uint32_t salt_of(const SaRecord& record) {
  uint32_t raw;
  std::memcpy(&raw, record.salt, sizeof raw);
  return raw;
}

bool fits(const PolicyTemplate& wanted, const Sa& sa) {
  return sa.direction() == Direction::kOut && (wanted.reqid.value == 0 || wanted.reqid == sa.reqid()) &&
         (wanted.source.is_unspecified() || wanted.source == sa.source()) &&
         (wanted.destination.is_unspecified() || wanted.destination == sa.destination());
}

constexpr uint64_t kErased = 1;

}  // namespace

Sa::Sa(SaIndex index, const SaRecord& record, SecurityPath path, crypto::GcmKey key,
       const SaDirectory& directory, WindowLock* window_lock)
    : index_(index),
      spi_(record.spi),
      direction_(record.direction),
      flags_(record.flags),
      reqid_(record.reqid),
      path_(path),
      salt_raw_(salt_of(record)),
      source_(record.source),
      destination_(record.destination),
      outbound_(&directory.outbound(index)),
      counters_(&directory.counters(index)),
      window_(directory.window(index, window_lock)),
      selector_(record.selector),
      name_(record.name),
      key_(std::move(key)) {}

PolicySas::PolicySas(size_t policies)
    : size(policies), by_policy(std::make_unique<std::atomic<uint32_t>[]>(policies)) {
  for (size_t i = 0; i < policies; ++i) by_policy[i].store(kNone32, std::memory_order_relaxed);
}

Sad::Sad(uint32_t capacity)
    : capacity_(capacity),
      slots_(std::make_unique<std::atomic<const Sa*>[]>(capacity)),
      paths_(std::make_unique<PathInfo[]>(kMaxPaths)) {
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

// The slot never is empty in between: a worker that found the old SA goes on with the new one.
std::unique_ptr<const Sa> Sad::install(std::unique_ptr<const Sa> sa) {
  const uint32_t slot = sa->index().value;
  const Spi spi = sa->spi();
  sa->tell_path_mtu(0);  // what an earlier process or SA learned in this cell
  std::erase(order_, slot);
  order_.push_back(slot);
  std::unique_ptr<const Sa> old(slots_[slot].exchange(sa.release(), std::memory_order_acq_rel));
  if (old && old->spi() == spi) return old;
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
  return std::unique_ptr<const Sa>(old);
}

SecurityPath Sad::intern_path(const SaRecord& record) {
  PathInfo wanted{
      .reqid = record.reqid, .source = record.source, .destination = record.destination, .selector = {}};
  if (record.flags & kSaHasSelector) wanted.selector = record.selector;
  const auto [begin, end] = paths_of_reqid_.equal_range(record.reqid.value);
  for (auto known = begin; known != end; ++known)
    if (paths_[known->second] == wanted) return SecurityPath{known->second};
  const uint32_t count = path_count_.load(std::memory_order_relaxed);
  // Full: a path that no policy accepts, so the SA's packets are dropped and counted rather than confused.
  if (count == kMaxPaths) return kNestedPath;
  paths_[count] = wanted;
  paths_of_reqid_.emplace(record.reqid.value, count);
  path_count_.store(count + 1, std::memory_order_release);
  return SecurityPath{count};
}

void Sad::assign_policies(std::span<const PolicyRecord> policies, PolicySas& sas,
                          std::span<const SaIndex> leaving) const {
  std::vector<uint32_t> staying;
  std::unordered_map<uint32_t, std::vector<uint32_t>> staying_by_reqid;
  const std::set<SaIndex> gone(leaving.begin(), leaving.end());
  for (const uint32_t slot : order_) {
    if (gone.contains(SaIndex{slot})) continue;
    staying.push_back(slot);
    staying_by_reqid[at(SaIndex{slot})->reqid().value].push_back(slot);
  }
  for (const PolicyRecord& policy : policies) {
    const bool protects = policy.direction == Direction::kOut && policy.action == PolicyAction::kProtect;
    const auto& candidates =
        policy.tmpl.reqid.value == 0 ? staying : staying_by_reqid[policy.tmpl.reqid.value];
    uint32_t chosen = kNone32;
    for (const uint32_t slot : candidates)
      if (protects && fits(policy.tmpl, *at(SaIndex{slot}))) chosen = slot;  // the latest one
    sas.by_policy[policy.index.value].store(chosen, std::memory_order_release);
  }
}

}  // namespace espalier::dataplane
