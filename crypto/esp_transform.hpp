// ESP's cryptography (RFC 4303) over bursts, by Intel IPsec-MB, in place: every cipher of esp_suite.hpp.
//
// A worker owns one EspEngine. An EspKey is prepared once, when its SA is installed, never changes afterwards
// and may be read by all workers at once. seal() and open() take a run of packets of one SA: the variant is
// chosen once per run. Of a packet they know the ESP header and what follows it:
//
//   | SPI 4 | sequence number 4 | explicit IV | payload, padding, trailer | ICV |
//     ^ EspJob::esp                              ^ EspJob::payload_bytes
//
// The extended sequence number's high half (RFC 4303 section 2.2.1) is authenticated but not on the wire.
#pragma once

#include <intel-ipsec-mb.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>

#include "crypto/esp_suite.hpp"
#include "crypto/verdict.hpp"
#include "crypto/wipe.hpp"

namespace espalier::crypto {

inline constexpr uint32_t kEspHeaderBytes = 8;
inline constexpr uint32_t kMaxPayloadBytes =
    65480;  // with header, IV and ESN what IPsec-MB's 16-bit lengths hold

// The keys of one SA, expanded (about 1 KB). Immutable, wiped when it dies or is moved from.
class EspKey {
 public:
  EspKey(EspKey&& other) noexcept;
  EspKey& operator=(EspKey&& other) noexcept;
  EspKey(const EspKey&) = delete;
  EspKey& operator=(const EspKey&) = delete;
  ~EspKey();

  const EspSuite& suite() const { return suite_; }
  bool esn() const { return esn_; }

  // Prefetches what every packet reads first: AES round keys, or the HMAC's states.
  void prefetch() const {
    const auto* first = reinterpret_cast<const uint8_t*>(this);
    for (size_t at = 0; at < kPrefetchBytes; at += 64) __builtin_prefetch(first + at);
  }

 private:
  friend class EspEngine;
  static constexpr size_t kRoundKeyBytes = 15 * 16;  // of AES-256; shorter keys use less
  static constexpr size_t kPrefetchBytes = 64 + 256;
  struct CbcHmac {
    alignas(64) uint8_t inner[64];  // the hash after the block "key xor ipad" (RFC 2104)
    uint8_t outer[64];              // the same with opad
    alignas(16) uint8_t encrypt[kRoundKeyBytes];
    alignas(16) uint8_t decrypt[kRoundKeyBytes];
  };
  union Material {
    gcm_key_data gcm;
    CbcHmac cbc_hmac;
    uint8_t chacha[32];
  };
  EspKey(const EspSuite& suite, bool esn) : suite_(suite), esn_(esn) { wipe(material_); }

  EspSuite suite_;
  bool esn_;
  uint32_t salt_ = 0;  // as in the nonce
  Material material_;
};

// One packet. `esp` needs no alignment; everything from it to the ICV's end lies contiguous and stays valid
// during the call.
struct EspJob {
  uint8_t* esp;  // the ESP header, with SPI and the sequence number's low half
  uint32_t
      payload_bytes;  // padded plaintext with trailer (seal), ciphertext (open); at most kMaxPayloadBytes
  uint32_t sequence_high;  // host order; with ESN only
};

// Thread: the worker that owns it. Engines of one process choose the same instructions, so a key that one of
// them made serves all.
class EspEngine {
 public:
  // Chooses the fastest implementation for this CPU. Errors: no memory, no random bytes, a CPU without
  // AES-NI.
  [[nodiscard]] static std::expected<EspEngine, std::string> create();

  // `key` without salt, `salt` and `auth_key` have the lengths that the suite says (0 where it has none);
  // other lengths and suites that are none are errors, whose texts hold no key.
  [[nodiscard]] std::expected<EspKey, std::string> make_key(const EspSuite& suite, bool esn,
                                                            std::span<const uint8_t> key,
                                                            std::span<const uint8_t> salt,
                                                            std::span<const uint8_t> auth_key) const;

  // Writes the explicit IV, encrypts and writes the ICV of all jobs. payload_bytes must be a multiple of the
  // suite's align_bytes(). The IV of an AEAD is the 64-bit sequence number, which must never come twice under
  // one key (RFC 4106 section 3.1, RFC 7634 section 2); that of AES-CBC cannot be predicted (RFC 3602 section
  // 3).
  void seal(const EspKey& key, std::span<const EspJob> jobs);

  // Checks and decrypts all jobs and writes a verdict for each; verdicts must have at least jobs.size()
  // elements. Payloads of a length that no sender can have made are not authentic. A packet that is not
  // authentic must be dropped: with an AEAD its payload is garbage then, with an HMAC it is what came. ICVs
  // are compared in constant time.
  void open(const EspKey& key, std::span<const EspJob> jobs, std::span<Verdict> verdicts);

  // "AVX512" and the like, for logs and benchmarks.
  std::string implementation() const;

 private:
  struct FreeManager {
    void operator()(IMB_MGR* manager) const { ::free_mb_mgr(manager); }
  };
  using Manager = std::unique_ptr<IMB_MGR, FreeManager>;
  static constexpr size_t kChunk = 64;  // jobs that the multi-buffer calls get at once
  static constexpr size_t kMaxIcvBytes = 64;
  static constexpr size_t kIvKeyBytes = 11 * 16;  // AES-128's round keys
  // What CBC and HMAC need per packet. The library writes here, never into packets, what may be longer than
  // their ICV.
  struct Workspace {
    std::array<IMB_JOB, kChunk> jobs;
    std::array<std::array<uint8_t, kMaxIcvBytes>, kChunk> icvs;
    std::array<uint32_t, kChunk> covered;  // the ICV's first bytes, while ESN's high half stands there
    std::array<uint8_t, kChunk> index;     // of the job in the caller's chunk
  };

  EspEngine(Manager wide, Manager narrow);
  static std::expected<Manager, std::string> make_manager(void (*initialize)(IMB_MGR*));

  template <bool kEsn>
  void seal_gcm(const EspKey& key, std::span<const EspJob> jobs) const;
  template <bool kEsn>
  void open_gcm(const EspKey& key, std::span<const EspJob> jobs, std::span<Verdict> verdicts) const;
  template <bool kEsn>
  void seal_chacha(const EspKey& key, std::span<const EspJob> jobs);
  template <bool kEsn>
  void open_chacha(const EspKey& key, std::span<const EspJob> jobs, std::span<Verdict> verdicts);

  size_t wide_part(size_t count, Integrity integrity) const;
  void hash(size_t count, Integrity integrity);
  void encrypt_cbc(const EspKey& key, std::span<const EspJob> chunk);
  size_t compute_icvs(const EspKey& key, std::span<const EspJob> chunk);
  void seal_hmac(const EspKey& key, std::span<const EspJob> chunk);
  void open_hmac(const EspKey& key, std::span<const EspJob> chunk, Verdict* verdicts);

  Manager wide_;    // the CPU's widest vectors: most bytes per cycle for many packets
  Manager narrow_;  // SHA instructions, for few packets; null where the CPU has none or `wide_` uses them
  // Indexed by key_bytes / 8 - 2.
  std::array<aes_gcm_enc_dec_t, 3> gcm_encrypt_;
  std::array<aes_gcm_enc_dec_t, 3> gcm_decrypt_;
  std::unique_ptr<Workspace> work_;
  alignas(16) SecretBytes<kIvKeyBytes> iv_key_;  // random; CBC's IVs are a counter under it
  uint64_t iv_counter_ = 0;
};

}  // namespace espalier::crypto
