#include "dataplane/sa_store.hpp"

#include <algorithm>
#include <set>

#include "crypto/fingerprint.hpp"
#include "crypto/wipe.hpp"
#include "dataplane/sa_identity.hpp"

namespace espalier::dataplane {
namespace {

std::string describe(const SaRecord& r) {
  return fmt::format("SA {} (SPI {:#x})", r.name.view(), r.spi.value);
}

SaRecord without_key(SaRecord record) {
  wipe_keys(record);
  return record;
}

// All but the keys, for which the fingerprint stands.
bool same_properties(const SaRecord& a, const SaRecord& b) {
  return a.spi == b.spi && a.direction == b.direction && a.mode == b.mode && a.algorithm == b.algorithm &&
         a.reqid == b.reqid && a.flags == b.flags && a.replay_window == b.replay_window &&
         a.source == b.source && a.destination == b.destination &&
         a.encap_source_port == b.encap_source_port && a.encap_destination_port == b.encap_destination_port &&
         a.keepalive_s == b.keepalive_s && a.vti == b.vti && a.last_sequence == b.last_sequence &&
         a.limits == b.limits && a.selector == b.selector && a.name.view() == b.name.view();
}

crypto::EspSuite suite_of(const EspAlgorithm& algorithm) {
  return {.cipher = static_cast<crypto::Cipher>(algorithm.cipher),
          .integrity = static_cast<crypto::Integrity>(algorithm.integrity),
          .key_bytes = algorithm.key_bytes,
          .icv_bytes = algorithm.icv_bytes};
}
// Two enums of one meaning: crypto/ knows nothing of ours.
static_assert(static_cast<int>(EspCipher::kChaCha20Poly1305) ==
                  static_cast<int>(crypto::Cipher::kChaCha20Poly1305) &&
              static_cast<int>(EspCipher::kAesCbc) == static_cast<int>(crypto::Cipher::kAesCbc) &&
              static_cast<int>(EspCipher::kAesGcm) == static_cast<int>(crypto::Cipher::kAesGcm) &&
              static_cast<int>(EspIntegrity::kHmacSha512) ==
                  static_cast<int>(crypto::Integrity::kHmacSha512));

}  // namespace

SaIdentity identity_of(const SaRecord& r, const KeyFingerprint& fingerprint) {
  return {.fingerprint = fingerprint,
          .spi = r.spi,
          .direction = r.direction,
          .static_key = (r.flags & kSaStaticKey) != 0,
          .reserved = {}};
}

Result<KeyFingerprint> fingerprint_of(const SaRecord& r) {
  const auto made = crypto::fingerprint({r.key, r.algorithm.key_bytes}, {r.salt, r.algorithm.salt_bytes()},
                                        {r.auth_key, r.algorithm.auth_key_bytes()});
  if (!made) return fail("{}: {}", describe(r), made.error());
  return *made;
}

bool SaStore::Change::touches(SaIndex index) const {
  return std::ranges::any_of(added, [&](const Added& a) { return a.sa->index() == index; }) ||
         std::ranges::find(removed, index) != removed.end();
}

SaStore::Change::~Change() {
  for (Added& a : added) a.record = without_key(a.record);
}

SaStore::SaStore(Vault& vault, SaCells& cells, uint16_t workers, crypto::EspEngine engine)
    : vault_(vault),
      cells_(cells),
      reserver_(cells),
      engine_(std::move(engine)),
      window_locks_(workers > 1 ? cells.capacity() : 0),
      sad_(cells.capacity()) {}

Result<std::unique_ptr<SaStore>> SaStore::open(Vault& vault, SaCells& cells, uint16_t workers) {
  if (vault.capacity() < cells.capacity())
    return fail("the vault has {} places for {} SA cells", vault.capacity(), cells.capacity());
  auto engine = crypto::EspEngine::create();
  if (!engine) return fail("{}", engine.error());
  std::unique_ptr<SaStore> store(new SaStore(vault, cells, workers, std::move(*engine)));
  store->directory_ = TRY(SaDirectory::rebuild(cells, store->reserver_));
  return store;
}

bool SaStore::is_installed(const SaRecord& record, const KeyFingerprint& fingerprint, SaIndex index) const {
  const auto found = installed_.find(index);
  return found != installed_.end() && found->second.fingerprint == fingerprint &&
         same_properties(found->second.record, record);
}

// Packets are being accepted by the window's old bitmap while a new one is made, and what falls between could
// be replayed. Linux does not change a state's window either: `ip xfrm state update` leaves it as it is.
Result<void> SaStore::check_window(const SaRecord& record, SaIndex index) const {
  const auto found = installed_.find(index);
  if (record.direction != Direction::kIn || found == installed_.end()) return {};
  const uint32_t now = found->second.record.replay_window;
  if (now == record.replay_window) return {};
  return fail(
      "{}: its replay window of {} cannot become {} while it is installed: take the state out of the "
      "configuration and apply, then put it in again and apply",
      describe(record), now, record.replay_window);
}

Result<void> SaStore::add(const SaRecord& record, const KeyFingerprint& fingerprint, bool by_ike,
                          Change& change) {
  const SaIdentity identity = identity_of(record, fingerprint);
  const bool was_in_use = [&] {
    const auto known = directory_->find(identity);
    return known && installed_.contains(*known);
  }();
  const bool inbound = record.direction == Direction::kIn;
  const auto claim =
      directory_->claim({.identity = identity,
                         .replay_window = inbound ? record.replay_window : 0,
                         .esn = (record.flags & kSaEsn) != 0,
                         .last_sequence = std::max(record.last_sequence, spent_.last(identity))});
  if (!claim) return fail("{}: {}", describe(record), claim.error().text);
  if (!was_in_use) change.claimed.push_back(claim->index);
  auto key = engine_.make_key(
      suite_of(record.algorithm), (record.flags & kSaEsn) != 0, {record.key, record.algorithm.key_bytes},
      {record.salt, record.algorithm.salt_bytes()}, {record.auth_key, record.algorithm.auth_key_bytes()});
  if (!key) {
    if (!claim->continued) change.claimed.pop_back(), directory_->release(claim->index);
    return fail("{}: {}", describe(record), key.error());
  }
  WindowLock* lock = window_locks_.empty() ? nullptr : &window_locks_[claim->index.value];
  change.added.push_back({.sa = std::make_unique<const Sa>(claim->index, record, sad_.intern_path(record),
                                                           std::move(*key), *directory_, lock),
                          .record = record,
                          .fingerprint = fingerprint,
                          .by_ike = by_ike});
  return {};
}

Result<SaStore::Change> SaStore::plan(std::span<const SaRecord> wanted) {
  Change change;
  // A vector that grows leaves keys behind in freed memory. Those of IKE may have to change as well.
  change.added.reserve(wanted.size() + ike_.size());
  std::set<SaIndex> staying;
  for (const SaRecord& record : wanted) {
    const auto done = [&]() -> Result<void> {
      const KeyFingerprint fingerprint = TRY(fingerprint_of(record));
      const auto known = directory_->find(identity_of(record, fingerprint));
      if (known && staying.contains(*known))
        return fail("{}: another SA has the same key and salt", describe(record));
      if (known) TRY(check_window(record, *known));
      if (!known || !is_installed(record, fingerprint, *known)) TRY(add(record, fingerprint, false, change));
      staying.insert(known ? *known : change.added.back().sa->index());
      return {};
    }();
    if (done) continue;
    abandon(change);
    return std::unexpected(done.error());
  }
  for (const auto& [index, installed] : installed_)
    if (!installed.by_ike && !staying.contains(index)) change.removed.push_back(index);
  return change;
}

void SaStore::abandon(const Change& change) {
  for (const SaIndex index : change.claimed) directory_->release(index);
}

SaStore::Retired SaStore::install(Change& change) {
  Retired replaced;
  for (Added& added : change.added) {
    const SaIndex index = added.sa->index();
    // Cannot fail: the index was claimed from cells that the vault is as large as (open()).
    (void)vault_.commit(index, added.record);
    if (is_ike(index)) ike_.erase(SaName::of(installed_.at(index).record));
    installed_[index] = {
        .record = without_key(added.record), .fingerprint = added.fingerprint, .by_ike = added.by_ike};
    if (added.by_ike) ike_[SaName::of(added.record)] = index;
    if (auto old = sad_.install(std::move(added.sa))) replaced.push_back(std::move(old));
  }
  return replaced;
}

SaStore::Retired SaStore::remove(const Change& change) {
  Retired removed;
  for (const SaIndex index : change.removed) {
    (void)vault_.clear(index);  // as in install()
    if (is_ike(index)) ike_.erase(SaName::of(installed_.at(index).record));
    installed_.erase(index);
    if (auto old = sad_.remove(index)) removed.push_back(std::move(old));
  }
  return removed;
}

// What a free cell has forgotten of IKE's key stays known here.
void SaStore::give_back(SaIndex index) {
  const SaCell& cell = cells_.cell(index);
  const SaIdentity& identity = cell.owner.identity;
  const bool out = identity.direction == Direction::kOut;
  if (identity.static_key == 0)
    spent_.note(identity, out ? cell.outbound.next_sequence.load() - 1 : cell.window.top.load());
  directory_->release(index);
}

void SaStore::release(const Change& change) {
  for (const SaIndex index : change.removed) give_back(index);
}

void SaStore::release_left_behind(Owner owner) {
  const uint8_t is_static = owner == Owner::kConfiguration ? 1 : 0;
  for (uint32_t i = 0; i < sad_.capacity(); ++i) {
    const SaIndex index{i};
    if (!directory_->in_use(index) || installed_.contains(index)) continue;
    if (cells_.cell(index).owner.identity.static_key != is_static) continue;
    (void)vault_.clear(index);  // as in install()
    give_back(index);
  }
}

}  // namespace espalier::dataplane
