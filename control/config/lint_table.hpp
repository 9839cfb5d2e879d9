// The lints: warnings about what is legal and yet probably not meant. Closed: each has a name that stays,
// shown in brackets behind the warning, as "[nat-swallows-tunnel]", and in JSON as `lint`;
// docs/configuration.md has a row for each, and tests/unit/config/cases/lints a configuration on which it
// speaks and one that differs little on which it is silent.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace espalier::config {

enum class Lint : uint8_t {
  kNone,  // errors
  // NAT and tunnels
  kNatSwallowsTunnel,
  kNatPartialExclude,
  kNatRewritesEsp,
  kNatTakesEsp,
  kNatSlowsEsp,
  kDnatPolicyAddress,
  // what a tunnel is for
  kSelectorContainsPeer,
  kSelectorOverlap,
  // tunnel interfaces
  kGreInClear,
  kMtuTooLarge,
  kTunnelLoop,
  kVtiWithoutSa,
  kVtiWithoutRoute,
  kVtiPolicyMissesRoute,
  kVtiTunnelNotRouted,
  // states and policies
  kStateAddress,
  kStateUnused,
  kFwdPolicyMissing,
  kTemplateWithoutState,
  kTemplateSelector,
  kPolicyNeverUsed,
  kPolicyInterface,
  kNoEncryption,
  kReplayOff,
  // IKE
  kWeakDhGroup,
  kWeakHash,
  kAeadWithHash,
  kLifetimeOrder,
  kShortLifetimes,
  kDpdTimeout,
  kBothInitiate,
  kLocalAddress,
  kPskMissing,
  kPskAmbiguous,
  // files
  kSecretsReadable,
  kSecretFile,
  // of this version
  kCannotBeApplied,
  kCount,
};

struct LintName {
  Lint lint;
  std::string_view name;
};

inline constexpr std::array<LintName, static_cast<size_t>(Lint::kCount)> kLintTable{{
    {Lint::kNone, ""},
    {Lint::kNatSwallowsTunnel, "nat-swallows-tunnel"},
    {Lint::kNatPartialExclude, "nat-partial-exclude"},
    {Lint::kNatRewritesEsp, "nat-rewrites-esp"},
    {Lint::kNatTakesEsp, "nat-takes-esp"},
    {Lint::kNatSlowsEsp, "nat-slows-esp"},
    {Lint::kDnatPolicyAddress, "dnat-policy-address"},
    {Lint::kSelectorContainsPeer, "selector-contains-peer"},
    {Lint::kSelectorOverlap, "selector-overlap"},
    {Lint::kGreInClear, "gre-in-clear"},
    {Lint::kMtuTooLarge, "mtu-too-large"},
    {Lint::kTunnelLoop, "tunnel-loop"},
    {Lint::kVtiWithoutSa, "vti-without-sa"},
    {Lint::kVtiWithoutRoute, "vti-without-route"},
    {Lint::kVtiPolicyMissesRoute, "vti-policy-misses-route"},
    {Lint::kVtiTunnelNotRouted, "vti-tunnel-not-routed"},
    {Lint::kStateAddress, "state-address"},
    {Lint::kStateUnused, "state-unused"},
    {Lint::kFwdPolicyMissing, "fwd-policy-missing"},
    {Lint::kTemplateWithoutState, "template-without-state"},
    {Lint::kTemplateSelector, "template-selector"},
    {Lint::kPolicyNeverUsed, "policy-never-used"},
    {Lint::kPolicyInterface, "policy-interface"},
    {Lint::kNoEncryption, "no-encryption"},
    {Lint::kReplayOff, "replay-off"},
    {Lint::kWeakDhGroup, "weak-dh-group"},
    {Lint::kWeakHash, "weak-hash"},
    {Lint::kAeadWithHash, "aead-with-hash"},
    {Lint::kLifetimeOrder, "lifetime-order"},
    {Lint::kShortLifetimes, "short-lifetimes"},
    {Lint::kDpdTimeout, "dpd-timeout"},
    {Lint::kBothInitiate, "both-initiate"},
    {Lint::kLocalAddress, "local-address"},
    {Lint::kPskMissing, "psk-missing"},
    {Lint::kPskAmbiguous, "psk-ambiguous"},
    {Lint::kSecretsReadable, "secrets-readable"},
    {Lint::kSecretFile, "secret-file"},
    {Lint::kCannotBeApplied, "cannot-be-applied"},
}};

constexpr bool lint_table_is_in_order() {
  for (size_t i = 0; i < kLintTable.size(); ++i)
    if (static_cast<size_t>(kLintTable[i].lint) != i) return false;
  return true;
}
static_assert(lint_table_is_in_order());

constexpr std::string_view name_of(Lint lint) {
  return kLintTable[static_cast<size_t>(lint)].name;
}

}  // namespace espalier::config
