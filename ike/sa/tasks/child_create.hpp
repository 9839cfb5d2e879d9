// A further child SA (RFC 7296 section 1.3.1). The first one is made by IKE_AUTH.
#pragma once

#include "ike/sa/tasks/child_exchange.hpp"

namespace espalier::ike {

class ChildCreate final : public ChildExchange {
 public:
  using ChildExchange::ChildExchange;
  TaskKind kind() const override { return TaskKind::kChildCreate; }
  std::optional<Request> request(IkeSa& sa) override;

 protected:
  void created(IkeSa& sa, std::unique_ptr<ChildSa> child) override;
  void refused(IkeSa& sa, const Refusal& refusal) override;
};

}  // namespace espalier::ike
