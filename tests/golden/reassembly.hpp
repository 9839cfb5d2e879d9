// Puts fragments together (RFC 791 section 3.2, RFC 8200 section 4.5), so that what left in fragments can be
// compared whole: ciphertext differs by its IV, and only the whole of it can be opened.
#pragma once

#include <set>

#include "tests/support/bytes.hpp"

namespace espalier::test {

struct Reassembled {
  std::vector<Bytes>
      packets;             // IP packets of which all fragments are there, in the order of their first ones
  std::set<size_t> parts;  // the places of their fragments among the frames
};

Reassembled reassemble(const std::vector<Bytes>& frames);

}  // namespace espalier::test
