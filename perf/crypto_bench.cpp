// Cycles per packet of ESP's cryptography alone, for each kind of suite: runs of packets of one SA that lie
// in the cache. AES-GCM is measured beside IPsec-MB's direct functions called bare, window by window in
// turn.
//
// usage: crypto_bench [WINDOWS]
#include <fmt/format.h>
#include <intel-ipsec-mb.h>
#include <x86intrin.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <vector>

#include "crypto/esp_transform.hpp"

namespace espalier::perf {
namespace {

using namespace crypto;

constexpr size_t kRounds = 8;  // of a window

struct Series {
  std::vector<double> values;
  double at(double share) {
    std::sort(values.begin(), values.end());
    return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
  }
  double median() { return at(0.5); }
  double quiet() { return at(0.1); }
};

struct Pair {
  Series seal, open;
};

uint64_t now() {
  unsigned processor;
  return __rdtscp(&processor);
}

// One run of packets, sealed and opened again and again.
class EspRun {
 public:
  EspRun(EspEngine& engine, const EspSuite& suite, bool esn, uint32_t payload_bytes, size_t packets)
      : engine_(engine),
        key_(engine
                 .make_key(suite, esn, kBytes.first(suite.key_bytes), kBytes.first(suite.salt_bytes()),
                           kBytes.first(suite.auth_key_bytes()))
                 .value()),
        data_(packets),
        verdicts_(packets) {
    for (auto& packet : data_) jobs_.push_back({packet.data(), payload_bytes, 0});
  }
  void measure(Pair& pair) {
    uint64_t sealing = 0, opening = 0;
    for (size_t i = 0; i < kRounds; ++i) {
      const uint64_t begin = now();
      engine_.seal(key_, jobs_);
      const uint64_t middle = now();
      engine_.open(key_, jobs_, verdicts_);
      opening += now() - middle;
      sealing += middle - begin;
      for (const Verdict& verdict : verdicts_)
        if (!verdict.authentic()) throw std::runtime_error("a packet is not what was sealed");
    }
    const auto packets = static_cast<double>(kRounds * jobs_.size());
    pair.seal.values.push_back(static_cast<double>(sealing) / packets);
    pair.open.values.push_back(static_cast<double>(opening) / packets);
  }

 private:
  static constexpr std::array<uint8_t, 64> kKey{1, 2, 3};
  static constexpr std::span<const uint8_t> kBytes{kKey};
  EspEngine& engine_;
  EspKey key_;
  std::vector<std::array<uint8_t, 2048>> data_;
  std::vector<EspJob> jobs_;
  std::vector<Verdict> verdicts_;
};

// AES-GCM by the direct functions, one packet after the other as they are documented: no prefetching, nonces
// written in parts.
class BareGcmRun {
 public:
  BareGcmRun(IMB_MGR& manager, size_t key_bytes, uint32_t payload_bytes, size_t packets)
      : seal_(key_bytes == 32 ? manager.gcm256_enc : manager.gcm128_enc),
        open_(key_bytes == 32 ? manager.gcm256_dec : manager.gcm128_dec),
        payload_bytes_(payload_bytes),
        data_(packets) {
    const std::array<uint8_t, 32> key{1};
    (key_bytes == 32 ? manager.gcm256_pre : manager.gcm128_pre)(key.data(), &key_);
  }
  void measure(Pair& pair) {
    uint64_t sealing = 0, opening = 0;
    for (size_t i = 0; i < kRounds; ++i) {
      const uint64_t begin = now();
      for (size_t p = 0; p < data_.size(); ++p) seal(data_[p].data(), p);
      const uint64_t middle = now();
      for (auto& packet : data_) open(packet.data());
      opening += now() - middle;
      sealing += middle - begin;
    }
    const auto packets = static_cast<double>(kRounds * data_.size());
    pair.seal.values.push_back(static_cast<double>(sealing) / packets);
    pair.open.values.push_back(static_cast<double>(opening) / packets);
  }

 private:
  static constexpr size_t kTagBytes = 16;

  void seal(uint8_t* esp, uint64_t number) {
    const uint64_t iv = __builtin_bswap64(number);
    std::memcpy(esp + 8, &iv, sizeof iv);
    run(seal_, esp, iv, esp + 16 + payload_bytes_);
  }
  void open(uint8_t* esp) {
    uint64_t iv;
    std::memcpy(&iv, esp + 8, sizeof iv);
    uint8_t tag[kTagBytes];
    run(open_, esp, iv, tag);
    if (std::memcmp(tag, esp + 16 + payload_bytes_, kTagBytes) != 0)
      throw std::runtime_error("a packet is not what was sealed");
  }
  void run(aes_gcm_enc_dec_t cipher, uint8_t* esp, uint64_t iv, uint8_t* tag) {
    uint8_t nonce[12] = {1};
    std::memcpy(nonce + 4, &iv, sizeof iv);
    gcm_context_data context;
    cipher(&key_, &context, esp + 16, esp + 16, payload_bytes_, nonce, esp, 8, tag, kTagBytes);
  }

