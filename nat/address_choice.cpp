#include "nat/address_choice.hpp"

namespace espalier::nat {
namespace {

using Word = uint32_t;
// An address as Linux keeps it in a tuple (nf_inet_addr): words as they lie in memory, of IPv4 only the
// first.
using Words = std::array<Word, 4>;

Words to_words(IpAddress address) {
  if (address.is_v4()) return {address.v4().be.raw(), 0, 0, 0};
  return std::bit_cast<Words>(address);
}

IpAddress to_address(const Words& words, Family family) {
  if (family == Family::kIpv4) return Ipv4Address{be32::from_raw(words[0])};
  return std::bit_cast<IpAddress>(words);
}

// Bob Jenkins' lookup3 (2006, public domain) over four words, as the kernel's jhash2() has it.
Word hash_words(const Words& words, Word initial) {
  constexpr Word kArbitrary = 0xdeadbeef;
  Word a = kArbitrary + static_cast<Word>(sizeof(Words)) + initial, b = a, c = a;
  a += words[0], b += words[1], c += words[2];
  a -= c, a ^= std::rotl(c, 4), c += b;
  b -= a, b ^= std::rotl(a, 6), a += c;
  c -= b, c ^= std::rotl(b, 8), b += a;
  a -= c, a ^= std::rotl(c, 16), c += b;
  b -= a, b ^= std::rotl(a, 19), a += c;
  c -= b, c ^= std::rotl(b, 4), b += a;
  a += words[3];
  c ^= b, c -= std::rotl(b, 14);
  a ^= c, a -= std::rotl(c, 11);
  b ^= a, b -= std::rotl(a, 25);
  c ^= b, c -= std::rotl(b, 16);
  a ^= c, a -= std::rotl(c, 4);
  b ^= a, b -= std::rotl(a, 14);
  c ^= b, c -= std::rotl(b, 24);
  return c;
}

// 0 .. count-1
Word scale(Word hash, Word count) {
  return static_cast<Word>((uint64_t{hash} * count) >> 32);
}

IpAddress nth_of(const AddressRange& range, Word n) {
  const uint128 count = range.high.host() - range.low.host() + 1;
  return IpAddress::from_host(range.low.host() + n % count);
}

}  // namespace

// A word at a time, the most significant first. As long as those before are the highest of the range, the
// choice is between the range's words, from then on it is free. That can leave a range which is neither a
// prefix nor differs in its last 32 bits only; Linux then uses an address that nobody allowed, we do not.
void choose_address(const AddressRange& range, Tuple& packet, IpAddress Tuple::*end) {
  if (range.low == range.high) {
    packet.*end = range.low;
    return;
  }
  const Family family = range.low.family();
  const size_t words = family == Family::kIpv4 ? 1 : 4;
  const Words low = to_words(range.low), high = to_words(range.high);
  const bool changes_destination = end == &Tuple::destination;
  Words destination = to_words(packet.destination), chosen{};
  Word hash = hash_words(to_words(packet.source), destination[words - 1]);
  bool bounded = true;
  for (size_t i = 0; i < words; ++i) {
    const Word lowest = bounded ? be32::from_raw(low[i]).host() : 0;
    const Word count = bounded ? be32::from_raw(high[i]).host() - lowest + 1 : ~Word{0};
    chosen[i] = be32::from_host(lowest + scale(hash, count)).raw();
    if (chosen[i] != high[i]) bounded = false;
    // Where it is the destination that is chosen, Linux has overwritten this word by now.
    hash ^= changes_destination ? chosen[i] : destination[i];
  }
  const IpAddress address = to_address(chosen, family);
  packet.*end = range.contains(address) ? address : nth_of(range, hash);
}

}  // namespace espalier::nat
