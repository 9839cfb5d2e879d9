#include "ike/sa/child_negotiation.hpp"

#include "control/shared/text.hpp"
#include "ike/sa/engine.hpp"

namespace espalier::ike {
namespace {

constexpr uint32_t kLowestSpi = 256;  // RFC 4303 section 2.1

std::unexpected<Refusal> refuse(NotifyType notify, std::string why) {
  return std::unexpected(Refusal{notify, {}, std::move(why)});
}

// A peer can make its list as long as it likes.
std::string beginning(std::span<const TrafficSelector> selectors) {
  constexpr size_t kMostTold = 12;
  if (selectors.size() <= kMostTold) return to_text(selectors);
  return to_text(selectors.first(kMostTold)) + ", ...";
}

std::string offered(std::span<const TrafficSelector> local, std::span<const TrafficSelector> remote) {
  return fmt::format("{} === {}", beginning(local), beginning(remote));
}

// RFC 7296 section 2.23.1: behind a NAT the peer names addresses that are not those of its packets here.
std::vector<TrafficSelector> with_address(std::vector<TrafficSelector> selectors, IpAddress address) {
  for (TrafficSelector& selector : selectors)
    if (selector.low == selector.high) selector.low = selector.high = address;
  return selectors;
}

struct Narrowed {
  std::vector<TrafficSelector> local, remote;
  bool is_empty() const { return local.empty() || remote.empty(); }
};

Narrowed narrow(const IkeSa& sa, const ChildConfig& config, const Message& request) {
  std::vector<TrafficSelector> theirs = request.selectors(true)->selectors,
                               ours = request.selectors(false)->selectors;
  if (config.transport && sa.facts.nat.remote)
    theirs = with_address(std::move(theirs), sa.facts.remote.address);
  if (config.transport && sa.facts.nat.local) ours = with_address(std::move(ours), sa.facts.local.address);
  return {intersect(selectors_of(config.local, sa.facts.local.address), ours),
          intersect(selectors_of(config.remote, sa.facts.remote.address), theirs)};
}

}  // namespace

ChildOffer make_offer(IkeSa& sa, const ChildConfig& config, bool with_group) {
  return {.spi = sa.engine.new_child_spi(),
          .local = selectors_of(config.local, sa.facts.local.address),
          .remote = selectors_of(config.remote, sa.facts.remote.address),
          .with_group = with_group};
}

std::vector<Payload> offer_payloads(const ChildConfig& config, const ChildOffer& given) {
  std::vector<Payload> payloads;
  payloads.emplace_back(offer(config.suites, given.spi, given.with_group));
  payloads.emplace_back(TrafficSelectors{true, given.local});
  payloads.emplace_back(TrafficSelectors{false, given.remote});
  if (config.transport) payloads.emplace_back(Notify{.type = NotifyType::kUseTransportMode});
  return payloads;
}

Agreed<ChildTerms> accept_child(const ChildConfig& config, const ChildOffer& given, const Message& response) {
  if (const Notify* error = response.error())
    return std::unexpected(refusal_of(*error, error->type == NotifyType::kTsUnacceptable
                                                  ? offered(given.local, given.remote)
                                                  : to_text(config.suites)));
  const auto* sa = response.find<SecurityAssociation>();
  const auto *local = response.selectors(true), *remote = response.selectors(false);
  if (!sa || !local || !remote)
    return refuse(NotifyType::kInvalidSyntax, "the peer's response lacks SA or TS");
  const auto chosen = accept(config.suites, *sa, given.with_group);
  if (!chosen || chosen->peer_spi.value < kLowestSpi)
    return refuse(NotifyType::kNoProposalChosen, "the peer chose what we did not offer: " +
                                                     first_difference(config.suites, *sa, given.with_group));
  const bool fits = !local->selectors.empty() && !remote->selectors.empty() &&
                    within(local->selectors, given.local) && within(remote->selectors, given.remote);
  if (!fits)
    return refuse(NotifyType::kTsUnacceptable,
                  fmt::format("selectors: we offered {}, they want {}", offered(given.local, given.remote),
                              offered(local->selectors, remote->selectors)));
  const bool transport = response.notify(NotifyType::kUseTransportMode) != nullptr;
  if (transport != config.transport)
    return refuse(NotifyType::kNoProposalChosen,
                  fmt::format("mode: we {}, they {}", config.transport ? "transport" : "tunnel",
                              transport ? "transport" : "tunnel"));
  return ChildTerms{.suite = chosen->suite,
                    .peer_spi = chosen->peer_spi,
                    .local = local->selectors,
                    .remote = remote->selectors,
                    .transport = transport,
                    .reply = {},
                    .reply_initiator = {},
                    .reply_responder = {}};
}

Agreed<ChildTerms> choose_child(const IkeSa& sa, const ChildConfig& config, const Message& request,
                                bool with_group) {
  const auto* proposals = request.find<SecurityAssociation>();
  const auto chosen = choose(config.suites, *proposals, with_group);
  if (!chosen || chosen->peer_spi.value < kLowestSpi)
    return refuse(NotifyType::kNoProposalChosen,
                  fmt::format("proposals: we {}, they {}; {}", to_text(config.suites), to_text(*proposals),
                              first_difference(config.suites, *proposals, with_group)));
  Narrowed narrowed = narrow(sa, config, request);
  if (narrowed.is_empty()) return std::unexpected(no_such_child(sa, request));
  const bool asked = request.notify(NotifyType::kUseTransportMode) != nullptr;
  if (config.transport && !asked)
    return refuse(NotifyType::kNoProposalChosen, "mode: we transport, they tunnel");
  const bool as_asked = config.transport && (sa.facts.nat.remote || sa.facts.nat.local);
  ChildTerms terms{.suite = chosen->suite,
                   .peer_spi = chosen->peer_spi,
                   .local = narrowed.local,
                   .remote = narrowed.remote,
                   .transport = config.transport,
                   .reply = chosen->reply,
                   .reply_initiator = narrowed.remote,
                   .reply_responder = narrowed.local};
  if (as_asked) {
    terms.reply_initiator = request.selectors(true)->selectors;
    terms.reply_responder = request.selectors(false)->selectors;
  }
  return terms;
}

std::vector<Payload> reply_payloads(const ChildTerms& terms, Spi our_spi) {
  Proposal proposal = terms.reply;
  const be32 spi = be32::from_host(our_spi.value);
  const auto* bytes = reinterpret_cast<const uint8_t*>(&spi);
  proposal.spi.assign(bytes, bytes + sizeof spi);
  std::vector<Payload> payloads;
  payloads.emplace_back(SecurityAssociation{{proposal}});
  payloads.emplace_back(TrafficSelectors{true, terms.reply_initiator});
  payloads.emplace_back(TrafficSelectors{false, terms.reply_responder});
  if (terms.transport) payloads.emplace_back(Notify{.type = NotifyType::kUseTransportMode});
  return payloads;
}

std::shared_ptr<const ChildConfig> pick_child(const IkeSa& sa, const Message& request) {
  std::shared_ptr<const ChildConfig> best;
  for (const ChildConfig& child : sa.config->children) {
    const Narrowed narrowed = narrow(sa, child, request);
    if (narrowed.is_empty()) continue;
    const bool exact = same(narrowed.local, selectors_of(child.local, sa.facts.local.address)) &&
                       same(narrowed.remote, selectors_of(child.remote, sa.facts.remote.address)) &&
                       child.transport == (request.notify(NotifyType::kUseTransportMode) != nullptr);
    if (!best || exact) best = {sa.config, &child};
    if (exact) break;
  }
  return best;
}

Refusal no_such_child(const IkeSa& sa, const Message& request) {
  constexpr size_t kMostTold = 8;
  std::vector<std::string> ours;
  for (const ChildConfig& child : sa.config->children) {
    if (ours.size() == kMostTold) {
      ours.emplace_back("...");
      break;
    }
    ours.push_back(offered(selectors_of(child.local, sa.facts.local.address),
                           selectors_of(child.remote, sa.facts.remote.address)));
  }
  return {NotifyType::kTsUnacceptable,
          {},
          fmt::format("selectors: we {}, they {}", fmt::join(ours, "; "),
                      offered(request.selectors(false)->selectors, request.selectors(true)->selectors))};
}

std::shared_ptr<const ChildConfig> child_config(const std::shared_ptr<const ConnectionConfig>& connection,
                                                std::string_view name) {
  if (!connection) return {};
  for (const ChildConfig& child : connection->children)
    if (child.name == name) return {connection, &child};
  return {};
}

Result<std::unique_ptr<ChildSa>> make_child(IkeSa& sa, std::shared_ptr<const ChildConfig> config,
                                            const ChildTerms& terms, Spi our_spi,
                                            const ChildMaterial& material) {
  const bool us = material.created_by_us;
  const KeySeed seed{.initiator_nonce = us ? material.our_nonce : material.peer_nonce,
                     .responder_nonce = us ? material.peer_nonce : material.our_nonce};
  auto child = std::make_unique<ChildSa>();
  child->keys = TRY(derive_child_keys(terms.suite.algorithm, sa.facts.suite.prf, sa.keys().d.view(),
                                      material.shared, seed, us));
  child->config = std::move(config);
  child->created_by_us = us;
  child->transport = terms.transport;
  child->encapsulated = sa.facts.plan.encapsulate;
  child->suite = terms.suite;
  child->local = terms.local;
  child->remote = terms.remote;
  child->spi_in = our_spi;
  child->spi_out = terms.peer_spi;
  child->lowest_nonce = lower_nonce(material.our_nonce, material.peer_nonce);
  set_lifetimes(*child, sa.context());
  return child;
}

void announce_child(IkeSa& sa, const ChildSa& child, bool rekeyed) {
  Context& context = sa.context();
  ++(rekeyed ? context.counters.child_rekeyed : context.counters.child_created);
  context.log(LogLevel::kInfo, Subsystem::kChild, sa.facts.connection, child.config->name,
              "child SA {}: {:08x} in, {:08x} out, {}, {}", rekeyed ? "rekeyed" : "established",
              child.spi_in.value, child.spi_out.value, to_text(child.suite),
              offered(child.local, child.remote));
  if (Connection* connection = sa.engine.connection(sa.facts.connection))
    connection->child_up(child.config->name);
}

void report_refusal(IkeSa& sa, const std::string& child, const Refusal& refusal) {
  Context& context = sa.context();
  ++context.counters.child_failed;
  context.log(LogLevel::kWarning, Subsystem::kChild, sa.facts.connection, child, "{}", refusal.why);
  if (Connection* connection = sa.engine.connection(sa.facts.connection))
    connection->child_refused(child, refusal.why);
}

Refusal refusal_of(const Notify& error, const std::string& offered) {
  return {error.type, error.data,
          fmt::format("the peer answered {}; we offered {}", name_of(error.type), offered)};
}

uint16_t wanted_group(const Notify& notify) {
  if (notify.data.size() != 2) return 0;
  return static_cast<uint16_t>(notify.data[0] << 8 | notify.data[1]);
}

Refusal invalid_group(uint16_t wanted) {
  return {NotifyType::kInvalidKePayload,
          {static_cast<uint8_t>(wanted >> 8), static_cast<uint8_t>(wanted)},
          fmt::format("the peer sent a key of another group than {}", wanted)};
}

bool is_lower(ByteView a, ByteView b) {
  return std::ranges::lexicographical_compare(a, b);
}

Bytes lower_nonce(ByteView a, ByteView b) {
  const ByteView lower = is_lower(a, b) ? a : b;
  return {lower.begin(), lower.end()};
}

}  // namespace espalier::ike
