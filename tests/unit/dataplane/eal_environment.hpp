// The EAL of a test program: plain memory, so that it runs on any machine, and one worker lcore. A program
// whose files include this has it.
#pragma once

#include <gtest/gtest.h>

#include <optional>

#include "dataplane/eal.hpp"

namespace espalier::dataplane {

class EalEnvironment : public testing::Environment {
 public:
  void SetUp() override {
    Result<Eal> eal = Eal::init({.worker_cores = {0}, .memory = MemoryMode::kPlain, .memory_mb = 256});
    ASSERT_TRUE(eal) << eal.error().text;
    eal_.emplace(std::move(*eal));
  }
  void TearDown() override { eal_.reset(); }

 private:
  std::optional<Eal> eal_;
};

inline const auto* const kEal = testing::AddGlobalTestEnvironment(new EalEnvironment);

}  // namespace espalier::dataplane
