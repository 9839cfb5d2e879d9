// IKE_AUTH (RFC 7296 sections 1.2 and 2.15): both sides say who they are and prove it, and make the first
// child SA. The IKE SA stays if only the child fails (section 2.21.2).
#pragma once

#include "ike/sa/child_negotiation.hpp"
#include "ike/sa/task.hpp"

namespace espalier::ike {

class IkeAuth final : public Task {
 public:
  TaskKind kind() const override { return TaskKind::kIkeAuth; }
  std::optional<Request> request(IkeSa& sa) override;
  Verdict response(IkeSa& sa, const Message& message) override;
  void archive(Writer&) override {}  // an IKE SA is saved from its establishing on
  void archive(Reader&) override {}

 private:
  void finish_child(IkeSa& sa, const Message& message, ByteView our_nonce, ByteView peer_nonce);

  std::string child_;  // the first that the connection wants
  ChildOffer offer_;
};

}  // namespace espalier::ike
