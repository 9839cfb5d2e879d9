// A suite as what it wants of each transform type (RFC 7296 section 3.3.2): what offering, choosing and
// explaining have in common. Inside of ike/suite*.cpp.
#pragma once

#include <vector>

#include "ike/suite.hpp"

namespace espalier::ike {

struct Want {
  TransformType type{};
  std::vector<Transform> options;  // any of them, the best first
  bool may_be_absent = false;      // from a proposal, and then it is not offered unless it is ESN
};
// In the order of encryption, hash, PRF, group, ESN.
using Wants = std::vector<Want>;

Wants wants_of(const IkeSuite& suite);
Wants wants_of(const EspSuite& suite, bool with_group);

// The first option of `want` that is among the proposal's transforms; null: none.
const Transform* find_option(const Want& want, const Proposal& proposal);
bool has_type(const Proposal& proposal, TransformType type);
bool is_met(const Want& want, const Proposal& proposal);
// A transform that none of `wants` is about; null: there is none.
const Transform* find_unwanted(const Wants& wants, const Proposal& proposal);
// The peer's proposal as IKE_AUTH looks at it.
Proposal without_key_exchange(Proposal proposal);

}  // namespace espalier::ike
