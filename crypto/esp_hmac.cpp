// AES-CBC (RFC 3602) or NULL (RFC 2410) with an HMAC (RFC 2404, RFC 4868) in ESP: encrypted first, then
// authenticated; checked first, then decrypted.
//
// A chain of blocks cannot go faster than its cipher, but chains of different packets run side by side:
// IPsec-MB's burst calls take all packets of a run at once, first for the cipher, then for the hash. That is
// faster than its jobs that do both (for 64 packets of 80 bytes with SHA-256 234 cycles a packet against 255,
// for 1440 bytes 1035 against 1054), and opening needs the two apart anyway.
#include <wmmintrin.h>

#include <cassert>

#include "crypto/esp_packet.hpp"

namespace espalier::crypto {
namespace {

// Packets that the widest vectors encrypt or hash side by side, and how many there must be before that beats
// the narrow manager with its SHA instructions, two packets at a time. Measured with 80 to 1440 bytes: 7 to
// 16 for SHA-1 and SHA-256, 8 to 16 for CBC; longer packets count more. A lone packet of 80 bytes takes 286
// cycles with SHA-256 there, 1573 on the wide.
constexpr size_t kLanes = 16;
constexpr size_t kWorthwhileLanes = 8;

uint8_t* payload_of(const EspSuite& suite, const EspJob& job) {
  return job.esp + kEspHeaderBytes + suite.iv_bytes();
}

uint8_t* icv_of(const EspSuite& suite, const EspJob& job) {
  return payload_of(suite, job) + job.payload_bytes;
}

IMB_HASH_ALG hash_of(Integrity integrity) {
  switch (integrity) {
    case Integrity::kNone:
      break;
    case Integrity::kHmacSha1:
      return IMB_AUTH_HMAC_SHA_1;
    case Integrity::kHmacSha256:
      return IMB_AUTH_HMAC_SHA_256;
    case Integrity::kHmacSha384:
      return IMB_AUTH_HMAC_SHA_384;
    case Integrity::kHmacSha512:
      return IMB_AUTH_HMAC_SHA_512;
  }
  __builtin_unreachable();
}

void hash_on(IMB_MGR* manager, IMB_JOB* jobs, size_t count, IMB_HASH_ALG hash) {
  if (count == 0) return;
  [[maybe_unused]] const uint32_t done =
      manager->submit_hash_burst_nocheck(manager, jobs, static_cast<uint32_t>(count), hash);
  assert(done == count);
}

void cipher_on(IMB_MGR* manager, IMB_JOB* jobs, size_t count, IMB_CIPHER_DIRECTION direction,
               uint8_t key_bytes) {
  if (count == 0) return;
  [[maybe_unused]] const uint32_t done =
      manager->submit_cipher_burst_nocheck(manager, jobs, static_cast<uint32_t>(count), IMB_CIPHER_CBC,
                                           direction, static_cast<IMB_KEY_SIZE_BYTES>(key_bytes));
  assert(done == count);
}

// AES-128 of a counter: nobody without the key can tell the next from those before. The counter is the
// engine's, not the packet's sequence number: under one key two SAs would show each other's IVs ahead.
void write_iv(const uint8_t* round_keys, uint64_t counter, uint8_t* iv) {
  const auto round_key = [&](int i) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(round_keys + 16 * i));
  };
  __m128i block = _mm_xor_si128(_mm_set_epi64x(0, static_cast<int64_t>(counter)), round_key(0));
  for (int i = 1; i < 10; ++i) block = _mm_aesenc_si128(block, round_key(i));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(iv), _mm_aesenclast_si128(block, round_key(10)));
}

void fill_cipher(const EspSuite& suite, const uint8_t* encrypt, const uint8_t* decrypt, const EspJob& job,
                 IMB_JOB& out) {
  out.src = out.dst = payload_of(suite, job);
  out.cipher_start_src_offset_in_bytes = 0;
  out.msg_len_to_cipher_in_bytes = job.payload_bytes;
  out.iv = job.esp + kEspHeaderBytes;
  out.iv_len_in_bytes = 16;
  out.enc_keys = encrypt;
  out.dec_keys = decrypt;
  out.key_len_in_bytes = suite.key_bytes;
}

// From ESP header to ciphertext, with ESN 4 bytes more, which lie where the ICV goes. The library writes the
// whole hash to `icv`.
void fill_hash(const EspSuite& suite, bool esn, const uint8_t* inner, const uint8_t* outer, const EspJob& job,
               uint8_t* icv, IMB_JOB& out) {
  out.src = job.esp;
  out.hash_start_src_offset_in_bytes = 0;
  out.msg_len_to_hash_in_bytes =
      kEspHeaderBytes + suite.iv_bytes() + job.payload_bytes + (esn ? sizeof job.sequence_high : 0);
  out.auth_tag_output = icv;
  out.auth_tag_output_len_in_bytes = suite.auth_key_bytes();
  out.u.HMAC._hashed_auth_key_xor_ipad = inner;
  out.u.HMAC._hashed_auth_key_xor_opad = outer;
}

