#include "dataplane/worker.hpp"

#include <algorithm>

#include "dataplane/idle.hpp"
#include "dataplane/stages/stop.hpp"

namespace espalier::dataplane {
namespace {

// Sessions looked at per millisecond: a quarter of a million in four seconds. A worker that slept makes up
// for it, up to what takes no more than a fraction of a millisecond.
constexpr uint64_t kSessionsPerMs = 64, kMostSessions = 4096;

}  // namespace

Worker::Worker(const Context& context, Parts parts, const WorkerShared& shared)
    : parts_(std::move(parts)), context_(context), transmitter_(*context.stats), shared_(shared) {
  context_.flows = parts_.flows.get();
  context_.reassembler = parts_.reassembler.get();
  context_.esp = &parts_.esp;
  context_.transmitter = &transmitter_;
}

void Worker::begin_burst() {
  context_.tables = shared_.snapshot.load(std::memory_order_acquire);
  context_.now_ms = shared_.clock.now_ms();
  context_.observer = context_.tables->observer(context_.worker);
  transmitter_.use(context_.tables->ports->transmit[context_.worker.value]);
  transmitter_.observe(context_.observer);
}

uint32_t Worker::receive() {
  std::array<rte_mbuf*, kBurst> burst;
  uint32_t total = 0;
  for (const ReceiveQueue& from : context_.tables->ports->receive[context_.worker.value]) {
    const uint16_t count = from.port->rx_burst(from.queue, burst);
    if (count == 0) continue;
    for (uint16_t i = 0; i < count; ++i)
      burst[i]->port = from.port->id();  // not every driver does (net_ring)
    run_pipeline(context_, MbufSpan(burst.data(), count), Entry::kReceived);
    total += count;
  }
  return total;
}

// Packets of other workers, parsed already; and what the main lcore made.
uint32_t Worker::take_handed_over() {
  std::array<rte_mbuf*, kBurst> burst;
  const uint16_t count = parts_.mailbox->pop(burst);
  // A packet may have been parsed with the tables before these, which had more interfaces.
  const uint16_t known = partition(MbufSpan(burst.data(), count), [&](rte_mbuf* mbuf) {
    const Packet& p = packet(mbuf);
    if (p.flags & kFromGateway) return dataplane::stop_again(mbuf, Entry::kMade);
    return p.in.value < context_.tables->interfaces->size() ||
           dataplane::stop(mbuf, DropReason::kInterfaceDown);
  });
  for (uint16_t i = known; i < count; ++i) leave(context_, burst[i]);
  if (count) run_pipeline(context_, MbufSpan(burst.data(), known), Entry::kHandedOver);
  return count;
}

void Worker::housekeep() {
  const uint64_t passed_ms = context_.now_ms - housekeeping_done_ms_;
  if (passed_ms == 0) return;
  housekeeping_done_ms_ = context_.now_ms;
  context_.stats->heartbeat.add(1);
  context_.sessions->age(context_.worker, context_.now_ms,
                         std::min(passed_ms * kSessionsPerMs, kMostSessions));
  std::array<rte_mbuf*, 8> lost;
  const size_t count = context_.reassembler->expire(context_.now_ms, lost);
  for (size_t i = 0; i < count; ++i) leave(context_, lost[i]);
}

uint32_t Worker::poll() {
  begin_burst();
  const uint32_t count = receive() + take_handed_over();
  housekeep();
  context_.stats->polls.add(1);
  if (count == 0) context_.stats->idle_polls.add(1);
  return count;
}

void Worker::run() {
  IdleSleeper sleeper(*parts_.mailbox);
  shared_.rcu.online(context_.worker);
  while (!stop_.load(std::memory_order_relaxed)) {
    shared_.rcu.quiescent(
        context_.worker);  // before poll() reads the snapshot, never between that and its last use
    const uint32_t count = poll();
    sleeper.forget_other_than(context_.tables->ports);
    if (count != 0 || context_.tables->settings.busy_poll) {
      sleeper.note_work();
      continue;
    }
    if (!sleeper.should_sleep()) continue;
    const auto ports = context_.tables->ports;  // kept alive while asleep and offline
    sleeper.prepare(ports, context_.worker);
    if (poll() != 0) {
      sleeper.cancel();
      continue;
    }
    shared_.rcu.offline(context_.worker);
    context_.stats->sleeps.add(1);
    sleeper.sleep();
    shared_.rcu.online(context_.worker);
  }
  shared_.rcu.offline(context_.worker);
}

}  // namespace espalier::dataplane
