// The main lcore of the dataplane process: waits for an espalierd, makes the gateway with the memory it
// brings, and then serves its channel and the gateway's rounds until it is told to stop. When espalierd dies
// it goes on and waits for the next one.
#pragma once

#include <csignal>

#include "control/shared/handover.hpp"
#include "control/shared/vault.hpp"
#include "dataplane/gateway.hpp"
#include "dataplane/tap/tap_request.hpp"
#include "dataplane/transaction.hpp"

namespace espalier::dataplane {

class MainLcore {
 public:
  // `stop`: set by a signal handler.
  static Result<MainLcore> create(const std::string& runtime_dir, const GatewayOptions& options,
                                  const volatile std::sig_atomic_t& stop);
  // Until `stop`. An error: nothing can be served.
  Result<void> run();

 private:
  // What espalierd brought; the gateway points into it.
  struct Memory {
    handover::SegmentFds fds;
    Segment statistics;
    Vault vault;
    SaCells cells;
  };
  MainLcore(handover::DataplaneEndpoint endpoint, const GatewayOptions& options,
            const volatile std::sig_atomic_t& stop);
  Result<void> meet_espalierd();
  Result<void> adopt(handover::DataplaneEndpoint::Adoption adoption);
  Result<std::unique_ptr<Memory>> map(handover::SegmentFds fds) const;
  Result<void> start_gateway();
  void launch_workers();
  void stop_workers();
  bool serve_channel();
  void take(const message::Slot& slot);
  void commit(const message::ConfigCommit& commit, const message::Header& header);
  void answer_query(const message::Query& query, const message::Header& header);
  void answer_explain(const message::Explain& question, const message::Header& header);
  void start_tap(const message::TapStart& start, const message::Header& header);
  void answer_read(const message::TapRead& read, const message::Header& header);
  void stop_tap(const message::TapStop& stop, const message::Header& header);
  uint32_t send_captured(std::span<const uint8_t> record, const message::Header& header);
  template <class Row>
  void send_rows(std::span<const Row> rows, const message::Header& header);
  void acknowledge(const message::Header& header, const Result<void>& result, uint64_t cursor = 0,
                   uint64_t count = 0);
  void send(const message::Slot& slot);
  void sleep();

  handover::DataplaneEndpoint endpoint_;
  GatewayOptions options_;
  const volatile std::sig_atomic_t* stop_;
  uint64_t incarnation_ = 0;
  std::unique_ptr<Memory> memory_;
  std::unique_ptr<Gateway> gateway_;
  std::optional<Channel> channel_;
  Transaction transaction_;
  TapRequest tap_request_;
  std::vector<message::Slot> outbox_;  // answers that the ring had no room for
  size_t outbox_sent_ = 0;
};

}  // namespace espalier::dataplane
