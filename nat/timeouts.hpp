// How long a session may be silent, with nf_conntrack's names and defaults.
//
// Writer: the main lcore, at any time; readers: workers. A change takes effect with a session's next packet.
#pragma once

#include <array>
#include <atomic>

#include "control/shared/records.hpp"
#include "nat/tcp_state.hpp"

namespace espalier::nat {

class Timeouts {
 public:
  Timeouts() { set(SettingsRecord{}); }

  void set(const SettingsRecord& s) {
    const uint32_t seconds[kCount] = {s.tcp_syn_sent_s,
                                      s.tcp_syn_sent_s,
                                      s.tcp_syn_recv_s,
                                      s.tcp_established_s,
                                      s.tcp_fin_wait_s,
                                      s.tcp_close_wait_s,
                                      s.tcp_last_ack_s,
                                      s.tcp_time_wait_s,
                                      s.tcp_close_s,
                                      s.tcp_syn_sent_s,
                                      s.tcp_unacknowledged_s,
                                      s.udp_s,
                                      s.udp_stream_s,
                                      s.icmp_s,
                                      s.generic_s};
    for (size_t i = 0; i < kCount; ++i) ms_[i].store(uint64_t{seconds[i]} * 1000, std::memory_order_relaxed);
  }

  // All in milliseconds.
  uint64_t tcp(TcpState state) const { return get(static_cast<size_t>(state)); }
  // An upper bound for connections picked up in mid-stream while only one direction was seen.
  uint64_t tcp_unacknowledged() const { return get(kTcpStates); }
  uint64_t udp() const { return get(kTcpStates + 1); }
  uint64_t udp_stream() const { return get(kTcpStates + 2); }
  uint64_t icmp() const { return get(kTcpStates + 3); }
  uint64_t generic() const { return get(kTcpStates + 4); }

 private:
  static constexpr size_t kCount = kTcpStates + 5;
  uint64_t get(size_t i) const { return ms_[i].load(std::memory_order_relaxed); }
  std::array<std::atomic<uint64_t>, kCount> ms_;
};

}  // namespace espalier::nat
