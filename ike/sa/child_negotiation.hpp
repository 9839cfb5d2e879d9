// Agreeing on a child SA, in IKE_AUTH and CREATE_CHILD_SA alike (RFC 7296 sections 1.3, 2.7 to 2.9): what is
// offered, what is taken of a response, what is chosen of a request, and the child SA that comes of it.
#pragma once

#include "ike/sa/ike_sa.hpp"

namespace espalier::ike {

// Why something did not come about: what the peer is told, or told us, and what the operator is.
struct Refusal {
  NotifyType notify = NotifyType::kNoProposalChosen;
  Bytes data;
  std::string why;
  Notify to_notify() const { return {.type = notify, .data = data}; }
};
template <class T>
using Agreed = std::expected<T, Refusal>;

struct ChildOffer {
  Spi spi;
  std::vector<TrafficSelector> local, remote;
  bool with_group = true;  // not in IKE_AUTH (section 1.2)
};
ChildOffer make_offer(IkeSa& sa, const ChildConfig& config, bool with_group);
// SA, TSi, TSr and USE_TRANSPORT_MODE.
std::vector<Payload> offer_payloads(const ChildConfig& config, const ChildOffer& offer);

struct ChildTerms {
  EspSuite suite;
  Spi peer_spi;
  std::vector<TrafficSelector> local, remote;
  bool transport = false;
  // Of the response, when we are the responder.
  Proposal reply;
  std::vector<TrafficSelector> reply_initiator, reply_responder;
};
Agreed<ChildTerms> accept_child(const ChildConfig& config, const ChildOffer& offer, const Message& response);
Agreed<ChildTerms> choose_child(const IkeSa& sa, const ChildConfig& config, const Message& request,
                                bool with_group);
std::vector<Payload> reply_payloads(const ChildTerms& terms, Spi our_spi);

// The child of the connection that fits the selectors of a request best: exactly, else by what is common.
// Null: none.
std::shared_ptr<const ChildConfig> pick_child(const IkeSa& sa, const Message& request);
// Why there is none: all of ours, and what the peer wants.
Refusal no_such_child(const IkeSa& sa, const Message& request);
std::shared_ptr<const ChildConfig> child_config(const std::shared_ptr<const ConnectionConfig>& connection,
                                                std::string_view name);

struct ChildMaterial {
  ByteView shared;  // empty: no PFS
  ByteView our_nonce, peer_nonce;
  bool created_by_us = false;
};
// Errors are OpenSSL's.
Result<std::unique_ptr<ChildSa>> make_child(IkeSa& sa, std::shared_ptr<const ChildConfig> config,
                                            const ChildTerms& terms, Spi our_spi,
                                            const ChildMaterial& material);
// Counts it, tells the operator and the connection.
void announce_child(IkeSa& sa, const ChildSa& child, bool rekeyed);
// Why a child did not come about, for the operator and the connection.
void report_refusal(IkeSa& sa, const std::string& child, const Refusal& refusal);

// The error of a response; the text says what we offered.
Refusal refusal_of(const Notify& error, const std::string& offered);
// What INVALID_KE_PAYLOAD asks for (section 1.3); 0: nothing readable.
uint16_t wanted_group(const Notify& notify);
Refusal invalid_group(uint16_t wanted);
bool is_lower(ByteView a,
              ByteView b);  // nonces, byte by byte: the SA that has the lowest is redundant (section 2.8.1)
Bytes lower_nonce(ByteView a, ByteView b);

}  // namespace espalier::ike