  aes_gcm_enc_dec_t seal_, open_;
  uint32_t payload_bytes_;
  alignas(64) gcm_key_data key_;  // its aligned loads want it
  std::vector<std::array<uint8_t, 2048>> data_;
};

struct Row {
  const char* name;
  EspSuite suite;
  bool esn = false;
};

constexpr Row kRows[] = {
    {"aes128gcm128", {Cipher::kAesGcm, Integrity::kNone, 16, 16}},
    {"aes128gcm128 esn", {Cipher::kAesGcm, Integrity::kNone, 16, 16}, true},
    {"aes256gcm128", {Cipher::kAesGcm, Integrity::kNone, 32, 16}},
    {"aes128gcm64", {Cipher::kAesGcm, Integrity::kNone, 16, 8}},
    {"chacha20poly1305", {Cipher::kChaCha20Poly1305, Integrity::kNone, 32, 16}},
    {"aes128 sha1", {Cipher::kAesCbc, Integrity::kHmacSha1, 16, 12}},
    {"aes128 sha256", {Cipher::kAesCbc, Integrity::kHmacSha256, 16, 16}},
    {"aes128 sha256 esn", {Cipher::kAesCbc, Integrity::kHmacSha256, 16, 16}, true},
    {"aes256 sha384", {Cipher::kAesCbc, Integrity::kHmacSha384, 32, 24}},
    {"aes256 sha512", {Cipher::kAesCbc, Integrity::kHmacSha512, 32, 32}},
    {"null sha256", {Cipher::kNull, Integrity::kHmacSha256, 0, 16}},
};

// Of an inner packet with its trailer.
uint32_t payload_bytes(const EspSuite& suite, uint32_t inner_bytes) {
  const uint32_t align = suite.align_bytes();
  return (inner_bytes + 2 + align - 1) / align * align;
}

void print_row(EspEngine& esp, IMB_MGR& manager, const Row& row, uint32_t inner_bytes, size_t packets,
               size_t windows) {
  const uint32_t bytes = payload_bytes(row.suite, inner_bytes);
  EspRun run(esp, row.suite, row.esn, bytes, packets);
  BareGcmRun bare(manager, row.suite.key_bytes, bytes, packets);
  const bool compare = row.suite.cipher == Cipher::kAesGcm;
  Pair ours, theirs;
  for (size_t i = 0; i < windows; ++i) {
    run.measure(ours);
    if (compare) bare.measure(theirs);
  }
  std::cout << fmt::format("{:<18} {:>5} {:>4} {:>8.1f} {:>8.1f} {:>8.1f} {:>8.1f}", row.name, inner_bytes,
                           packets, ours.seal.median(), ours.seal.quiet(), ours.open.median(),
                           ours.open.quiet());
  if (compare)
    std::cout << fmt::format(" {:>8.1f} {:>8.1f}   {:.3f} {:.3f}", theirs.seal.quiet(), theirs.open.quiet(),
                             ours.seal.quiet() / theirs.seal.quiet(),
                             ours.open.quiet() / theirs.open.quiet());
  std::cout << std::endl;
}

int run(size_t windows) {
  EspEngine esp = EspEngine::create().value();
  const std::unique_ptr<IMB_MGR, decltype(&::free_mb_mgr)> manager(::alloc_mb_mgr(0), ::free_mb_mgr);
  if (!manager) throw std::runtime_error("IPsec-MB: no memory for a manager");
  ::init_mb_mgr_auto(manager.get(), nullptr);
  std::cout << fmt::format("IPsec-MB {}, {}; cycles per packet\n", ::imb_get_version_str(),
                           esp.implementation());
  std::cout
      << "suite               size  run     seal      p10     open      p10  bare p10           ratio\n";
  for (const Row& row : kRows)
    for (const uint32_t inner_bytes : {64u, 512u, 1420u})
      for (const size_t packets : {1u, 4u, 32u}) print_row(esp, *manager, row, inner_bytes, packets, windows);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace espalier::perf

int main(int argc, char** argv) {
  return espalier::perf::run(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 500);
}
