// Cycles per packet of the whole way through the dataplane: encapsulation (gateway A) and decapsulation
// (gateway B), beside the raw cipher of the same library in the same run.
//
// Shared machines are noisy and the noise is one-sided: each figure is taken from many short windows, and the
// median, its spread (MAD) and the 10th percentile are given. Compare ratios of one run, not runs.
#include <rte_cycles.h>

#include <algorithm>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <thread>

#include <nlohmann/json.hpp>

#include "crypto/esp_transform.hpp"
#include "dataplane/eal.hpp"
#include "dataplane/pipeline.hpp"
#include "perf/bed.hpp"

namespace espalier::perf {
namespace {

struct Series {
  std::vector<double> values;
  double at(double share) {
    std::sort(values.begin(), values.end());
    return values.empty() ? 0 : values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
  }
  double median() { return at(0.5); }
  double quiet() { return at(0.1); }
  double mad() {
    const double middle = median();
    Series deviations;
    for (const double v : values) deviations.values.push_back(std::abs(v - middle));
    return deviations.median();
  }
};

struct Figure {
  Series encap, decap, port;
  uint64_t sent = 0, arrived = 0;
  std::string drops;  // why packets did not arrive
  struct Stage {
    std::string name;
    double encap = 0, decap = 0;  // cycles per packet, means
  };
  std::vector<Stage> stages;
};

// The suite that a shape's SAs use.
crypto::EspSuite suite_of(const Shape& shape) {
  if (shape.protection != Protection::kCbcSha256) return {};
  return {.cipher = crypto::Cipher::kAesCbc,
          .integrity = crypto::Integrity::kHmacSha256,
          .key_bytes = 32,
          .icv_bytes = 16};
}

// The cipher alone over 32 packets that lie in the cache, as the dataplane hands them over.
Series raw_cipher(const crypto::EspSuite& suite, uint32_t inner_bytes, bool seal, int windows) {
  auto engine = crypto::EspEngine::create();
  const std::array<uint8_t, 32> key_bytes{1};
  const auto key =
      engine->make_key(suite, false, {key_bytes.data(), suite.key_bytes},
                       {key_bytes.data(), suite.salt_bytes()}, {key_bytes.data(), suite.auth_key_bytes()});
  constexpr size_t kJobs = 32;
  const uint32_t align = suite.align_bytes(), payload = (inner_bytes + 2 + align - 1) / align * align;
  std::vector<std::array<uint8_t, 2048>> data(kJobs);
  std::vector<crypto::EspJob> jobs;
  for (auto& packet : data)
    jobs.push_back({.esp = packet.data(), .payload_bytes = payload, .sequence_high = 0});
  std::array<crypto::Verdict, kJobs> verdicts;
  Series series;
  for (int w = 0; w < windows; ++w) {
    const uint64_t begin = rte_rdtsc_precise();
    for (int i = 0; i < 8; ++i) seal ? engine->seal(*key, jobs) : engine->open(*key, jobs, verdicts);
    series.values.push_back(static_cast<double>(rte_rdtsc_precise() - begin) / (8 * kJobs));
  }
  return series;
}

// What the first worker of both gateways has counted of its stages.
std::vector<Figure::Stage> stages_of(Bed& bed) {
  std::vector<Figure::Stage> stages;
  for (size_t i = 0; i < dataplane::kEveryPacket.size(); ++i) {
    const auto cycles = [&](Side& side) {
      return static_cast<double>(side.statistics().blocks[0].stages[i].cycles.get());
    };
    stages.push_back({dataplane::kEveryPacket[i].name, cycles(bed.a()), cycles(bed.b())});
  }
  return stages;
}

// Counted cycles from `before` to `after` for each of `packets`.
std::vector<Figure::Stage> means(const std::vector<Figure::Stage>& before, std::vector<Figure::Stage> after,
                                 uint64_t packets) {
  for (size_t i = 0; i < after.size(); ++i) {
    after[i].encap = (after[i].encap - before[i].encap) / static_cast<double>(packets);
    after[i].decap = (after[i].decap - before[i].decap) / static_cast<double>(packets);
  }
  return after;
}

void run_windows(Bed& bed, uint16_t worker, int windows, Figure& figure, std::barrier<>& together) {
  constexpr int kWarmUp = 20;
  for (int w = -kWarmUp; w < windows; ++w) {
    if (w == 0 && worker == 0) figure.stages = stages_of(bed);
    bed.fill(worker, Bed::kBatch);
    together.arrive_and_wait();
    const double encap = static_cast<double>(bed.run_a(worker)) / Bed::kBatch;
    together.arrive_and_wait();
    const double decap = static_cast<double>(bed.run_b(worker)) / Bed::kBatch;
    const uint32_t arrived = bed.drain(worker);
    if (w < 0) continue;
    figure.encap.values.push_back(encap);
    figure.decap.values.push_back(decap);
    figure.sent += Bed::kBatch;
    figure.arrived += arrived;
  }
  if (worker == 0) figure.stages = means(figure.stages, stages_of(bed), figure.sent);
}

std::string drops_of(Side& side) {
  std::string text;
  for (const statistics::Block& block : side.statistics().blocks)
    for (size_t i = 0; i < 2; ++i)
      for (size_t reason = 0; reason < kDropReasons; ++reason)
        if (const uint64_t count = block.drops[i][reason].get())
          text += fmt::format("{} {}  ", kDropReasonTable[reason].name, count);
  return text;
}

// The figures of all workers, each on a core of its own.
Result<Figure> measure(const Shape& shape, int windows) {
  auto bed = TRY(Bed::create(shape));
  std::vector<Figure> figures(shape.workers);
  std::barrier<> together(shape.workers);
  std::vector<std::thread> others;
  for (uint16_t w = 1; w < shape.workers; ++w)
    others.emplace_back([&, w] {
      cpu_set_t core;
      CPU_ZERO(&core);
      CPU_SET(w, &core);
      ::pthread_setaffinity_np(::pthread_self(), sizeof core, &core);
      rte_thread_register();
      run_windows(*bed, w, windows, figures[w], together);
      rte_thread_unregister();
    });
  run_windows(*bed, 0, windows, figures[0], together);
  for (std::thread& other : others) other.join();
  Figure all = std::move(figures[0]);
  for (uint16_t w = 1; w < shape.workers; ++w) {
    all.encap.values.insert(all.encap.values.end(), figures[w].encap.values.begin(),
                            figures[w].encap.values.end());
    all.decap.values.insert(all.decap.values.end(), figures[w].decap.values.begin(),
                            figures[w].decap.values.end());
    all.sent += figures[w].sent;
    all.arrived += figures[w].arrived;
  }
  if (shape.workers == 1)
    for (int w = 0; w < windows; ++w)
      all.port.values.push_back(static_cast<double>(bed->port_cycles(Bed::kBatch)) / Bed::kBatch);
  all.drops = drops_of(bed->a()) + drops_of(bed->b());
  return all;
}

nlohmann::json to_json(Series& s) {
  return {{"median", s.median()}, {"mad", s.mad()}, {"p10", s.quiet()}};
}

const char* name_of(const Shape& shape) {
  switch (shape.protection) {
    case Protection::kGcm:
      return shape.family == Family::kIpv6 ? "ipv6" : "gcm";
    case Protection::kCbcSha256:
      return "cbc-sha256";
    case Protection::kEncapsulated:
      return "nat-t";
    case Protection::kVti:
      return "vti";
  }
  return "";
}

void print_line(const Shape& s, Figure& f, double raw_encrypt, double raw_decrypt) {
  std::printf("%5u  %-10s  %-4s %u  %7.0f ±%-4.0f %7.0f  %5.2f   %7.0f ±%-4.0f %7.0f  %5.2f   %4.0f\n",
              s.ip_bytes, name_of(s), s.source_nat ? "SNAT" : "-", s.workers, f.encap.median(), f.encap.mad(),
              f.encap.quiet(), f.encap.quiet() / raw_encrypt, f.decap.median(), f.decap.mad(),
              f.decap.quiet(), f.decap.quiet() / raw_decrypt, f.port.quiet());
  std::fflush(stdout);
}

nlohmann::json to_json(const std::vector<Figure::Stage>& stages) {
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& stage : stages)
    rows.push_back({{"stage", stage.name}, {"encap", stage.encap}, {"decap", stage.decap}});
  return rows;
}

void print_stages(const Shape& s, const std::vector<Figure::Stage>& stages) {
  std::printf("\nWhere they go, %u bytes%s, one worker (means)\n stage                 encap  decap\n",
              s.ip_bytes, s.source_nat ? " with SNAT" : "");
  for (const auto& stage : stages)
    std::printf(" %-20s  %5.0f  %5.0f\n", stage.name.c_str(), stage.encap, stage.decap);
}

// All rows: the policy tunnel by workers and NAT, then the other kinds of protection with one worker.
std::vector<Shape> shapes() {
  std::vector<Shape> all;
  const auto add_sizes = [&](Shape shape) {
    for (const uint16_t size : {64, 512, 1420}) {
      shape.ip_bytes = size;
      all.push_back(shape);
    }
  };
  for (const uint16_t workers : {1, 2})
    for (const bool nat : {false, true}) add_sizes({.workers = workers, .source_nat = nat});
  add_sizes({.protection = Protection::kCbcSha256});
  add_sizes({.family = Family::kIpv6});
  add_sizes({.protection = Protection::kEncapsulated});
  add_sizes({.protection = Protection::kVti});
  return all;
}

Result<nlohmann::json> measure_row(const Shape& shape, int windows, std::vector<Figure::Stage>& stages) {
  Series raw_encrypt = raw_cipher(suite_of(shape), shape.ip_bytes, true, windows),
         raw_decrypt = raw_cipher(suite_of(shape), shape.ip_bytes, false, windows);
  Figure figure = TRY(measure(shape, windows));
  if (figure.sent != figure.arrived)
    return fail("{}: {} of {} packets arrived; drops: {}", name_of(shape), figure.arrived, figure.sent,
                figure.drops);
  print_line(shape, figure, raw_encrypt.quiet(), raw_decrypt.quiet());
  stages = figure.stages;
  return nlohmann::json{{"size", shape.ip_bytes},
                        {"protection", name_of(shape)},
                        {"source_nat", shape.source_nat},
                        {"workers", shape.workers},
                        {"encap", to_json(figure.encap)},
                        {"decap", to_json(figure.decap)},
                        {"port", to_json(figure.port)},
                        {"stages", to_json(figure.stages)},
                        {"raw_encrypt", to_json(raw_encrypt)},
                        {"raw_decrypt", to_json(raw_decrypt)}};
}

Result<void> write_report(const std::string& path, const nlohmann::json& report) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  if (!file) return fail("{}: {}", path, errno_text());
  const std::string text = report.dump(2) + "\n";
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (std::fclose(file) != 0 || !written) return fail("{}: {}", path, errno_text());
  return {};
}

