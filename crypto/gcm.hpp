// AES-GCM for ESP (RFC 4106) over bursts, by Intel IPsec-MB, in place.
//
// A worker owns one GcmEngine. A GcmKey is expanded once, when its SA is installed, never changes afterwards
// and may be read by all workers at once. encrypt() and decrypt() take a run of packets of one SA: the
// variant is chosen once per run, and the key's tables stay in the cache from packet to packet.
#pragma once

#include <intel-ipsec-mb.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>

#include "crypto/verdict.hpp"

namespace espalier::crypto {

inline constexpr size_t kGcmTagBytes = 16;  // RFC 4106 section 6: the full tag
inline constexpr size_t kGcmIvBytes = 12;   // salt, then the explicit IV (RFC 4106 section 4)

// An expanded key with its GHASH tables (about 1 KB). Immutable, wiped when it dies or is moved from.
class GcmKey {
 public:
  GcmKey(GcmKey&& other) noexcept;
  GcmKey& operator=(GcmKey&& other) noexcept;
  GcmKey(const GcmKey&) = delete;
  GcmKey& operator=(const GcmKey&) = delete;
  ~GcmKey();

  // Prefetches what every packet reads first: the round keys.
  void prefetch() const {
    for (size_t at = 0; at < sizeof tables_.expanded_keys; at += 64)
      __builtin_prefetch(tables_.expanded_keys + at);
  }

 private:
  friend class GcmEngine;
  enum class Size : uint8_t { k128, k192, k256 };
  explicit GcmKey(Size size) : size_(size) {}
  gcm_key_data tables_{};
  Size size_;
};

// One packet. Pointers need no alignment; all must stay valid during the call.
struct GcmJob {
  uint8_t* data;       // plaintext in, ciphertext out, or the reverse
  uint32_t bytes;      // of data; may be 0
  const uint8_t* iv;   // kGcmIvBytes: salt and IV, RFC 4106 section 4
  const uint8_t* aad;  // SPI and sequence number, RFC 4106 section 5
  uint32_t aad_bytes;  // 8, or 12 with ESN
  uint8_t* tag;        // kGcmTagBytes: written by encrypt(), compared by decrypt()
};

// Thread: the worker that owns it. Engines of one process choose the same instructions, so a key that one of
// them expanded serves all.
class GcmEngine {
 public:
  // Chooses the fastest implementation for this CPU. Errors: no memory, or a CPU without AES-NI.
  [[nodiscard]] static std::expected<GcmEngine, std::string> create();

  // `key`: 16, 24 or 32 bytes, without the salt; other lengths are an error.
  [[nodiscard]] std::expected<GcmKey, std::string> expand_key(std::span<const uint8_t> key) const;

  // Encrypts all jobs in place and writes their tags.
  void encrypt(const GcmKey& key, std::span<const GcmJob> jobs) const;

  // Decrypts all jobs in place and writes a verdict for each; verdicts must have at least jobs.size()
  // elements. Data that is not authentic is garbage of the sender's choice: drop it. Tags are compared in
  // constant time.
  void decrypt(const GcmKey& key, std::span<const GcmJob> jobs, std::span<Verdict> verdicts) const;

  // "AVX512" and the like, for logs and benchmarks.
  std::string implementation() const;

 private:
  struct FreeManager {
    void operator()(IMB_MGR* manager) const { ::free_mb_mgr(manager); }
  };
  using Manager = std::unique_ptr<IMB_MGR, FreeManager>;
  GcmEngine(Manager manager, IMB_ARCH arch);

  Manager manager_;
  IMB_ARCH arch_;
  // Indexed by GcmKey::Size.
  std::array<aes_gcm_pre_t, 3> expand_;
  std::array<aes_gcm_enc_dec_t, 3> encrypt_;
  std::array<aes_gcm_enc_dec_t, 3> decrypt_;
};

}  // namespace espalier::crypto
