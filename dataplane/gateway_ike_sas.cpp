// SAs of the IKE process: installed, removed and moved while everything else stays as it is. What came in one
// round is carried out as one change, in the order of gateway_apply.cpp:
//
//   new SAs are findable -> snapshot with their ways published -> policies use them -> old ones are freed
#include <spdlog/spdlog.h>

#include <algorithm>

#include "dataplane/consequences.hpp"
#include "dataplane/gateway.hpp"
#include "dataplane/stages/ike.hpp"

namespace espalier::dataplane {
namespace {

// Linux's socket for ESP in UDP is IKE's as well.
Result<void> check_ike_sa(const SaRecord& record, const InterfaceTable& interfaces) {
  if (record.flags & kSaEncap) {
    const bool out = record.direction == Direction::kOut;
    const uint16_t own = out ? record.encap_source_port : record.encap_destination_port;
    if (own != kIkeNatPort) return fail("encap with an own port {}, which is not {}", own, kIkeNatPort);
  }
  if (record.vti == kNoInterface) return {};
  const bool is_vti =
      record.vti.value < interfaces.size() && interfaces[record.vti].kind == InterfaceKind::kVti;
  if (!is_vti) return fail("interface {} is no vti", record.vti.value);
  return {};
}

InterfaceIndex vti_named(const std::vector<InterfaceRecord>& interfaces, std::string_view name) {
  for (const InterfaceRecord& record : interfaces)
    if (record.kind == InterfaceKind::kVti && record.name.view() == name) return record.index;
  return kNoInterface;
}

}  // namespace

Gateway::IkeChange::IkeChange(size_t most) {
  sas.added.reserve(most);  // a vector that grows leaves keys behind in freed memory
}

// Then sends the datagrams, and the answers to what is carried out, or was refused, in the order of the
// requests.
void Gateway::finish(IkeChange& change) {
  if (!change.sas.empty()) carry_out(std::exchange(change.sas, IkeChange(change.sas.added.capacity()).sas));
  for (const auto& [head, bytes] : std::exchange(change.datagrams, {})) send_ike(head, bytes);
  for (const auto& [id, error] : change.answers) {
    message::IkeAck ack{.ok = error.empty(), .text = {}};
    ack.text.assign(std::string_view(error).substr(0, 239));
    ike_link_.send(ack, id, generation());
  }
  change.answers.clear();
}

void Gateway::change_ike_sas(const message::FromIke& request, uint64_t id, IkeChange& change) {
  auto done = plan_ike_sas(request, change.sas);
  if (done && *done == SaStore::Planned::kTouched) {
    finish(change);
    done = plan_ike_sas(request, change.sas);
  }
  if (!done) spdlog::warn("subsystem=ike a request was refused: {}", done.error().text);
  if (!std::holds_alternative<message::IkeBegin>(request))
    change.answers.push_back({id, done ? std::string() : done.error().text});
}

Result<SaStore::Planned> Gateway::plan_ike_sas(const message::FromIke& request, SaStore::Change& change) {
  if (!tables_->settings.ike) return fail("the configuration has no IKE");
  if (const auto* sa = std::get_if<message::IkeSa>(&request)) {
    if (ike_named_) ike_named_->insert(SaName::of(sa->record));
    TRY(check_ike_sa(sa->record, *tables_->interfaces));
    return sas_->plan_ike(sa->record, change);
  }
  if (const auto* remove = std::get_if<message::IkeSaRemove>(&request))
    return sas_->plan_ike_removal({remove->spi, remove->direction, remove->destination}, change);
  if (const auto* move = std::get_if<message::IkeSaMove>(&request))
    return sas_->plan_ike_move(
        {move->spi, move->direction, move->destination},
        {move->new_source, move->new_destination, move->new_source_port, move->new_destination_port}, change);
  if (const auto* end = std::get_if<message::IkeCommit>(&request)) return commit_ike_sas(*end, change);
  ike_named_.emplace();  // IkeBegin
  return SaStore::Planned::kDone;
}

Result<SaStore::Planned> Gateway::commit_ike_sas(const message::IkeCommit& commit, SaStore::Change& change) {
  if (!change.empty()) return SaStore::Planned::kTouched;
  if (!ike_named_) return fail("a commit without a begin");
  const auto named = *std::exchange(ike_named_, std::nullopt);
  if (named.size() != commit.sas) return fail("{} SAs were named, {} came", commit.sas, named.size());
  sas_->plan_ike_rest(named, change);
  sas_->release_left_behind(SaStore::Owner::kIke);
  sa_watch_.tell_again(*sas_);
  return SaStore::Planned::kDone;
}

// Flows are asked anew where it depends on the SA whether it is for them.
std::vector<ChangedRegion> Gateway::regions_of(const SaStore::Change& change) const {
  if (change.added.size() != change.claimed.size() || policies_are_optional(running_)) return {kEverything};
  std::vector<ChangedRegion> regions;
  const auto add = [&](const SaRecord& record) {
    if (const auto region = region_decided_by(record)) regions.push_back(*region);
  };
  for (const SaStore::Added& added : change.added) add(added.record);
  for (const SaIndex index : change.removed) add(sas_->record(index));
  if (regions.size() > ChangeLog::kRegions / 2) return {kEverything};
  return regions;
}

std::unique_ptr<Snapshot> Gateway::tables_with(const SaStore::Change& change) const {
  auto next = std::make_unique<Snapshot>(*tables_);
  if (const auto regions = regions_of(change); !regions.empty())
    next->changes = tables_->changes.with(regions);
  for (const SaStore::Added& added : change.added)
    next->esp_through_nat |= nat_touches_sa(running_.nat_rules, added.record);
  return next;
}

void Gateway::carry_out(SaStore::Change change) {
  std::vector<Reqid> reqids;
  std::vector<SaIndex> indices;
  for (const SaStore::Added& added : change.added) {
    reqids.push_back(added.record.reqid);
    indices.push_back(added.sa->index());
  }
  for (const SaIndex index : change.removed) reqids.push_back(sas_->record(index).reqid);
  auto next = tables_with(change);
  const SaStore::Retired replaced = sas_->install(change);
  for (const SaIndex index : indices) sas_->peer(index).forget();
  sas_->sad().intern_chains(tables_->spd->policies());
  for (const SaIndex index : indices) route_sa(*sas_->sad().at(index), *next);
  publish(std::move(next));
  sas_->sad().reclaim_paths();
  sas_->sad().assign_policies(tables_->spd->policies(), *tables_->policy_sas, change.removed, reqids);
  taps_->follow_sas();
  if (!change.removed.empty()) {
    rcu_.synchronize();
    const SaStore::Retired removed = sas_->remove(change);
    sa_watch_.forget(change.removed);
    rcu_.synchronize();
    sas_->release(change);
  }
  if (follow_vtis()) decide_anew();
}

// IKE's SAs are no part of a configuration and stay, by their VTI's name. Those whose VTI goes, go with it;
// all of them where IKE is configured no more.
Result<void> Gateway::keep_ike_sas(const Configuration& wanted, SaStore::Change& change) const {
  Result<void> done;
  sas_->for_each_ike([&](SaIndex index, const SaRecord& record) {
    if (!wanted.settings.ike) return change.removed.push_back(index);
    if (record.vti == kNoInterface || !done) return;
    const InterfaceIndex vti = vti_named(wanted.interfaces, (*tables_->interfaces)[record.vti].name.view());
    if (vti == kNoInterface) return change.removed.push_back(index);
    if (vti != record.vti) done = sas_->plan_ike_vti(index, vti, change);
  });
  return done;
}

void Gateway::tell_ike_of_removal(const SaStore::Change& change) {
  for (const SaIndex index : change.removed)
    if (sas_->is_ike(index)) tell_ike(SaWatch::Expiry{*sas_->sad().at(index), true});
}

}  // namespace espalier::dataplane