Result<int> run(int windows, const std::string& json_file) {
  const dataplane::Eal eal = TRY(dataplane::Eal::init(
      {.main_core = 0, .worker_cores = {}, .memory_mb = 1024, .pci = false, .pci_devices = {}}));
  auto engine = crypto::EspEngine::create();
  if (!engine) return fail("{}", engine.error());
  std::printf("TSC %.2f GHz, IPsec-MB %s (%s), %s pages, %d windows of %u packets\n\n",
              static_cast<double>(rte_get_tsc_hz()) / 1e9, IMB_VERSION_STR, engine->implementation().c_str(),
              eal.uses_huge_pages() ? "huge" : "ordinary", windows, Bed::kBatch);
  std::printf("TSC cycles per packet                  encap                             decap\n");
  std::printf(
      " size  kind        NAT  workers  median  MAD   p10  xraw      median  MAD      p10  xraw   port\n");
  nlohmann::json report = nlohmann::json::array();
  const Shape dearest{.workers = 1, .source_nat = true, .ip_bytes = 64};
  std::vector<Figure::Stage> dearest_stages;
  for (const Shape& shape : shapes()) {
    std::vector<Figure::Stage> stages;
    report.push_back(TRY(measure_row(shape, windows, stages)));
    if (shape == dearest) dearest_stages = stages;
  }
  print_stages(dearest, dearest_stages);
  if (!json_file.empty()) TRY(write_report(json_file, report));
  return 0;
}

}  // namespace
}  // namespace espalier::perf

int main(int argc, char** argv) {
  const int windows = argc > 1 ? std::atoi(argv[1]) : 200;
  if (windows < 1 || argc > 3) {
    std::fprintf(stderr, "usage: pipeline_bench [WINDOWS] [JSON-FILE]\n");
    return 2;
  }
  const auto result = espalier::perf::run(windows, argc > 2 ? argv[2] : "");
  if (result) return *result;
  std::fprintf(stderr, "pipeline_bench: %s\n", result.error().text.c_str());
  return 1;
}
