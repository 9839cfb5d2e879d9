// How far the numbers of keys went whose SAs were removed, so that a key that is installed once more goes on
// behind them: outbound a nonce would be used twice (RFC 4106 section 3.1), inbound old packets would be
// taken again.
//
// The IKE process has no use for a key that it removed. But requests that were not answered are sent again,
// and of an installation and a removal both may be carried out twice. The last kMost keys are known, and no
// earlier process's: cells of SAs that were not removed are found by their fingerprint
// (control/shared/sa_directory.hpp). Owner: main lcore.
#pragma once

#include <algorithm>
#include <deque>
#include <map>

#include "control/shared/sequence_file.hpp"

namespace espalier::dataplane {

class SpentNumbers {
 public:
  static constexpr size_t kMost = 16384;

  // `last`: the highest number that was used, or accepted.
  void note(const SaIdentity& identity, uint64_t last) {
    const auto [place, is_new] = last_.try_emplace(key_of(identity), last);
    if (!is_new) place->second = std::max(place->second, last);
    if (is_new) oldest_first_.push_back(place);
    if (oldest_first_.size() <= kMost) return;
    last_.erase(oldest_first_.front());
    oldest_first_.pop_front();
  }
  // 0: the key is not known.
  uint64_t last(const SaIdentity& identity) const {
    const auto found = last_.find(key_of(identity));
    return found == last_.end() ? 0 : found->second;
  }

 private:
  using Key = std::pair<KeyFingerprint, Direction>;
  static Key key_of(const SaIdentity& identity) { return {identity.fingerprint, identity.direction}; }

  std::map<Key, uint64_t> last_;
  std::deque<std::map<Key, uint64_t>::iterator> oldest_first_;
};

}  // namespace espalier::dataplane
