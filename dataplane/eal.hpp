// The DPDK environment (EAL) of the process: cores, memory, buses. There is one, made before anything else of
// DPDK and destroyed after it.
//
// Lcore 0 is the main lcore, lcore i + 1 is worker i, whatever CPUs they run on: two workers may share a CPU.
// Workers are started by the caller (rte_eal_remote_launch). Drivers are loaded from DPDK's plugin directory
// by the EAL itself; devices are probed by Port::open, not here, so that no device is taken that the
// configuration does not name.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "control/shared/error.hpp"
#include "control/shared/types.hpp"

namespace espalier::dataplane {

enum class MemoryMode : uint8_t {
  kAuto,       // huge pages when enough of them are free, else plain pages
  kHugePages,  // refuse to start without
  kPlain,      // 4 KiB pages: 40-60 % slower, no physical devices but through an IOMMU
};

struct EalOptions {
  unsigned main_core = 0;
  std::vector<unsigned> worker_cores{};  // CPU of each worker, by WorkerId; CPUs may repeat
  MemoryMode memory = MemoryMode::kAuto;
  unsigned memory_mb = 512;  // reserved at start; with huge pages more is taken when needed and there is more
  bool pci = true;           // false: the PCI bus is not scanned and no PCI port can be opened
  // PCI addresses that will be opened. Only decides how DPDK addresses memory (IOVA mode); others may be
  // opened later.
  std::vector<std::string> pci_devices{};
};

class Eal {
 public:
  // Once per process; the calling thread becomes the main lcore and is bound to its CPU. Errors carry DPDK's
  // own words. After an error the process should end: not every part of the EAL can be initialised again.
  static Result<Eal> init(const EalOptions& options);
  ~Eal();
  Eal(Eal&& other) noexcept;
  Eal& operator=(Eal&&) = delete;

  bool uses_huge_pages() const { return huge_pages_; }
  static unsigned lcore_of(WorkerId worker) { return worker.value + 1u; }

 private:
  explicit Eal(bool huge_pages) : huge_pages_(huge_pages) {}
  bool huge_pages_;
  bool owner_ = true;
};

// While it lives, what DPDK logs goes here instead of to stderr, so that an Error can say it. They nest. Main
// lcore.
class DpdkLogCapture {
 public:
  DpdkLogCapture();
  ~DpdkLogCapture();
  DpdkLogCapture(const DpdkLogCapture&) = delete;
  DpdkLogCapture& operator=(const DpdkLogCapture&) = delete;
  // The lines so far, joined by "; "; "no reason given" when there are none.
  std::string text();

 private:
  FILE* previous_;
  char* buffer_ = nullptr;
  size_t size_ = 0;
  FILE* stream_ = nullptr;
};

}  // namespace espalier::dataplane
