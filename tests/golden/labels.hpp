// Which value of ours stands for which random value of the recording.
//
// Linux picks IP ids, ports after a clash, translated ICMP ids, IPv6 fragment ids and flow labels at random;
// ours are others. Within a scenario the two must correspond one to one, and ours must be of the class that
// Linux chooses from. IP and fragment ids correspond within a source, destination and protocol, where they
// have to be unique (RFC 6864 section 4.2, RFC 8200 section 4.5). Ids of atomic datagrams mean nothing, and
// flow labels may all be 0 (RFC 6437 section 3): these need not correspond.
#pragma once

#include <set>

#include "tests/golden/scenario.hpp"

namespace espalier::test {

class Labels {
 public:
  explicit Labels(const std::vector<RandomValue>& random) : random_(random) {}

  // True if `recorded` was picked at random.
  bool is_random(FieldKind kind, uint32_t recorded) const { return find(kind, recorded) != nullptr; }
  // True if `ours` may stand for the random value `recorded`; from then on only it may.
  bool bind(FieldKind kind, const Bytes& scope, uint32_t recorded, uint32_t ours);
  // The IP and fragment ids that stand for others are not known any more, and may all be bound anew.
  void forget_ids();
  void forget_ports();  // and ICMP ids
  // What stands for `recorded`, or nothing if that is not random or did not come out yet.
  std::optional<uint16_t> ours(FieldKind kind, const Bytes& scope, uint16_t recorded) const;
  // Sequence numbers of a step's packets, by SPI, that may stand in for one another: several workers number
  // them in no certain order. Holds until the next call.
  using Sequences = std::map<Bytes, std::set<uint64_t>>;
  void let_overtake(Sequences sequences);
  // True if they are the same, or may stand in for one another; from then on only so.
  bool bind_sequence(const Bytes& spi, uint64_t recorded, uint64_t ours);
  // False if this IV was used before with this SPI: a nonce must never come twice (RFC 4106 section 2).
  bool take_nonce(const Bytes& spi, const Bytes& iv) { return nonces_.insert({spi, iv}).second; }

 private:
  using Key = std::tuple<FieldKind, Bytes, uint32_t>;
  const RandomValue* find(FieldKind kind, uint32_t recorded) const;
  void forget(std::initializer_list<FieldKind> kinds);

  std::vector<RandomValue> random_;
  std::map<Key, uint32_t> ours_by_recorded_;
  std::map<Key, uint32_t> recorded_by_ours_;
  std::set<std::pair<Bytes, Bytes>> nonces_;
  Sequences overtaking_;
  std::map<std::pair<Bytes, uint64_t>, uint64_t> recorded_by_our_sequence_;
};

}  // namespace espalier::test
