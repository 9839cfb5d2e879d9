// The EAL in its kinds of memory. It starts once in a process, so each case has a process of its own.
#include "dataplane/eal.hpp"

#include <gtest/gtest.h>
#include <rte_lcore.h>
#include <rte_malloc.h>

#include <chrono>
#include <fstream>

namespace espalier::dataplane {
namespace {

// Ends this (child) process: 0 when the EAL is as wanted.
template <class Check>
[[noreturn]] void start(const EalOptions& options, Check check) {
  const auto begin = std::chrono::steady_clock::now();
  const Result<Eal> eal = Eal::init(options);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  std::fprintf(stderr, "%s, %.0f ms",
               eal ? eal->uses_huge_pages() ? "huge" : "plain" : eal.error().text.c_str(), took.count());
  const bool right = eal && check(*eal);
  std::fflush(stderr);
  _exit(right ? 0 : 1);
}

constexpr auto kAnything = [](const Eal&) { return true; };

TEST(Eal, PlainMemory) {
  EXPECT_EXIT(start({.memory = MemoryMode::kPlain, .memory_mb = 64},
                    [](const Eal& eal) {
                      void* const block = rte_malloc(nullptr, 32 << 20, 0);
                      return !eal.uses_huge_pages() && block != nullptr;
                    }),
              testing::ExitedWithCode(0), "plain");
}

uint64_t free_huge_mb() {
  uint64_t pages = 0, page_kb = 0;
  std::ifstream meminfo("/proc/meminfo");
  for (std::string key, rest; meminfo >> key; std::getline(meminfo, rest)) {
    if (key == "HugePages_Free:") meminfo >> pages;
    if (key == "Hugepagesize:") meminfo >> page_kb;
  }
  return pages * page_kb / 1024;
}

TEST(Eal, AutomaticMemoryTakesWhatIsThere) {
  for (const unsigned wanted_mb : {64u, 2048u})
    EXPECT_EXIT(
        {
          const bool enough = free_huge_mb() >= wanted_mb;
          start({.memory = MemoryMode::kAuto, .memory_mb = wanted_mb},
                [&](const Eal& eal) { return eal.uses_huge_pages() == enough; });
        },
        testing::ExitedWithCode(0), "huge|plain");
}

TEST(Eal, RefusesWithoutHugePagesWhenToldSo) {
  EXPECT_EXIT(start({.memory = MemoryMode::kHugePages, .memory_mb = 1u << 30}, kAnything),
              testing::ExitedWithCode(1), "MiB of huge pages are wanted");
}

TEST(Eal, WorkersMayShareACpu) {
  EXPECT_EXIT(start({.worker_cores = {0, 0, 0}, .memory = MemoryMode::kPlain, .memory_mb = 64},
                    [](const Eal&) {
                      return rte_lcore_count() == 4 && rte_get_main_lcore() == 0 &&
                             rte_lcore_is_enabled(Eal::lcore_of(WorkerId{2}));
                    }),
              testing::ExitedWithCode(0), "plain");
}

TEST(Eal, SaysWhyItDoesNotStart) {
  EXPECT_EXIT(start({.worker_cores = {1023}, .memory = MemoryMode::kPlain, .memory_mb = 64}, kAnything),
              testing::ExitedWithCode(1), "DPDK does not start: .*EAL:");
  EXPECT_EXIT(start({.worker_cores = std::vector<unsigned>(200, 0)}, kAnything), testing::ExitedWithCode(1),
              "200 workers");
}

}  // namespace
}  // namespace espalier::dataplane
