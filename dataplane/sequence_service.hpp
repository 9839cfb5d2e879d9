// The two threads of the dataplane that wait for the disk, so that no other has to: one reserves outbound
// numbers of static keys, one saves how far their inbound windows have come. A disk may take seconds.
#pragma once

#include <chrono>
#include <condition_variable>
#include <thread>

#include "control/shared/sa_directory.hpp"

namespace espalier::dataplane {

class SequenceService {
 public:
  // Starts the threads. `reserver` must outlive the service. Failures are logged, and tried again.
  explicit SequenceService(SequenceReserver& reserver);
  // Saves the windows a last time.
  ~SequenceService();

  // Main lcore: has what is due reserved at once. Returns when it is done, or after `patience` with a slow
  // disk: the first packets of a new static key then drop as esp_sequence_not_reserved until it is.
  void reserve_now(std::chrono::milliseconds patience);

 private:
  void reserve(const std::stop_token& stop);
  void save_windows(const std::stop_token& stop);

  SequenceReserver& reserver_;
  std::mutex mutex_;  // guards the two counts
  std::condition_variable_any changed_;
  uint64_t asked_ = 0, answered_ = 0;  // reservations that were asked for, and that were tried
  std::jthread reserver_thread_, saver_thread_;
};

}  // namespace espalier::dataplane
