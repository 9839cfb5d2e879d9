// Keeping floods of IKE_SA_INIT cheap (RFC 7296 section 2.6): stateless cookies, and a count of the half-open
// IKE SAs in all and per address. Every operation takes the same time whatever the number of peers. Owner:
// the core's thread.
#pragma once

#include <deque>
#include <unordered_map>

#include "control/shared/error.hpp"
#include "ike/core.hpp"

namespace espalier::ike {

// Cookies that need no memory of whom they were given to:
//
//   version (1 byte) | HMAC-SHA-256(secret of that version, Ni | SPIi | address)
//
// The secret is replaced every kCookieLife; the one before stays good, so a cookie lives for one to two of
// it.
class CookieJar {
 public:
  static constexpr seconds kCookieLife{30};

  // Errors: no random bytes.
  static Result<CookieJar> create(Time now);

  // For the COOKIE notification that answers a request; the request comes again with it. Errors are
  // OpenSSL's.
  Result<Bytes> make(ByteView initiator_nonce, uint64_t initiator_spi, IpAddress remote, Time now);
  // Whether `cookie` is one of ours for just this request and not too old. Constant time. False on OpenSSL's
  // errors.
  bool accepts(ByteView cookie, ByteView initiator_nonce, uint64_t initiator_spi, IpAddress remote, Time now);

 private:
  struct Key {
    uint8_t version = 0;
    crypto::Secret secret;
    Time made;
  };
  CookieJar() = default;
  Result<void> rotate(Time now);
  Key current_, previous_;  // previous_.secret is empty: there is none
};

struct HalfOpenLimits {
  uint32_t cookies = 32;   // half-open in all from where on cookies are asked for
  uint32_t in_all = 4096;  // more are refused
  // Per address; IPv6: per /64, of which a peer has all addresses. With a good cookie there may be many:
  // peers behind one NAT, all at once after an outage.
  uint32_t unproven_per_address = 16;
  uint32_t proven_per_address = 256;
};

class HalfOpenTable {
 public:
  // One half-open IKE SA; it counts until this is reset or destroyed. The table must outlive it.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept : Ticket() { swap(other); }
    Ticket& operator=(Ticket&& other) noexcept {
      Ticket(std::move(other)).swap(*this);
      return *this;
    }
    ~Ticket() { reset(); }
    void reset();

   private:
    friend class HalfOpenTable;
    Ticket(HalfOpenTable* table, IpAddress network, bool proven)
        : table_(table), network_(network), proven_(proven) {}
    void swap(Ticket& other) {
      std::swap(table_, other.table_);
      std::swap(network_, other.network_);
      std::swap(proven_, other.proven_);
    }
    HalfOpenTable* table_ = nullptr;
    IpAddress network_;
    bool proven_ = false;
  };

  enum class Verdict : uint8_t { kProceed, kAskForCookie, kRefuse };

  // `seed`: secret randomness of the hash, so that nobody can choose addresses that meet in one bucket.
  HalfOpenTable(const HalfOpenLimits& limits, uint64_t seed);
  HalfOpenTable(const HalfOpenTable&) = delete;
  HalfOpenTable& operator=(const HalfOpenTable&) = delete;

  // What to do with an IKE_SA_INIT request. `proven`: it had a good cookie. Forged requests in a peer's name
  // can use up only what unproven ones get, so that they never lock the true peer out.
  Verdict judge(IpAddress remote, bool proven) const;
  [[nodiscard]] Ticket open(IpAddress remote, bool proven);
  // A request that cost a key exchange and came to nothing (its key was invalid) counts like a half-open IKE
  // SA until `until`, which may not be earlier than that of the call before. Else such requests would never
  // need a cookie.
  void charge(IpAddress remote, bool proven, Time until);
  // Ends what charge() counts until `now`. To be called before judge().
  void expire(Time now);
  uint32_t size() const { return size_; }

 private:
  struct Count {
    uint32_t proven = 0, unproven = 0;
  };
  struct Hash {
    uint64_t seed;
    size_t operator()(IpAddress network) const;
  };
  void close(IpAddress network, bool proven);

  HalfOpenLimits limits_;
  uint32_t size_ = 0;
  std::unordered_map<IpAddress, Count, Hash> by_network_;
  std::deque<std::pair<Time, Ticket>> charged_;  // goes before what its tickets count in
};

}  // namespace espalier::ike
