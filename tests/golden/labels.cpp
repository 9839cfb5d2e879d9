#include "tests/golden/labels.hpp"

namespace espalier::test {

const RandomValue* Labels::find(FieldKind kind, uint16_t recorded) const {
  for (const RandomValue& value : random_)
    if (value.kind == kind && value.recorded == recorded) return &value;
  return nullptr;
}

bool Labels::bind(FieldKind kind, const Bytes& scope, uint16_t recorded, uint16_t ours) {
  const RandomValue* value = find(kind, recorded);
  if (value == nullptr || ours < value->low || ours > value->high || value->excluded == ours) return false;
  const auto [forward, first] = ours_by_recorded_.try_emplace({kind, scope, recorded}, ours);
  const auto [backward, only] = recorded_by_ours_.try_emplace({kind, scope, ours}, recorded);
  return forward->second == ours && backward->second == recorded;
}

std::optional<uint16_t> Labels::ours(FieldKind kind, const Bytes& scope, uint16_t recorded) const {
  const auto found = ours_by_recorded_.find({kind, scope, recorded});
  if (found == ours_by_recorded_.end()) return std::nullopt;
  return found->second;
}

}  // namespace espalier::test
