#include "ike/sa/cookie.hpp"

#include "crypto/prf.hpp"
#include "crypto/random.hpp"

namespace espalier::ike {
namespace {

constexpr size_t kSecretBytes = 32;

std::expected<crypto::Secret, std::string> mac(const crypto::Secret& secret, ByteView initiator_nonce,
                                               uint64_t initiator_spi, IpAddress remote) {
  const auto spi = std::bit_cast<std::array<uint8_t, 8>>(be64::from_host(initiator_spi));
  const auto address = std::bit_cast<std::array<uint8_t, 16>>(remote);
  return crypto::prf(crypto::Prf::kHmacSha256, secret.view(), {initiator_nonce, spi, address});
}

// What one peer has all addresses of.
IpAddress network_of(IpAddress remote) {
  return remote.is_v4() ? remote : IpPrefix::of(remote, 64).network();
}

}  // namespace

Result<CookieJar> CookieJar::create(Time now) {
  CookieJar jar;
  jar.current_.made = now - 2 * kCookieLife;
  if (auto made = jar.rotate(now); !made) return std::unexpected(std::move(made).error());
  return jar;
}

Result<void> CookieJar::rotate(Time now) {
  const seconds age = std::chrono::duration_cast<seconds>(now - current_.made);
  if (age < kCookieLife) return {};
  crypto::Secret fresh(kSecretBytes);
  if (const auto filled = crypto::fill_random(fresh.span()); !filled)
    return fail("cookies: {}", filled.error());
  // One that nobody was given a cookie by for twice its life is of no use as the previous one.
  previous_ = age < 2 * kCookieLife ? std::move(current_) : Key{};
  current_ = {static_cast<uint8_t>(current_.version + 1), std::move(fresh), now};
  return {};
}

Result<Bytes> CookieJar::make(ByteView initiator_nonce, uint64_t initiator_spi, IpAddress remote, Time now) {
  if (auto rotated = rotate(now); !rotated) return std::unexpected(std::move(rotated).error());
  const auto hash = mac(current_.secret, initiator_nonce, initiator_spi, remote);
  if (!hash) return fail("cookies: {}", hash.error());
  Bytes cookie{current_.version};
  cookie.insert(cookie.end(), hash->view().begin(), hash->view().end());
  return cookie;
}

bool CookieJar::accepts(ByteView cookie, ByteView initiator_nonce, uint64_t initiator_spi, IpAddress remote,
                        Time now) {
  if (cookie.empty() || !rotate(now)) return false;
  const Key& key = cookie.front() == current_.version ? current_ : previous_;
  if (key.secret.empty() || cookie.front() != key.version) return false;
  const auto hash = mac(key.secret, initiator_nonce, initiator_spi, remote);
  return hash && crypto::same_bytes(hash->view(), cookie.subspan(1));
}

// --- Half-open IKE SAs ---

HalfOpenTable::HalfOpenTable(const HalfOpenLimits& limits, uint64_t seed)
    : limits_(limits), by_network_(0, Hash{seed}) {}

// The finalizer of a 64-bit multiply-xor hash over both halves; the seed makes it unpredictable.
size_t HalfOpenTable::Hash::operator()(IpAddress network) const {
  const auto mix = [](uint64_t value) {
    value = (value ^ value >> 32) * 0xd6e8feb86659fd93;
    value = (value ^ value >> 32) * 0xd6e8feb86659fd93;
    return value ^ value >> 32;
  };
  return mix(mix(seed ^ network.high.raw()) + network.low.raw() + seed);
}

HalfOpenTable::Verdict HalfOpenTable::judge(IpAddress remote, bool proven) const {
  if (size_ >= limits_.in_all) return Verdict::kRefuse;
  const auto found = by_network_.find(network_of(remote));
  const Count count = found == by_network_.end() ? Count{} : found->second;
  if (proven) return count.proven >= limits_.proven_per_address ? Verdict::kRefuse : Verdict::kProceed;
  const bool calm = size_ < limits_.cookies && count.unproven < limits_.unproven_per_address;
  return calm ? Verdict::kProceed : Verdict::kAskForCookie;
}

HalfOpenTable::Ticket HalfOpenTable::open(IpAddress remote, bool proven) {
  const IpAddress network = network_of(remote);
  Count& count = by_network_[network];
  ++(proven ? count.proven : count.unproven);
  ++size_;
  return Ticket(this, network, proven);
}

void HalfOpenTable::charge(IpAddress remote, bool proven, Time until) {
  charged_.emplace_back(until, open(remote, proven));
}

void HalfOpenTable::expire(Time now) {
  while (!charged_.empty() && charged_.front().first <= now) charged_.pop_front();
}

void HalfOpenTable::close(IpAddress network, bool proven) {
  const auto found = by_network_.find(network);
  Count& count = found->second;
  --(proven ? count.proven : count.unproven);
  --size_;
  if (count.proven == 0 && count.unproven == 0) by_network_.erase(found);
}

void HalfOpenTable::Ticket::reset() {
  if (table_ != nullptr) table_->close(network_, proven_);
  table_ = nullptr;
}

}  // namespace espalier::ike
