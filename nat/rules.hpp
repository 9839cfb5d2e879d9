// The NAT rules, and what they do to the first packet of a flow.
//
// Rules of a kind are consulted in order and the first that matches decides; later packets follow the
// session. match_*() are pure, translate_*() change only the PendingSession given to them, so `explain` uses
// them as they are. A RuleSet is immutable: the main lcore builds a new one and publishes it.
//
// Addresses of a range are chosen as in Linux (address_choice.hpp); a prefix is translated one to one, its
// bits are replaced and the host's stay (NETMAP). Source ports as in Linux: a source socket keeps the mapping
// that it has towards others, else its port, if the reply tuple that results is free (so flows to different
// peers share a port); else one is searched from a random start, in the class of the original port.
#pragma once

#include <span>
#include <vector>

#include "control/shared/records.hpp"
#include "nat/pending_session.hpp"
#include "nat/random.hpp"
#include "nat/session_table.hpp"

namespace espalier::nat {

class RuleSet {
 public:
  RuleSet() = default;
  // Copies the rules of both kinds, in any order. Precondition: each was validated (record_check.hpp).
  explicit RuleSet(std::span<const NatRuleRecord> rules);
  ~RuleSet();
  RuleSet(const RuleSet&) = delete;
  RuleSet& operator=(const RuleSet&) = delete;

  // The rule for a packet before destination NAT; null: none matches.
  //  `in`: where it came in; `decrypted`: by an SA. For packets of the gateway itself (`local_output`, nat
  //  OUTPUT) there are rules of their own, and `in` is where it would leave, `decrypted` whether a policy
  //  protects it.
  const NatRuleRecord* match_destination(const Tuple& tuple, InterfaceIndex in, bool decrypted,
                                         bool local_output) const {
    return match(destination_, {tuple, in, decrypted, local_output});
  }
  // The rule for a packet after destination NAT that is about to leave by `out`; null: none matches.
  //  `protected_before_snat`: whether the first lookup, before this step, found an out policy that protects
  //  it.
  const NatRuleRecord* match_source(const Tuple& tuple, InterfaceIndex out,
                                    bool protected_before_snat) const {
    return match(source_, {tuple, out, protected_before_snat, false});
  }

  // Whether sessions of the family must be tracked for the rules' sake: Linux tracks, in each family for
  // itself, when something translates; an empty table or excludes alone do not ask for it.
  bool needs_sessions(Family family) const { return needs_sessions_[static_cast<size_t>(family)]; }
  // Whether any rule could translate packets of the protocol; false lets the outer ESP packet skip NAT.
  bool may_touch_protocol(uint8_t protocol) const { return touched_[protocol]; }

  // In the order in which they are consulted.
  std::span<const NatRuleRecord> source_rules() const { return source_; }
  std::span<const NatRuleRecord> destination_rules() const { return destination_; }

 private:
  // What a rule is compared with.
  struct Question {
    const Tuple& tuple;
    InterfaceIndex interface;
    bool ipsec;
    bool local_output;
  };
  static bool matches(const NatRuleRecord& rule, const Question& question);
  static const NatRuleRecord* match(std::span<const NatRuleRecord> rules, const Question& question);

  std::vector<NatRuleRecord> source_;
  std::vector<NatRuleRecord> destination_;
  std::array<bool, 256> touched_{};
  std::array<bool, 2> needs_sessions_{};  // by Family
};

// Where and how both steps look for free reply tuples.
struct TupleSearch {
  const SessionTable& sessions;
  Random& random;
  WorkerId worker;  // that will confirm the session
  uint64_t now_ms;
};

// Both steps name the rule in `pending`, also one that excludes.

// Destination NAT by `rule` (null or exclude: nothing is translated). With a port range the port is kept if
// it is inside and free, otherwise another one is searched. A clash that remains is source NAT's to solve, by
// the source port.
void translate_destination(const NatRuleRecord* rule, PendingSession& pending, const TupleSearch& search);

// Source NAT by `rule`. Every flow takes this step: one that no rule translates (null, exclude) still gets
// another source port if its reply tuple is taken, as in Linux. `masquerade` is the address of the outbound
// interface that the packet's family has there. Protocols without ports are translated by address alone; if
// that is taken, confirm() says so. Returns kNone, or why the packet must be dropped (then the tuples are as
// they were): kNatPortsExhausted, no free port or ICMP identifier; kNatNoAddress, kMasquerade with an
// unspecified address.
[[nodiscard]] DropReason translate_source(const NatRuleRecord* rule, IpAddress masquerade,
                                          PendingSession& pending, const TupleSearch& search);

}  // namespace espalier::nat
