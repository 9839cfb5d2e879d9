// Cycles per packet of ESP's cryptography alone, for each kind of suite: runs of packets of one SA that lie
// in the cache. AES-GCM is measured beside IPsec-MB's direct functions called bare (crypto/gcm.hpp), window
// by window in turn.
//
// usage: crypto_bench [WINDOWS]
#include <fmt/format.h>
#include <x86intrin.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <vector>

#include "crypto/esp_transform.hpp"
#include "crypto/gcm.hpp"

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

// The same by the direct functions; the caller makes nonces and explicit IVs.
class BareGcmRun {
 public:
  BareGcmRun(GcmEngine& engine, size_t key_bytes, uint32_t payload_bytes, size_t packets)
      : engine_(engine),
        key_(engine.expand_key(std::vector<uint8_t>(key_bytes, 1)).value()),
        data_(packets),
        nonces_(packets),
        verdicts_(packets) {
    for (size_t i = 0; i < packets; ++i) {
      uint8_t* esp = data_[i].data();
      jobs_.push_back({esp + 16, payload_bytes, nonces_[i].data(), esp, 8, esp + 16 + payload_bytes});
    }
  }
  void measure(Pair& pair) {
    uint64_t sealing = 0, opening = 0;
    for (size_t i = 0; i < kRounds; ++i) {
      const uint64_t begin = now();
      for (size_t p = 0; p < jobs_.size(); ++p) {
        const uint64_t sequence = __builtin_bswap64(p);
        std::memcpy(data_[p].data() + 8, &sequence, sizeof sequence);
        write_nonce(p, sequence);
      }
      engine_.encrypt(key_, jobs_);
      const uint64_t middle = now();
      for (size_t p = 0; p < jobs_.size(); ++p) {
        uint64_t sequence;
        std::memcpy(&sequence, data_[p].data() + 8, sizeof sequence);
        write_nonce(p, sequence);
      }
      engine_.decrypt(key_, jobs_, verdicts_);
      opening += now() - middle;
      sealing += middle - begin;
    }
    const auto packets = static_cast<double>(kRounds * jobs_.size());
    pair.seal.values.push_back(static_cast<double>(sealing) / packets);
    pair.open.values.push_back(static_cast<double>(opening) / packets);
  }

 private:
  void write_nonce(size_t packet, uint64_t iv) {
    std::memcpy(nonces_[packet].data(), &salt_, sizeof salt_);
    std::memcpy(nonces_[packet].data() + sizeof salt_, &iv, sizeof iv);
  }

  GcmEngine& engine_;
  uint32_t salt_ = 1;
  GcmKey key_;
  std::vector<std::array<uint8_t, 2048>> data_;
  std::vector<std::array<uint8_t, 12>> nonces_;
  std::vector<GcmJob> jobs_;
  std::vector<Verdict> verdicts_;
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

void print_row(EspEngine& esp, GcmEngine& gcm, const Row& row, uint32_t inner_bytes, size_t packets,
               size_t windows) {
  const uint32_t bytes = payload_bytes(row.suite, inner_bytes);
  EspRun run(esp, row.suite, row.esn, bytes, packets);
  BareGcmRun bare(gcm, std::max<size_t>(row.suite.key_bytes, 16), bytes, packets);
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
  GcmEngine gcm = GcmEngine::create().value();
  std::cout << fmt::format("IPsec-MB {}, {}; cycles per packet\n", ::imb_get_version_str(),
                           esp.implementation());
  std::cout
      << "suite               size  run     seal      p10     open      p10  bare p10           ratio\n";
  for (const Row& row : kRows)
    for (const uint32_t inner_bytes : {64u, 512u, 1420u})
      for (const size_t packets : {1u, 4u, 32u}) print_row(esp, gcm, row, inner_bytes, packets, windows);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace espalier::perf

int main(int argc, char** argv) {
  return espalier::perf::run(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 500);
}
