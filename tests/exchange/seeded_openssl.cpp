// The simplest way to replace them is deprecated since OpenSSL 3.0: a provider of our own would be longer.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "tests/exchange/seeded_openssl.hpp"

#include <openssl/rand.h>

#include <random>
#include <stdexcept>

namespace espalier::ike::exchange {
namespace {

std::mt19937_64& generator() {
  static std::mt19937_64 bytes;
  return bytes;
}

int fill(unsigned char* out, int count) {
  for (int i = 0; i < count; ++i) out[i] = static_cast<unsigned char>(generator()());
  return 1;
}

int is_seeded() {
  return 1;
}

void use(const RAND_METHOD* method) {
  if (::RAND_set_rand_method(method) != 1) throw std::runtime_error("OpenSSL keeps its random bytes");
}

}  // namespace

void seed_openssl(uint64_t seed) {
  static const RAND_METHOD seeded{.seed = nullptr,
                                  .bytes = fill,
                                  .cleanup = nullptr,
                                  .add = nullptr,
                                  .pseudorand = fill,
                                  .status = is_seeded};
  generator().seed(seed);
  use(&seeded);
}

void unseed_openssl() {
  use(nullptr);
}

}  // namespace espalier::ike::exchange
