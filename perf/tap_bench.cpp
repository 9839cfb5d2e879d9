// What a capture costs those whom it does not want: a thousand tunnels with traffic on all but one, with and
// without a capture of that one, window by window in turn.
//
// Ratios of medians and of 10th percentiles of the same run; the two halves without a capture against each
// other say how large a ratio means nothing.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "dataplane/eal.hpp"
#include "perf/bed.hpp"

namespace espalier::perf {
namespace {

constexpr Shape kShape{.flows = 999, .ip_bytes = 64, .tunnels = 1000};
constexpr Spi kQuietTunnel{0x1000 + 999};  // the last one, which no flow belongs to

using Values = std::vector<double>;

double at(Values values, double share) {
  std::ranges::sort(values);
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

// Cycles per packet of what is compared: encap and decap.
struct Column {
  Values encap, decap;
};

struct Kind {
  const char* name;
  uint8_t points;  // 0: no tap
  bool one_tunnel;
  Column column = {};
};

Result<void> measure_window(Bed& bed, Column& column) {
  bed.fill(0, Bed::kBatch);
  const double encap = static_cast<double>(bed.run_a(0)) / Bed::kBatch;
  const double decap = static_cast<double>(bed.run_b(0)) / Bed::kBatch;
  if (bed.drain(0) != Bed::kBatch) return fail("packets were lost");
  column.encap.push_back(encap);
  column.decap.push_back(decap);
  return {};
}

Result<uint64_t> start(Side& side, const Kind& kind) {
  dataplane::TapOptions options;
  options.points = kind.points;
  options.one_tunnel = kind.one_tunnel;
  if (kind.one_tunnel) options.spi = kQuietTunnel;
  return side.gateway().start_tap(std::move(options));
}

// A few windows under the same conditions; the first of them is not counted.
Result<void> measure(Bed& bed, Kind& kind) {
  constexpr int kWindows = 5;
  uint64_t ids[2] = {};
  if (kind.points != 0) ids[0] = TRY(start(bed.a(), kind)), ids[1] = TRY(start(bed.b(), kind));
  Column warm_up;
  TRY(measure_window(bed, warm_up));
  for (int w = 0; w < kWindows; ++w) TRY(measure_window(bed, kind.column));
  if (kind.points == 0) return {};
  bed.a().gateway().end_tap(ids[0]);
  bed.b().gateway().end_tap(ids[1]);
  return {};
}

void print(const char* name, const Values& values, const Values& none) {
  std::printf("  %-5s %6.0f %6.0f   %6.3f %6.3f\n", name, at(values, 0.5), at(values, 0.1),
              at(values, 0.5) / at(none, 0.5), at(values, 0.1) / at(none, 0.1));
}

Result<void> run(int rounds) {
  using message::TapPoint;
  const dataplane::Eal eal = TRY(dataplane::Eal::init(
      {.main_core = 0, .worker_cores = {}, .memory_mb = 1024, .pci = false, .pci_devices = {}}));
  auto bed = TRY(Bed::create(kShape));
  Kind kinds[] = {{"no capture", 0, false},
                  {"no capture, again", 0, false},
                  {"plain of a tunnel without traffic", message::bit_of(TapPoint::kPlain), true},
                  {"all points of that tunnel", 15, true},
                  {"plain of all tunnels, never read", message::bit_of(TapPoint::kPlain), false}};
  for (int r = 0; r < rounds; ++r)
    for (Kind& kind : kinds) TRY(measure(*bed, kind));
  std::printf("TSC cycles per packet: median, 10th percentile, and their ratios to \"no capture\"\n");
  for (const Kind& kind : kinds) {
    std::printf("%s\n", kind.name);
    print("encap", kind.column.encap, kinds[0].column.encap);
    print("decap", kind.column.decap, kinds[0].column.decap);
  }
  return {};
}

}  // namespace
}  // namespace espalier::perf

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 100;
  if (rounds < 1 || argc > 2) {
    std::fprintf(stderr, "usage: tap_bench [ROUNDS]\n");
    return 2;
  }
  const auto done = espalier::perf::run(rounds);
  if (done) return 0;
  std::fprintf(stderr, "tap_bench: %s\n", done.error().text.c_str());
  return 1;
}
