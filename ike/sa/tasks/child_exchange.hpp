// What creating and rekeying a child SA have in common: CREATE_CHILD_SA with an offer, a nonce, and a key
// exchange for PFS (RFC 7296 sections 1.3.1 and 1.3.3). The peer may have begun the same at the same time:
// its child is then the `rival`, and the lowest of the four nonces decides (section 2.8.1).
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
  void set_rival(Spi spi_in) { rival_ = spi_in; }

 protected:
  // The payloads that both have. Nothing: the child is not configured any more, or OpenSSL failed.
  std::optional<Request> make_request(IkeSa& sa);
  // The child is made and not installed yet.
  virtual void created(IkeSa& sa, std::unique_ptr<ChildSa> child) = 0;
  virtual void refused(IkeSa& sa, const Refusal& refusal) = 0;
  // The peer's child of the same purpose; null: none, or gone.
  ChildSa* rival(IkeSa& sa) const { return rival_.value == 0 ? nullptr : sa.find_in(rival_); }
  // A child of ours that lost, or that we cannot use: it is only deleted.
  static void discard(IkeSa& sa, std::unique_ptr<ChildSa> child);

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
  Spi rival_;
};

// The answer to such a request of the peer: the new child, already installed as far as it may be; null after
// a refusal was sent. `replaced`: null for a new child.
ChildSa* answer_child(IkeSa& sa, const Message& request, const std::shared_ptr<const ChildConfig>& config,
                      ChildSa* replaced);

}  // namespace espalier::ike