bool is_possible(const EspSuite& suite, const EspJob& job) {
  const uint32_t block = suite.cipher == Cipher::kAesCbc ? 16 : 1;
  return job.payload_bytes % block == 0 && job.payload_bytes <= kMaxPayloadBytes;
}

}  // namespace

// Of `count` jobs, those for the wide vectors; the rest would leave most lanes empty. There are no
// instructions for SHA-384 and SHA-512.
size_t EspEngine::wide_part(size_t count, Integrity integrity) const {
  const bool instructions = integrity == Integrity::kHmacSha1 || integrity == Integrity::kHmacSha256;
  const size_t rest = count % kLanes;
  return narrow_ && instructions && rest < kWorthwhileLanes ? count - rest : count;
}

void EspEngine::hash(size_t count, Integrity integrity) {
  const IMB_HASH_ALG hash = hash_of(integrity);
  const size_t wide = wide_part(count, integrity);
  hash_on(wide_.get(), work_->jobs.data(), wide, hash);
  hash_on(narrow_.get(), work_->jobs.data() + wide, count - wide, hash);
}

void EspEngine::encrypt_cbc(const EspKey& key, std::span<const EspJob> chunk) {
  const EspKey::CbcHmac& keys = key.material_.cbc_hmac;
  const uint8_t key_bytes = key.suite_.key_bytes;
  size_t count = 0;
  for (const EspJob& job : chunk) {
    write_iv(iv_key_.span().data(), iv_counter_++, job.esp + kEspHeaderBytes);
    prefetch_payload(payload_of(key.suite_, job), job.payload_bytes);
    if (job.payload_bytes != 0)
      fill_cipher(key.suite_, keys.encrypt, keys.decrypt, job, work_->jobs[count++]);
  }
  const size_t wide = wide_part(count, key.suite_.integrity);
  cipher_on(wide_.get(), work_->jobs.data(), wide, IMB_DIR_ENCRYPT, key_bytes);
  cipher_on(narrow_.get(), work_->jobs.data() + wide, count - wide, IMB_DIR_ENCRYPT, key_bytes);
}

void EspEngine::seal_hmac(const EspKey& key, std::span<const EspJob> chunk) {
  const EspSuite suite = key.suite_;
  const EspKey::CbcHmac& keys = key.material_.cbc_hmac;
  if (suite.cipher == Cipher::kAesCbc) encrypt_cbc(key, chunk);
  for (size_t i = 0; i < chunk.size(); ++i) {
    assert(is_possible(suite, chunk[i]));
    if (key.esn_) store(icv_of(suite, chunk[i]), __builtin_bswap32(chunk[i].sequence_high));
    fill_hash(suite, key.esn_, keys.inner, keys.outer, chunk[i], work_->icvs[i].data(), work_->jobs[i]);
  }
  hash(chunk.size(), suite.integrity);
  for (size_t i = 0; i < chunk.size(); ++i)
    std::memcpy(icv_of(suite, chunk[i]), work_->icvs[i].data(), suite.icv_bytes);
}

// Hashes what can be a packet; `index` and the ICVs of the workspace then tell which and what. Returns how
// many.
size_t EspEngine::compute_icvs(const EspKey& key, std::span<const EspJob> chunk) {
  const EspSuite suite = key.suite_;
  const EspKey::CbcHmac& keys = key.material_.cbc_hmac;
  size_t count = 0;
  for (size_t i = 0; i < chunk.size(); ++i) {
    const EspJob& job = chunk[i];
    if (!is_possible(suite, job)) continue;
    prefetch_payload(payload_of(suite, job), job.payload_bytes);
    work_->index[count] = static_cast<uint8_t>(i);
    if (key.esn_) {
      uint8_t* icv = icv_of(suite, job);
      work_->covered[count] = load<uint32_t>(icv);
      store(icv, __builtin_bswap32(job.sequence_high));
    }
    fill_hash(suite, key.esn_, keys.inner, keys.outer, job, work_->icvs[count].data(), work_->jobs[count]);
    ++count;
  }
  hash(count, suite.integrity);
  return count;
}

void EspEngine::open_hmac(const EspKey& key, std::span<const EspJob> chunk, Verdict* verdicts) {
  const EspSuite suite = key.suite_;
  const EspKey::CbcHmac& keys = key.material_.cbc_hmac;
  const size_t hashed = compute_icvs(key, chunk);
  std::fill_n(verdicts, chunk.size(), Verdict());
  size_t to_decrypt = 0;
  for (size_t i = 0; i < hashed; ++i) {
    const EspJob& job = chunk[work_->index[i]];
    uint8_t* icv = icv_of(suite, job);
    if (key.esn_) store(icv, work_->covered[i]);
    if (!equal_icvs(icv, work_->icvs[i].data(), suite.icv_bytes)) continue;
    verdicts[work_->index[i]] = Verdict(true);
    if (suite.cipher == Cipher::kAesCbc && job.payload_bytes != 0)
      fill_cipher(suite, keys.encrypt, keys.decrypt, job, work_->jobs[to_decrypt++]);
  }
  cipher_on(wide_.get(), work_->jobs.data(), to_decrypt, IMB_DIR_DECRYPT, suite.key_bytes);
}

}  // namespace espalier::crypto
