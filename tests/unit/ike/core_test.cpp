// ike/core.hpp: what its values do by themselves.
#include "ike/core.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <new>

namespace espalier::ike {
namespace {

SaRecord record_with_keys() {
  SaRecord record;
  std::ranges::fill(record.key, 0x5a);
  std::ranges::fill(record.auth_key, 0x5a);
  return record;
}

bool holds_keys(std::span<const uint8_t> memory) {
  const uint8_t key[8] = {0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a};
  return std::search(memory.begin(), memory.end(), std::begin(key), std::end(key)) != memory.end();
}

// The memory stays ours when the object in it has ended.
TEST(Outputs, KeysDoNotStayBehind) {
  alignas(InstallSa) uint8_t memory[2][sizeof(InstallSa)] = {};
  auto* first = new (memory[0]) InstallSa(record_with_keys());
  EXPECT_TRUE(holds_keys(memory[0]));
  auto* second = new (memory[1]) InstallSa(std::move(*first));
  EXPECT_FALSE(holds_keys(memory[0])) << "moved away";
  EXPECT_TRUE(holds_keys(memory[1]));
  *first = std::move(*second);
  EXPECT_TRUE(holds_keys(memory[0]));
  EXPECT_FALSE(holds_keys(memory[1])) << "assigned";
  first->~InstallSa();
  EXPECT_FALSE(holds_keys(memory[0])) << "ended";
  second->~InstallSa();
}

}  // namespace
}  // namespace espalier::ike
