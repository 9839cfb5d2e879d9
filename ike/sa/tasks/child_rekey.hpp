// Rekeying a child SA (RFC 7296 section 1.3.3): the new one is made, then the old one deleted. The peer may
// have begun the same at the same time: its child is then the `rival`. Collisions of section 2.8.1
// and 2.25.1: see child_rekey.cpp.
#pragma once

#include "ike/sa/tasks/child_exchange.hpp"

namespace espalier::ike {

class ChildRekey final : public ChildExchange {
 public:
  explicit ChildRekey(Spi old_spi_in = {}) : old_(old_spi_in) {}
  TaskKind kind() const override { return TaskKind::kChildRekey; }
  std::optional<Request> request(IkeSa& sa) override;
  void archive(Writer& writer) override;
  void archive(Reader& reader) override;
  Spi old_spi_in() const { return old_; }
  void set_rival(const ChildSa& child);

 protected:
  void created(IkeSa& sa, std::unique_ptr<ChildSa> child) override;
  void refused(IkeSa& sa, const Refusal& refusal) override;

 private:
  // Null: none, or gone.
  ChildSa* rival(IkeSa& sa) const;
  Spi old_, rival_;
  Bytes rival_nonce_;  // decides even when the rival was itself replaced before our response came
};

}  // namespace espalier::ike
