// GCC's coverage callbacks for programs of a build for fuzzing that are not fuzzers: they do nothing.
//
// Fuzzers do not come here: their edges go to coverage.cpp (--wrap), their integer comparisons to libFuzzer.
// Its floating point ones do, libFuzzer does not know these.
extern "C" {
__attribute__((weak, no_sanitize_coverage)) void __sanitizer_cov_trace_pc() {}
__attribute__((weak, no_sanitize_coverage)) void __sanitizer_cov_trace_cmpf(float, float) {}
__attribute__((weak, no_sanitize_coverage)) void __sanitizer_cov_trace_cmpd(double, double) {}
}
