#include "dataplane/tap/taps.hpp"

#include <algorithm>
#include <iterator>

#include "crypto/random.hpp"

namespace espalier::dataplane {
namespace {

// Of 48 bits, which a JSON number bears; random, so that no reader of an earlier process's tap meets another.
Result<uint64_t> new_id() {
  uint64_t id = 0;
  constexpr size_t kIdBytes = 6;
  while (id == 0) {
    const auto filled = crypto::fill_random({reinterpret_cast<uint8_t*>(&id), kIdBytes});
    if (!filled) return fail("random numbers: {}", filled.error());
  }
  return id;
}

}  // namespace

Result<uint64_t> Taps::start(TapOptions options, uint64_t now_ms) {
  if (running_.size() == kMost)
    return fail("{} captures and traces run already; end one of them first", kMost);
  const bool traced = std::ranges::any_of(running_, [](const Running& r) { return r.tap->is_trace(); });
  if (options.trace && traced) return fail("a trace runs already; end it first");
  const uint64_t id = TRY(new_id());
  running_.push_back(make(id, std::move(options), now_ms));
  return id;
}

Taps::Running Taps::make(uint64_t id, TapOptions options, uint64_t now_ms) const {
  Running made;
  made.id = id;
  made.read_ms = now_ms;
  made.tap = std::make_unique<PacketTap>(std::move(options), threads_, sad_);
  if (made.tap->is_trace()) made.book = std::make_unique<StoryBook>();
  for (uint16_t thread = 0; thread < threads_; ++thread)
    if (made.book)
      made.trace_eyes.push_back(std::make_unique<TraceObserver>(*made.tap, *made.book, thread));
    else
      made.capture_eyes.push_back(std::make_unique<CaptureObserver>(*made.tap, sad_, thread));
  return made;
}

PacketTap* Taps::find(uint64_t id, uint64_t now_ms) {
  const auto found = std::ranges::find(running_, id, &Running::id);
  if (found == running_.end()) return nullptr;
  found->read_ms = now_ms;
  if (found->book) found->book->collect(*found->tap, static_cast<uint16_t>(threads_ - 1));
  return found->tap.get();
}

bool Taps::end(uint64_t id) {
  const auto ended = std::ranges::stable_partition(running_, [id](const Running& r) { return r.id != id; });
  const bool any = !ended.empty();
  std::ranges::move(ended, std::back_inserter(ended_));
  running_.erase(ended.begin(), ended.end());
  return any;
}

bool Taps::end_unread(uint64_t now_ms) {
  const auto is_read = [now_ms](const Running& r) { return now_ms - r.read_ms < kUnreadMs; };
  const auto ended = std::ranges::stable_partition(running_, is_read);
  const bool any = !ended.empty();
  std::ranges::move(ended, std::back_inserter(ended_));
  running_.erase(ended.begin(), ended.end());
  return any;
}

void Taps::follow_sas() {
  for (const Running& running : running_) running.tap->follow_sas();
}

std::shared_ptr<const Observers> Taps::observers() {
  std::ranges::move(fans_, std::back_inserter(old_fans_));
  fans_.clear();
  if (running_.empty()) return nullptr;
  auto all = std::make_shared<Observers>();
  for (uint16_t thread = 0; thread < threads_; ++thread) {
    std::vector<Observer*> eyes;
    for (const Running& running : running_) eyes.push_back(running.eye(thread));
    if (eyes.size() > 1) eyes.front() = fans_.emplace_back(std::make_unique<FanOut>(eyes)).get();
    all->push_back(eyes.front());
  }
  return all;
}

}  // namespace espalier::dataplane
