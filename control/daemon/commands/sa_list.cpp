#include "control/daemon/commands/sa_list.hpp"

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

}  // namespace espalier::daemon::commands
