#include "control/daemon/commands/sa_list.hpp"

#include <charconv>

namespace espalier::daemon::commands {

SaList installed_sas(const SharedMemory& memory) {
  SaList list;
  for (uint32_t i = 0; i < memory.vault().capacity(); ++i) {
    auto record = memory.vault().read(SaIndex(i));
    if (!record) ++list.damaged;
    if (!record || !*record) continue;
    wipe_keys(**record);
    list.sas.push_back({SaIndex(i), **record});
  }
  return list;
}

std::optional<Spi> spi_of(std::string_view text) {
  uint32_t spi = 0;
  if (!text.starts_with("0x")) return std::nullopt;
  const char* const end = text.data() + text.size();
  const auto [at, failure] = std::from_chars(text.data() + 2, end, spi, 16);
  return failure == std::errc() && at == end ? std::optional(Spi(spi)) : std::nullopt;
}

}  // namespace espalier::daemon::commands
