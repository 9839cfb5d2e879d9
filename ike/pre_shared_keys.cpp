#include "ike/pre_shared_keys.hpp"

#include <algorithm>
#include <set>

namespace espalier::ike {
namespace {

// How well the best of the key's ids names `identity`. A key without ids is everybody's, as strongSwan has
// it.
int best_quality(const PreSharedKey& key, const std::optional<Identity>& identity) {
  int best = key.ids.empty() ? 1 : 0;
  for (const auto& id : key.ids) {
    // Whom we do not know yet may be anybody: only %any names them.
    const int one = identity ? quality(id, *identity) : (id ? 0 : 1);
    best = std::max(best, one);
  }
  return best;
}

bool names_nobody_else(const PreSharedKey& key, const Identity& local) {
  return std::ranges::all_of(key.ids, [&](const auto& id) { return accepts(id, local); });
}

}  // namespace

void PreSharedKeys::push_back(PreSharedKey key) {
  const size_t position = keys_.size();
  std::set<std::string> names;
  bool exact = !key.ids.empty();
  for (const auto& id : key.ids) {
    auto name = exact_key(id);
    exact = exact && name;
    if (name) names.insert(*std::move(name));
  }
  keys_.push_back(std::move(key));
  if (!exact) return others_.push_back(position);
  for (const std::string& name : names) naming_[name].push_back(position);
  if (names.size() == 1) naming_alone_[*names.begin()].push_back(position);
}

// Of the keys that name us and another only the first can be for a peer that is not known yet, and none for
// one that it does not name.
PreSharedKeys::Positions PreSharedKeys::candidates(const Identity& local,
                                                   const std::optional<Identity>& remote) const {
  Positions found = others_;
  const auto append = [&](const auto& table, const std::optional<Identity>& identity, size_t most) {
    const auto name = exact_key(identity);
    const auto at = name ? table.find(*name) : table.end();
    if (at == table.end()) return;
    found.insert(found.end(), at->second.begin(),
                 at->second.begin() + static_cast<ptrdiff_t>(std::min(most, at->second.size())));
  };
  if (remote) {
    append(naming_, remote, SIZE_MAX);
    append(naming_alone_, local, SIZE_MAX);
  } else {
    append(naming_, local, 1);
  }
  std::ranges::sort(found);
  return found;
}

const PreSharedKey* PreSharedKeys::find(const Identity& local, const std::optional<Identity>& remote) const {
  const PreSharedKey* best = nullptr;
  std::pair best_rank{0, 0};
  for (const size_t position : candidates(local, remote)) {
    const PreSharedKey& key = keys_[position];
    const std::pair rank{best_quality(key, remote), best_quality(key, local)};
    const bool for_the_peer = rank.first > 0 || !remote || names_nobody_else(key, local);
    if (!for_the_peer || rank <= best_rank) continue;
    best = &key;
    best_rank = rank;
  }
  return best;
}

}  // namespace espalier::ike
