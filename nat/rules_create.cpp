#include <algorithm>

#include "nat/rules.hpp"

namespace espalier::nat {

RuleSet::RuleSet(std::span<const NatRuleRecord> rules) {
  for (const NatRuleRecord& rule : rules) {
    (rule.kind == NatKind::kSource ? source_ : destination_).push_back(rule);
    if (rule.translation == NatTranslation::kExclude) continue;
    needs_sessions_[static_cast<size_t>(rule.family)] = true;
    if (rule.protocol == kProtoAny)
      touched_.fill(true);
    else
      touched_[rule.protocol] = true;
  }
  std::ranges::sort(source_, {}, &NatRuleRecord::index);
  std::ranges::sort(destination_, {}, &NatRuleRecord::index);
}

RuleSet::~RuleSet() = default;

}  // namespace espalier::nat
