// The main lcore's side of SAs: their keys in the vault, their numbers in the cells, their objects in the
// SAD.
//
// A configuration change is planned first (cells claimed, keys expanded; may fail, and changes nothing that
// workers see) and then carried out around the publishing of the snapshot. Owner: main lcore.
#pragma once

#include <map>
#include <vector>

#include "control/shared/vault.hpp"
#include "dataplane/sad.hpp"

namespace espalier::dataplane {

class SaStore {
 public:
  // Takes over the numbers that earlier processes left in the cells. Records in the vault are not trusted
  // further than the next configuration, which names every SA that shall live.
  static Result<std::unique_ptr<SaStore>> open(Vault& vault, SaCells& cells, uint16_t workers);

  struct Added {
    std::unique_ptr<const Sa> sa;
    SaRecord record;  // with its key
    KeyFingerprint fingerprint;
  };
  // SAs that come and go with a configuration. Wipes its keys.
  struct Change {
    std::vector<Added> added;      // new, or with changed properties in the slot they had
    std::vector<SaIndex> claimed;  // of `added`: those whose cell was claimed for this change
    std::vector<SaIndex> removed;
    Change() = default;
    Change(Change&&) = default;
    Change& operator=(Change&&) = default;
    ~Change();
  };
  // What leads from the installed SAs to `wanted`. Equal records stay as they are, in whatever order they
  // come. On error nothing stays claimed.
  Result<Change> plan(std::span<const SaRecord> wanted);
  // Gives back what plan() claimed.
  void abandon(const Change& change);

  using Retired = std::vector<std::unique_ptr<const Sa>>;
  // Before the snapshot that uses them is published: new SAs become findable. Returns what they replace.
  Retired install(Change& change);
  // After it was published: SAs that went become unfindable.
  Retired remove(const Change& change);
  // When every worker was quiescent after remove(): their cells are free.
  void release(const Change& change);

  Sad& sad() { return sad_; }
  const Sad& sad() const { return sad_; }
  // The SA's cell: where its peer is, since when it is in use.
  LearnedPeer& peer(SaIndex index) const { return directory_->peer(index); }
  uint32_t installed_s(SaIndex index) const {
    return cells_.cell(index).owner.installed_s.load(std::memory_order_relaxed);
  }
  SequenceReserver& reserver() { return reserver_; }

 private:
  struct Installed {
    SaRecord record;  // without its key
    KeyFingerprint fingerprint;
  };
  SaStore(Vault& vault, SaCells& cells, uint16_t workers, crypto::EspEngine engine);
  Result<void> add(const SaRecord& record, const KeyFingerprint& fingerprint, Change& change);
  Result<void> check_window(const SaRecord& record, SaIndex index) const;
  bool is_installed(const SaRecord& record, const KeyFingerprint& fingerprint, SaIndex index) const;

  Vault& vault_;
  SaCells& cells_;
  SequenceReserver reserver_;
  std::optional<SaDirectory> directory_;
  crypto::EspEngine engine_;
  std::vector<WindowLock> window_locks_;  // by slot; none when there is one worker
  Sad sad_;
  std::map<SaIndex, Installed> installed_;
};

}  // namespace espalier::dataplane
