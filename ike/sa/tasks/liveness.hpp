// Whether the peer still lives (RFC 7296 section 2.4): an empty request. That no response comes is seen by
// the IKE SA.
#pragma once

#include "ike/sa/ike_sa.hpp"

namespace espalier::ike {

class Liveness final : public Task {
 public:
  TaskKind kind() const override { return TaskKind::kLiveness; }
  std::optional<Request> request(IkeSa& sa) override;
  Verdict response(IkeSa& sa, const Message& message) override;
  void archive(Writer&) override {}
  void archive(Reader&) override {}
};

}  // namespace espalier::ike
