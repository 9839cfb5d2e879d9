// Read-copy-update between the main lcore, which publishes, and the workers, which read (rte_rcu_qsbr): what
// was unpublished may be freed after every worker was quiescent once. Workers report after every poll and are
// offline while asleep, so waiting takes microseconds.
#pragma once

#include <rte_rcu_qsbr.h>

#include <cstdlib>
#include <memory>

#include "control/shared/types.hpp"

namespace espalier::dataplane {

class Rcu {
 public:
  explicit Rcu(uint16_t workers) {
    const size_t bytes = rte_rcu_qsbr_get_memsize(workers);
    variable_.reset(
        static_cast<rte_rcu_qsbr*>(std::aligned_alloc(RTE_CACHE_LINE_SIZE, (bytes + 63) & ~size_t{63})));
    rte_rcu_qsbr_init(variable_.get(), workers);
    for (uint16_t w = 0; w < workers; ++w) rte_rcu_qsbr_thread_register(variable_.get(), w);
  }

  // Worker. Between online() and offline() what was read from the snapshot stays valid until quiescent().
  void online(WorkerId worker) { rte_rcu_qsbr_thread_online(variable_.get(), worker.value); }
  void offline(WorkerId worker) { rte_rcu_qsbr_thread_offline(variable_.get(), worker.value); }
  void quiescent(WorkerId worker) { rte_rcu_qsbr_quiescent(variable_.get(), worker.value); }

  // Main lcore. Returns when no worker can still hold what was unpublished before the call.
  void synchronize() { rte_rcu_qsbr_synchronize(variable_.get(), RTE_QSBR_THRID_INVALID); }

 private:
  struct Free {
    void operator()(rte_rcu_qsbr* v) const { std::free(v); }
  };
  std::unique_ptr<rte_rcu_qsbr, Free> variable_;
};

}  // namespace espalier::dataplane
