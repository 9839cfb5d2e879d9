// Rekeying an IKE SA (RFC 7296 sections 1.3.2 and 2.18): a new one is made, inherits the child SAs and what
// is still to be done, and the old one is deleted by who began. Collisions of sections 2.8.2 and 2.25.2: see
// ike_rekey.cpp.
#pragma once

#include "crypto/key_exchange.hpp"
#include "ike/sa/ike_sa.hpp"

namespace espalier::ike {

class IkeRekey final : public Task {
 public:
  TaskKind kind() const override { return TaskKind::kIkeRekey; }
  std::optional<Request> request(IkeSa& sa) override;
  Verdict response(IkeSa& sa, const Message& message) override;
  void archive(Writer& writer) override { visit_task(writer); }
  void archive(Reader& reader) override { visit_task(reader); }

  void set_rival(uint64_t local_spi) { rival_ = local_spi; }
  IkeSa* rival(IkeSa& sa) const;

 private:
  template <class Archive>
  void visit_task(Archive& archive);
  void refused(IkeSa& sa, const Message& message);
  void created(IkeSa& sa, IkeSa& successor);

  uint64_t spi_ = 0;  // ours of the new IKE SA
  uint16_t group_ = 0;
  uint16_t tries_ = 0;
  Bytes nonce_;
  std::optional<crypto::KeyExchange> key_;
  uint64_t rival_ = 0;  // our SPI of the one that the peer made at the same time
};

// The children and tasks of an IKE SA go over to its successor.
void inherit(IkeSa& old, IkeSa& successor);

}  // namespace espalier::ike
