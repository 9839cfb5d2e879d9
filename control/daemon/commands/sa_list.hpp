// The SAs that are installed, from the vault and their cells, without their keys.
#pragma once

#include <vector>

#include "control/daemon/commands/commands.hpp"

namespace espalier::daemon::commands {

struct InstalledSa {
  SaIndex index;
  SaRecord record;  // keys and salt are wiped
};

// In the order of the vault. A damaged record is left out and counted in `damaged`.
struct SaList {
  std::vector<InstalledSa> sas;
  uint64_t damaged = 0;
};
SaList installed_sas(const SharedMemory& memory);

// How an operator names an SA that is not named by its name: "0x1001". Nothing for other text.
std::optional<Spi> spi_of(std::string_view text);

}  // namespace espalier::daemon::commands
