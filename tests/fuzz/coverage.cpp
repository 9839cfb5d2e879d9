// Hands GCC's coverage callbacks to LLVM's libFuzzer.
//
// GCC's -fsanitize-coverage=trace-pc calls __sanitizer_cov_trace_pc at every edge; libFuzzer wants a table of
// 8-bit counters instead and defines that callback only to refuse it. So the linker's --wrap sends the calls
// here, where the hash of the caller's address picks a counter. Comparisons (trace-cmp) need no help.
// Owner: the fuzzing thread. This file itself is compiled without coverage.
#include <cstddef>
#include <cstdint>

namespace {

constexpr unsigned kCounterBits = 16;
constexpr size_t kCounters = size_t{1} << kCounterBits;
uint8_t counters[kCounters];
uintptr_t program_counters[2 * kCounters];  // (address, flags) for each counter; libFuzzer only prints them

}  // namespace

extern "C" {

void __sanitizer_cov_8bit_counters_init(uint8_t* begin, uint8_t* end);
void __sanitizer_cov_pcs_init(const uintptr_t* begin, const uintptr_t* end);

__attribute__((no_sanitize_coverage, no_sanitize("address", "undefined"))) void
__wrap___sanitizer_cov_trace_pc() {
  const auto caller = reinterpret_cast<uint64_t>(__builtin_return_address(0));
  uint8_t& counter = counters[(caller * 0x9e3779b97f4a7c15) >> (64 - kCounterBits)];
  if (counter != 0xff) ++counter;
}
}

__attribute__((constructor, no_sanitize_coverage)) static void register_counters() {
  __sanitizer_cov_8bit_counters_init(counters, counters + kCounters);
  __sanitizer_cov_pcs_init(program_counters, program_counters + 2 * kCounters);
}
