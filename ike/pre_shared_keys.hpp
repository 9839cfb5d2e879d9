// Pre-shared keys and the pairs of identities that they are for. Values; one thread at a time.
#pragma once

#include <unordered_map>

#include "crypto/secret.hpp"
#include "ike/identity.hpp"

namespace espalier::ike {

// VyOS's authentication.psk: a secret for every pair of its ids.
struct PreSharedKey {
  std::string name;
  std::vector<std::optional<Identity>> ids;  // nothing: %any
  crypto::Secret secret;
};

// In the configuration's order. What find() costs does not grow with keys that name their identities exactly.
class PreSharedKeys {
 public:
  void push_back(PreSharedKey key);
  // The key for a pair of identities; null: none. `remote` is nothing as long as the initiator does not know
  // whom it will meet. As strongSwan ranks: how well the remote identity is named counts first, then the
  // local one, then the configuration's order; exact before wildcard before %any. Unlike there, a key that
  // names others than us and not the peer is never the peer's: who has it could speak for anybody.
  const PreSharedKey* find(const Identity& local, const std::optional<Identity>& remote) const;

  size_t size() const { return keys_.size(); }
  const PreSharedKey& operator[](size_t position) const { return keys_[position]; }

 private:
  using Positions = std::vector<size_t>;
  Positions candidates(const Identity& local, const std::optional<Identity>& remote) const;

  std::vector<PreSharedKey> keys_;
  // Of keys all of whose ids have an exact_key(), by it; and of those that name no other.
  std::unordered_map<std::string, Positions> naming_, naming_alone_;
  Positions others_;
};

}  // namespace espalier::ike
