#include "tests/golden/labels.hpp"

#include <algorithm>

namespace espalier::test {
namespace {

FieldKind listed_as(FieldKind kind) {
  return kind == FieldKind::kAtomicIpId ? FieldKind::kIpId : kind;
}

bool corresponds(FieldKind kind) {
  return kind != FieldKind::kAtomicIpId && kind != FieldKind::kFlowLabel;
}

}  // namespace

const RandomValue* Labels::find(FieldKind kind, uint32_t recorded) const {
  for (const RandomValue& value : random_)
    if (value.kind == listed_as(kind) && value.recorded == recorded) return &value;
  return nullptr;
}

bool Labels::bind(FieldKind kind, const Bytes& scope, uint32_t recorded, uint32_t ours) {
  const RandomValue* value = find(kind, recorded);
  if (value == nullptr || ours < value->low || ours > value->high || value->excluded == ours) return false;
  if (!corresponds(kind)) {
    ours_by_recorded_[{listed_as(kind), scope, recorded}] = ours;
    return true;
  }
  const auto [forward, first] = ours_by_recorded_.try_emplace({kind, scope, recorded}, ours);
  const auto [backward, only] = recorded_by_ours_.try_emplace({kind, scope, ours}, recorded);
  return forward->second == ours && backward->second == recorded;
}

void Labels::forget(std::initializer_list<FieldKind> kinds) {
  const auto is_one = [&](const auto& bound) {
    return std::find(kinds.begin(), kinds.end(), std::get<FieldKind>(bound.first)) != kinds.end();
  };
  std::erase_if(ours_by_recorded_, is_one);
  std::erase_if(recorded_by_ours_, is_one);
}

void Labels::forget_ids() {
  forget({FieldKind::kIpId, FieldKind::kFragmentId});
}

void Labels::forget_ports() {
  forget({FieldKind::kPort, FieldKind::kIcmpId});
}

void Labels::let_overtake(Sequences sequences) {
  overtaking_ = std::move(sequences);
  recorded_by_our_sequence_.clear();
}

bool Labels::bind_sequence(const Bytes& spi, uint64_t recorded, uint64_t ours) {
  const auto found = overtaking_.find(spi);
  if (found == overtaking_.end()) return recorded == ours;
  if (!found->second.contains(ours)) return false;
  return recorded_by_our_sequence_.try_emplace({spi, ours}, recorded).first->second == recorded;
}

std::optional<uint16_t> Labels::ours(FieldKind kind, const Bytes& scope, uint16_t recorded) const {
  const auto found = ours_by_recorded_.find({kind, scope, recorded});
  if (found == ours_by_recorded_.end()) return std::nullopt;
  return static_cast<uint16_t>(found->second);
}

}  // namespace espalier::test
