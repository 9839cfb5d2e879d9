// The EAL of a test program: plain memory, so that it runs on any machine, and one worker lcore. Include
// once, in the file with the tests.
#pragma once

#include <gtest/gtest.h>

#include <optional>

#include "dataplane/eal.hpp"

namespace espalier::dataplane {

class EalEnvironment : public testing::Environment {
 public:
  explicit EalEnvironment(unsigned memory_mb) : memory_mb_(memory_mb) {}
  void SetUp() override {
    Result<Eal> eal = Eal::init({.worker_cores = {0}, .memory = MemoryMode::kPlain, .memory_mb = memory_mb_});
    ASSERT_TRUE(eal) << eal.error().text;
    eal_.emplace(std::move(*eal));
  }
  void TearDown() override { eal_.reset(); }

 private:
  unsigned memory_mb_;
  std::optional<Eal> eal_;
};

}  // namespace espalier::dataplane
