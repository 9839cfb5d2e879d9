// The main lcore's side of SAs: their keys in the vault, their numbers in the cells, their objects in the
// SAD.
//
// A change is planned first (cells claimed, keys expanded; may fail, and changes nothing that workers see)
// and then carried out around the publishing of the snapshot. There are two kinds of SAs: those of the
// configuration, which comes as a whole, and those of the IKE process, which come and go one by one. Neither
// touches the other's. Owner: main lcore.
#pragma once

#include <map>
#include <vector>

#include "control/shared/vault.hpp"
#include "dataplane/sad.hpp"
#include "dataplane/spent_numbers.hpp"

namespace espalier::dataplane {

// What tells an SA of IKE from its others.
struct SaName {
  Spi spi;
  Direction direction = Direction::kOut;
  IpAddress destination;  // outer
  friend auto operator<=>(const SaName&, const SaName&) = default;
  static SaName of(const SaRecord& r) { return {r.spi, r.direction, r.destination}; }
};

class SaStore {
 public:
  // Takes over the numbers that earlier processes left in the cells. Records in the vault are not trusted
  // further than the next configuration, which names every SA that shall live.
  static Result<std::unique_ptr<SaStore>> open(Vault& vault, SaCells& cells, uint16_t workers);

  struct Added {
    std::unique_ptr<const Sa> sa;
    SaRecord record;  // with its key
    KeyFingerprint fingerprint;
    bool by_ike = false;
  };
  // SAs that come and go together. Wipes its keys.
  struct Change {
    std::vector<Added> added;      // new, or with changed properties in the slot they had
    std::vector<SaIndex> claimed;  // of `added`: those whose cell was claimed for this change
    std::vector<SaIndex> removed;
    Change() = default;
    Change(Change&&) = default;
    Change& operator=(Change&&) = default;
    ~Change();
    bool empty() const { return added.empty() && removed.empty(); }
    // Whether it holds something of an SA already, so that nothing more can be planned for it.
    bool touches(SaIndex index) const;
  };
  // What leads from the installed SAs of the configuration to `wanted`. Equal records stay as they are, in
  // whatever order they come. On error nothing stays claimed.
  Result<Change> plan(std::span<const SaRecord> wanted);

  // One SA of IKE more, or without effect if it is installed as it is. Errors: a key or name that another SA
  // has, no free cell, what plan() says. Nothing is claimed then. kTouched: `change` has to be carried out
  // first.
  enum class Planned : uint8_t { kDone, kTouched };
  Result<Planned> plan_ike(const SaRecord& record, Change& change);
  // Without effect where there is none of that name.
  Planned plan_ike_removal(const SaName& name, Change& change) const;
  // Between other ends; both ports 0: without encapsulation in UDP. Errors: there is no such SA, and
  // plan_ike()'s.
  struct Ends {
    IpAddress source, destination;
    uint16_t source_port = 0, destination_port = 0;  // host order
  };
  Result<Planned> plan_ike_move(const SaName& name, const Ends& ends, Change& change);
  // Of another VTI, whose index may have changed with the configuration.
  Result<void> plan_ike_vti(SaIndex index, InterfaceIndex vti, Change& change);
  // SAs of IKE that are not in `named`.
  template <class Names>
  void plan_ike_rest(const Names& named, Change& change) const {
    for (const auto& [name, index] : ike_)
      if (!named.contains(name)) change.removed.push_back(index);
  }
  // Gives back what plan() claimed.
  void abandon(const Change& change);

  using Retired = std::vector<std::unique_ptr<const Sa>>;
  // Before the snapshot that uses them is published: new SAs become findable. Returns what they replace.
  Retired install(Change& change);
  // After it was published: SAs that went become unfindable.
  Retired remove(const Change& change);
  // When every worker was quiescent after remove(): their cells are free.
  void release(const Change& change);
  // What an earlier process had in use and nobody named since: SAs of the configuration, or of IKE.
  enum class Owner : uint8_t { kConfiguration, kIke };
  void release_left_behind(Owner owner);

  Sad& sad() { return sad_; }
  const Sad& sad() const { return sad_; }
  // The SA's cell: where its peer is, since when it is in use.
  LearnedPeer& peer(SaIndex index) const { return directory_->peer(index); }
  uint32_t installed_s(SaIndex index) const {
    return cells_.cell(index).owner.installed_s.load(std::memory_order_relaxed);
  }
  SequenceReserver& reserver() { return reserver_; }

  // Of IKE's SAs: by name, or null; one that is inbound with this SPI; all of them as (index, record without
  // key).
  const Sa* find_ike(const SaName& name) const;
  const Sa* find_ike_inbound(Spi spi) const;
  bool is_ike(SaIndex index) const;
  template <class F>
  void for_each_ike(F f) const {
    for (const auto& [name, index] : ike_) f(index, installed_.at(index).record);
  }
  const SaRecord& record(SaIndex index) const { return installed_.at(index).record; }  // of an installed SA

 private:
  struct Installed {
    SaRecord record;  // without its key
    KeyFingerprint fingerprint;
    bool by_ike = false;
  };
  SaStore(Vault& vault, SaCells& cells, uint16_t workers, crypto::EspEngine engine);
  Result<void> add(const SaRecord& record, const KeyFingerprint& fingerprint, bool by_ike, Change& change);
  Result<void> check_name(const SaRecord& record, std::optional<SaIndex> own, const Change& change) const;
  bool is_leaving(const SaName& name, const Change& change) const;
  Result<void> change_in_place(const SaRecord& record, Change& change);
  Result<SaRecord> record_with_key(SaIndex index) const;
  Result<void> check_window(const SaRecord& record, SaIndex index) const;
  bool is_installed(const SaRecord& record, const KeyFingerprint& fingerprint, SaIndex index) const;
  void give_back(SaIndex index);

  Vault& vault_;
  SaCells& cells_;
  SequenceReserver reserver_;
  std::optional<SaDirectory> directory_;
  crypto::EspEngine engine_;
  std::vector<WindowLock> window_locks_;  // by slot; none when there is one worker
  Sad sad_;
  std::map<SaIndex, Installed> installed_;
  std::map<SaName, SaIndex> ike_;  // of installed_: those of IKE
  SpentNumbers spent_;             // of IKE's keys
};

}  // namespace espalier::dataplane
