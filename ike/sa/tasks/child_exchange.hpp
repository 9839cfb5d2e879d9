// What creating and rekeying a child SA have in common: CREATE_CHILD_SA with an offer, a nonce, and a key
// exchange for PFS (RFC 7296 sections 1.3.1 and 1.3.3).
#pragma once

#include "crypto/key_exchange.hpp"
#include "ike/sa/child_negotiation.hpp"
#include "ike/sa/task.hpp"

namespace espalier::ike {

class ChildExchange : public Task {
 public:
  explicit ChildExchange(std::string child = {}) : child_(std::move(child)) {}
  Verdict response(IkeSa& sa, const Message& message) final;
  void archive(Writer& writer) override { visit_exchange(writer); }
  void archive(Reader& reader) override { visit_exchange(reader); }

  const std::string& child() const { return child_; }
  // The peer deleted a child that we do not know: it may be the one that the response will tell of.
  void note_deleted(Spi spi_out);

 protected:
  // The payloads that both have. Nothing: the child is not configured any more, or OpenSSL failed.
  std::optional<Request> make_request(IkeSa& sa);
  // The child is made and not installed yet.
  virtual void created(IkeSa& sa, std::unique_ptr<ChildSa> child) = 0;
  virtual void refused(IkeSa& sa, const Refusal& refusal) = 0;

  std::string child_;

 private:
  template <class Archive>
  void visit_exchange(Archive& archive);
  bool prepare_key(uint16_t group);
  bool try_group(const ChildConfig& config, uint16_t group);
  Agreed<std::unique_ptr<ChildSa>> make(IkeSa& sa, const std::shared_ptr<const ChildConfig>& config,
                                        const Message& message);

  uint16_t group_ = 0;  // 0: the first suite's
  uint16_t tries_ = 0;
  ChildOffer offer_;
  Bytes nonce_;
  std::optional<crypto::KeyExchange> key_;
  std::vector<Spi> deleted_;  // of note_deleted()
};

// The answer to such a request of the peer: the new child, already installed as far as it may be; null after
// a refusal was sent. `replaced`: null for a new child.
ChildSa* answer_child(IkeSa& sa, const Message& request, const std::shared_ptr<const ChildConfig>& config,
                      ChildSa* replaced);

}  // namespace espalier::ike
