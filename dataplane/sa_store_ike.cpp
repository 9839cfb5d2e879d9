// SAs of the IKE process, one by one: the other half of sa_store.hpp.
#include <algorithm>

#include "crypto/wipe.hpp"
#include "dataplane/sa_identity.hpp"
#include "dataplane/sa_store.hpp"

namespace espalier::dataplane {
namespace {

std::string describe(const SaName& name) {
  return fmt::format("SA with SPI {:#x}", name.spi.value);
}

}  // namespace

bool SaStore::is_ike(SaIndex index) const {
  const auto found = installed_.find(index);
  return found != installed_.end() && found->second.by_ike;
}

const Sa* SaStore::find_ike(const SaName& name) const {
  const auto found = ike_.find(name);
  return found == ike_.end() ? nullptr : sad_.at(found->second);
}

const Sa* SaStore::find_ike_inbound(Spi spi) const {
  const auto found = ike_.lower_bound({spi, Direction::kIn, {}});
  const bool is_it =
      found != ike_.end() && found->first.spi == spi && found->first.direction == Direction::kIn;
  return is_it ? sad_.at(found->second) : nullptr;
}

// Packets are told apart by SPI and destination, requests by the direction as well. `own`: the cell of this
// very key.
Result<void> SaStore::check_name(const SaRecord& record, std::optional<SaIndex> own,
                                 const Change& change) const {
  const auto is_another = [&](const Sa& sa) {
    return sa.index() != own && sa.spi() == record.spi && sa.destination() == record.destination &&
           sa.direction() == record.direction;
  };
  const Sa* const installed = sad_.find(record.spi, record.destination);
  const Sa* const ike = find_ike(SaName::of(record));
  const bool is_taken = (installed && is_another(*installed)) || (ike && is_another(*ike)) ||
                        std::ranges::any_of(change.added, [&](const Added& a) { return is_another(*a.sa); });
  if (is_taken) return fail("{}: another SA has this SPI and destination", describe(SaName::of(record)));
  return {};
}

// A peer may choose an SPI anew as soon as its SA is gone.
bool SaStore::is_leaving(const SaName& name, const Change& change) const {
  const auto found = ike_.find(name);
  return found != ike_.end() && std::ranges::find(change.removed, found->second) != change.removed.end();
}

Result<SaStore::Planned> SaStore::plan_ike(const SaRecord& record, Change& change) {
  const KeyFingerprint fingerprint = TRY(fingerprint_of(record));
  const auto known = directory_->find(identity_of(record, fingerprint));
  if (known && change.touches(*known)) return Planned::kTouched;
  if (is_leaving(SaName::of(record), change)) return Planned::kTouched;
  if (known && is_ike(*known) && is_installed(record, fingerprint, *known)) return Planned::kDone;
  TRY(check_name(record, known, change));
  if (known) TRY(check_window(record, *known));
  TRY(add(record, fingerprint, true, change));
  return Planned::kDone;
}

SaStore::Planned SaStore::plan_ike_removal(const SaName& name, Change& change) const {
  const auto is_it = [&](const Added& a) { return SaName::of(a.record) == name; };
  if (std::ranges::any_of(change.added, is_it)) return Planned::kTouched;
  const auto found = ike_.find(name);
  if (found == ike_.end()) return Planned::kDone;
  if (change.touches(found->second)) return Planned::kTouched;
  change.removed.push_back(found->second);
  return Planned::kDone;
}

Result<SaRecord> SaStore::record_with_key(SaIndex index) const {
  auto record = TRY(vault_.read(index));
  if (!record) return fail("the vault has lost the key of SA cell {}", index.value);
  return *record;
}

// Its numbers and its window go on: both belong to the key.
Result<void> SaStore::change_in_place(const SaRecord& record, Change& change) {
  const KeyFingerprint fingerprint = TRY(fingerprint_of(record));
  return add(record, fingerprint, true, change);
}

Result<SaStore::Planned> SaStore::plan_ike_move(const SaName& name, const Ends& ends, Change& change) {
  const auto is_it = [&](const Added& a) { return SaName::of(a.record) == name; };
  if (std::ranges::any_of(change.added, is_it)) return Planned::kTouched;
  const auto found = ike_.find(name);
  if (found == ike_.end()) return fail("{}: there is none", describe(name));
  if (change.touches(found->second)) return Planned::kTouched;
  if (is_leaving({name.spi, name.direction, ends.destination}, change)) return Planned::kTouched;
  SaRecord record = TRY(record_with_key(found->second));
  const crypto::WipeAtExit wipe(record);
  record.source = ends.source;
  record.destination = ends.destination;
  record.encap_source_port = ends.source_port;
  record.encap_destination_port = ends.destination_port;
  if (ends.source_port != 0) {
    record.flags |= kSaEncap;
  } else {
    record.flags &= ~uint32_t{kSaEncap | kSaMapping};
    record.keepalive_s = 0;
  }
  TRY(check_name(record, found->second, change));
  TRY(change_in_place(record, change));
  return Planned::kDone;
}

Result<void> SaStore::plan_ike_vti(SaIndex index, InterfaceIndex vti, Change& change) {
  SaRecord record = TRY(record_with_key(index));
  const crypto::WipeAtExit wipe(record);
  record.vti = vti;
  return change_in_place(record, change);
}

}  // namespace espalier::dataplane
