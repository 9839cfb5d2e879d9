#include "dataplane/sequence_service.hpp"

#include <spdlog/spdlog.h>

namespace espalier::dataplane {
namespace {

constexpr std::chrono::milliseconds kReserveEvery{20}, kRetryAfter{1000};
// Rarely: each time is a write to the disk, and a process that is killed in it ends when the disk has
// answered.
constexpr std::chrono::seconds kSaveWindowsEvery{10};
constexpr uint64_t kReserveBlock = 1u << 24, kReserveLowWater = 1u << 23;

// Whether it went well.
template <class T>
bool log_failure(const char* what, const Result<T>& result) {
  if (!result) spdlog::error("subsystem=esp {}: {}", what, result.error().text);
  return result.has_value();
}

}  // namespace

SequenceService::SequenceService(SequenceReserver& reserver)
    : reserver_(reserver),
      reserver_thread_([this](const std::stop_token& stop) { reserve(stop); }),
      saver_thread_([this](const std::stop_token& stop) { save_windows(stop); }) {}

SequenceService::~SequenceService() {
  reserver_thread_ = {};  // stops and joins
  saver_thread_ = {};
  log_failure("saving replay windows", reserver_.save_windows());
}

void SequenceService::reserve_now(std::chrono::milliseconds patience) {
  if (!reserver_.is_due(kReserveLowWater, kReserveBlock)) return;
  std::unique_lock lock(mutex_);
  const uint64_t mine = ++asked_;
  changed_.notify_all();
  changed_.wait_for(lock, patience, [&] { return answered_ >= mine; });
}

void SequenceService::reserve(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const uint64_t asked = asked_;
    lock.unlock();
    const bool good =
        log_failure("reserving sequence numbers", reserver_.extend(kReserveLowWater, kReserveBlock));
    lock.lock();
    answered_ = asked;
    changed_.notify_all();
    changed_.wait_for(lock, stop, good ? kReserveEvery : kRetryAfter, [&] { return asked_ != answered_; });
  }
}

void SequenceService::save_windows(const std::stop_token& stop) {
  std::mutex unshared;
  std::unique_lock lock(unshared);
  std::condition_variable_any never;
  while (!never.wait_for(lock, stop, kSaveWindowsEvery, [&] { return stop.stop_requested(); }))
    log_failure("saving replay windows", reserver_.save_windows());
}

}  // namespace espalier::dataplane
