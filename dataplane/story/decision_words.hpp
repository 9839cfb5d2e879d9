// What the first-packet stages decided about a packet, a sentence for each stage. Everything comes from the
// Decision that they left and the tables that they asked; nothing is looked up a second time to decide.
#pragma once

#include <string>

#include "dataplane/stages/first_packet.hpp"

namespace espalier::dataplane::story {

class DecisionWords {
 public:
  // All of it must outlive this. `mbuf` is the packet as it was when the stages had walked it.
  DecisionWords(const Context& ctx, rte_mbuf* mbuf, const Decision& d);

  // `stopped`: the packet ended in this stage, by the packet's reason.
  std::string say(DecideStage stage, bool stopped) const;
  // The result, should nothing stop the packet behind the decision.
  std::string leaving() const;
  // The ICMP error that the decision asks for; empty: none, or none may be sent about the packet.
  std::string answer() const;

 private:
  std::string_view name(InterfaceIndex i) const { return tables_.interfaces->operator[](i).name.view(); }
  std::string why() const;
  std::string session() const;
  std::string nat(NatKind kind) const;
  std::string no_translation() const;
  std::string way() const;
  std::string inbound() const;
  std::string came() const;
  std::string bytes(bool stopped) const;
  std::string tunnel(bool stopped) const;
  std::string delivery() const;

  const Context& ctx_;
  const Snapshot& tables_;
  rte_mbuf* mbuf_;
  const Packet& p_;
  const Decision& d_;
};

}  // namespace espalier::dataplane::story
