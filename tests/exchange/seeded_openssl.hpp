// OpenSSL's random bytes from a seed, so that nonces and keys, which decide collisions, are the same whenever
// a schedule is played again.
#pragma once

#include <cstdint>

namespace espalier::ike::exchange {

void seed_openssl(uint64_t seed);
void unseed_openssl();  // its own again

}  // namespace espalier::ike::exchange
