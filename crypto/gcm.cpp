#include "crypto/gcm.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace espalier::crypto {
namespace {

// While one packet is in the cipher, the next one's first lines come from memory. More than this would evict
// itself from the line fill buffers; the hardware prefetcher follows once the cipher walks.
constexpr uint32_t kPrefetchBytes = 256;

void prefetch(const GcmJob& job) {
  const uint32_t bytes = std::min(job.bytes, kPrefetchBytes);
  for (uint32_t at = 0; at < bytes; at += 64) __builtin_prefetch(job.data + at, 1);
  __builtin_prefetch(job.tag, 1);
}

// Without a branch on the bytes: how many of a forged tag are right must not show in the time.
bool equal_tags(const uint8_t* a, const uint8_t* b) {
  uint64_t left[2];
  uint64_t right[2];
  static_assert(sizeof left == kGcmTagBytes);
  std::memcpy(left, a, sizeof left);
  std::memcpy(right, b, sizeof right);
  return ((left[0] ^ right[0]) | (left[1] ^ right[1])) == 0;
}

}  // namespace

void GcmEngine::encrypt(const GcmKey& key, std::span<const GcmJob> jobs) const {
  const aes_gcm_enc_dec_t cipher = encrypt_[static_cast<size_t>(key.size_)];
  gcm_context_data context;
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (i + 1 < jobs.size()) prefetch(jobs[i + 1]);
    const GcmJob& job = jobs[i];
    cipher(&key.tables_, &context, job.data, job.data, job.bytes, job.iv, job.aad, job.aad_bytes, job.tag,
           kGcmTagBytes);
  }
}

void GcmEngine::decrypt(const GcmKey& key, std::span<const GcmJob> jobs, std::span<Verdict> verdicts) const {
  assert(verdicts.size() >= jobs.size());
  const aes_gcm_enc_dec_t cipher = decrypt_[static_cast<size_t>(key.size_)];
  gcm_context_data context;
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (i + 1 < jobs.size()) prefetch(jobs[i + 1]);
    const GcmJob& job = jobs[i];
    alignas(16) uint8_t tag[kGcmTagBytes];
    cipher(&key.tables_, &context, job.data, job.data, job.bytes, job.iv, job.aad, job.aad_bytes, tag,
           kGcmTagBytes);
    verdicts[i] = Verdict(equal_tags(tag, job.tag));
  }
}

}  // namespace espalier::crypto
