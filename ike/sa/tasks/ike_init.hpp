// IKE_SA_INIT (RFC 7296 section 1.2): suites, keys, and whether there is a NAT. Nothing in it is
// authenticated, so no error in it ends our try at once: the true response may still come.
#pragma once

#include "crypto/key_exchange.hpp"
#include "ike/sa/ike_sa.hpp"

namespace espalier::ike {

class IkeInit final : public Task {
 public:
  TaskKind kind() const override { return TaskKind::kIkeInit; }
  std::optional<Request> request(IkeSa& sa) override;
  Verdict response(IkeSa& sa, const Message& message) override;
  void archive(Writer&) override {}  // an IKE SA is saved from its establishing on
  void archive(Reader&) override {}

 private:
  Verdict wait_for_another(IkeSa& sa, const std::string& why);
  Verdict refused(IkeSa& sa, const Notify& error);
  Verdict agree(IkeSa& sa, const Message& message);

  uint16_t group_ = 0;
  uint16_t repeated_ = 0;
  std::optional<crypto::KeyExchange> key_;
  Bytes cookie_;
};

// Of what cannot be read only an unknown critical payload is worth an answer (section 2.5): the peer may do without.
void answer_malformed_init(Engine& engine, const Header& header, const ParseError& error, const Endpoint& local,
                           const Endpoint& remote);

// A new IKE SA as the responder, or an error to send; nothing is kept of a refused one.
void answer_ike_init(Engine& engine, const Message& request, ByteView datagram, const Endpoint& local,
                     const Endpoint& remote);

}  // namespace espalier::ike
