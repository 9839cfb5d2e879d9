#include "dataplane/rehearsal.hpp"

#include <rte_cycles.h>

#include <atomic>

#include "dataplane/scratch.hpp"
#include "dataplane/story/narrator.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint8_t kStory = 1;
constexpr uint32_t kPuntedPackets = 1024;

// Follows every packet: its story, and the frames that leave.
class Onlooker final : public Observer, story::Listener {
 public:
  explicit Onlooker(Rehearsal& rehearsal) : rehearsal_(rehearsal), narrator_(*this) {}

  void received(const Context& ctx, MbufSpan frames) override {
    for (rte_mbuf* mbuf : frames) packet(mbuf).story = kStory;
    narrator_.received(ctx, frames);
  }
  void entering(const Context& ctx, size_t stage, MbufSpan burst) override {
    narrator_.entering(ctx, stage, burst);
  }
  void passed(const Context& ctx, size_t stage, MbufSpan kept, MbufSpan stopped) override {
    narrator_.passed(ctx, stage, kept, stopped);
  }
  void decided(const Context& ctx, rte_mbuf* mbuf, const Decision& decision, size_t stopped_at) override {
    narrator_.decided(ctx, mbuf, decision, stopped_at);
  }
  void sent(rte_mbuf* frame, InterfaceIndex out) override {
    const auto whole = bytes(frame);
    rehearsal_.frames.push_back({out, {whole.begin(), whole.end()}});
    narrator_.sent(frame, out);
  }
  void ended(rte_mbuf* mbuf, DropReason reason) override { narrator_.ended(mbuf, reason); }

 private:
  void say(uint8_t, std::string_view stage, std::string_view text) override {
    rehearsal_.lines.push_back({std::string(stage), std::string(text)});
  }

  Rehearsal& rehearsal_;
  story::Narrator narrator_;
};

// What the stages change, of one rehearsal.
struct Props {
  statistics::Block stats;
  Reassembler reassembler;
  Transmitter transmitter{stats, Transmitter::Send::kKeep};
  Scratch scratch;
  Props(rte_mempool* jumbo_pool, uint32_t contexts) : reassembler(jumbo_pool, contexts) {}
};

void add_drops(const statistics::Block& stats, std::array<uint64_t, kDropReasons>& sums) {
  for (const auto& of_interface : stats.drops)
    for (size_t reason = 0; reason < kDropReasons; ++reason) sums[reason] += of_interface[reason].get();
}

}  // namespace

RehearsalRoom::RehearsalRoom(rte_mempool* jumbo_pool, std::unique_ptr<Mailbox> main, crypto::EspEngine esp)
    : jumbo_pool_(jumbo_pool), main_(std::move(main)), esp_(std::move(esp)), flows_(kFlows, {1, 2, 3, 4}) {}

Result<std::unique_ptr<RehearsalRoom>> RehearsalRoom::create(rte_mempool* jumbo_pool) {
  static std::atomic<uint32_t> rooms{0};
  auto main = TRY(Mailbox::create(fmt::format("rehearsal_{}", rooms.fetch_add(1)), kPuntedPackets,
                                  static_cast<int>(rte_socket_id())));
  auto esp = crypto::EspEngine::create();
  if (!esp) return fail("{}", esp.error());
  return std::unique_ptr<RehearsalRoom>(new RehearsalRoom(jumbo_pool, std::move(main), *std::move(esp)));
}

// What the main lcore would get. It tells no more of it than where it ends.
void RehearsalRoom::take_punted(Rehearsal& rehearsal) {
  std::array<rte_mbuf*, kBurst> punted;
  while (const uint16_t count = main_->pop(punted))
    for (rte_mbuf* mbuf : MbufSpan(punted.data(), count)) {
      const DropReason reason = packet(mbuf).reason;
      const auto whole = bytes(mbuf);
      if (reason == DropReason::kUsedHost) rehearsal.to_host.emplace_back(whole.begin(), whole.end());
      ++(reason == DropReason::kNeighborUnresolved ? rehearsal.waiting
                                                   : rehearsal.ended[static_cast<size_t>(reason)]);
      rte_pktmbuf_free(mbuf);
    }
}

// Tells what comes of these packets and of no earlier ones.
Rehearsal RehearsalRoom::play(Context& ctx, MbufSpan packets, Entry entry) {
  Rehearsal rehearsal;
  Onlooker onlooker(rehearsal);
  ctx.observer = &onlooker;
  ctx.transmitter->observe(&onlooker);
  std::array<uint64_t, kDropReasons> before{};
  add_drops(*ctx.stats, before);
  const uint64_t made_before = ctx.stats->made.get();
  for (rte_mbuf*& mbuf : packets) {
    packet(mbuf).story = kStory;
    run_pipeline(ctx, {&mbuf, 1}, entry);
  }
  take_punted(rehearsal);
  add_drops(*ctx.stats, rehearsal.ended);
  for (size_t reason = 0; reason < kDropReasons; ++reason) rehearsal.ended[reason] -= before[reason];
  rehearsal.made = ctx.stats->made.get() - made_before;
  rehearsal.waiting += ctx.reassembler->waiting();
  return rehearsal;
}

Rehearsal RehearsalRoom::run(Context ctx, MbufSpan packets, Entry entry, size_t untold) {
  const auto props = std::make_unique<Props>(jumbo_pool_, kContexts);
  props->transmitter.use(ctx.tables->ports->transmit.back());
  // One worker, who owns all: fragments meet here, and packets of sessions stay here.
  ctx.worker = WorkerId{0};
  ctx.workers = 1;
  ctx.stats = &props->stats;
  ctx.flows = &flows_;
  ctx.reassembler = &props->reassembler;
  ctx.esp = &esp_;
  ctx.transmitter = &props->transmitter;
  ctx.arp = ctx.ike = ctx.main = main_.get();
  ctx.handover = {};
  ctx.scratch = &props->scratch;
  ctx.random = nat::Random(rte_rdtsc());
  ctx.icmp_limit = {};
  ctx.acquire_due_ms = {};
  if (untold != 0) play(ctx, packets.first(untold), entry);
  return play(ctx, packets.subspan(untold), entry);
}

}  // namespace espalier::dataplane
