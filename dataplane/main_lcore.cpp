#include "dataplane/main_lcore.hpp"

#include <poll.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#include <spdlog/spdlog.h>

#include "crypto/random.hpp"
#include "dataplane/eal.hpp"

namespace espalier::dataplane {
namespace {

constexpr int kSleepMs = 20;
constexpr int kMessagesPerRound = 256;
constexpr uint32_t kRowsPerQuery = 256;
constexpr uint32_t kMessagesPerRead = 1024;  // of a tap, and what its last packet takes beyond

handover::Layouts layouts() {
  return {.vault = Vault::kLayout,
          .cells = SaCells::kLayout,
          .numbers = SequenceFile::kLayout,
          .statistics = statistics::kLayout,
          .messages = message::kVersion};
}

int run_worker(void* worker) {
  static_cast<Worker*>(worker)->run();
  return 0;
}

Fd copy(const Fd& fd) {
  return fd.duplicate();
}

}  // namespace

MainLcore::MainLcore(handover::DataplaneEndpoint endpoint, const GatewayOptions& options,
                     const volatile std::sig_atomic_t& stop)
    : endpoint_(std::move(endpoint)), options_(options), stop_(&stop) {}

Result<MainLcore> MainLcore::create(const std::string& runtime_dir, const GatewayOptions& options,
                                    const volatile std::sig_atomic_t& stop) {
  MainLcore main(TRY(handover::DataplaneEndpoint::listen(runtime_dir)), options, stop);
  const auto filled =
      crypto::fill_random({reinterpret_cast<uint8_t*>(&main.incarnation_), sizeof main.incarnation_});
  if (!filled) return fail("random numbers: {}", filled.error());
  return main;
}

Result<std::unique_ptr<MainLcore::Memory>> MainLcore::map(handover::SegmentFds fds) const {
  auto statistics = TRY(Segment::attach(copy(fds.statistics), sizeof(statistics::Segment)));
  auto vault = TRY(Vault::attach(copy(fds.vault)));
  auto cells = TRY(SaCells::attach(copy(fds.cells), copy(fds.numbers)));
  if (!vault.warning().empty()) spdlog::warn("subsystem=crypto {}", vault.warning());
  return std::make_unique<Memory>(
      Memory{std::move(fds), std::move(statistics), std::move(vault), std::move(cells)});
}

void MainLcore::launch_workers() {
  for (uint16_t w = 0; w < gateway_->worker_count(); ++w)
    rte_eal_remote_launch(run_worker, &gateway_->worker(WorkerId{w}), Eal::lcore_of(WorkerId{w}));
}

void MainLcore::stop_workers() {
  for (uint16_t w = 0; w < gateway_->worker_count(); ++w) gateway_->worker(WorkerId{w}).stop();
  rte_eal_mp_wait_lcore();
}

Result<void> MainLcore::start_gateway() {
  auto& segment = *memory_->statistics.as<statistics::Segment>();
  gateway_ = TRY(Gateway::create(options_, {segment, memory_->vault, memory_->cells}));
  segment.dataplane_pid.store(static_cast<uint32_t>(::getpid()));
  launch_workers();
  return {};
}

Result<void> MainLcore::adopt(handover::DataplaneEndpoint::Adoption adoption) {
  channel_ = std::move(adoption.channel);
  transaction_.abort();
  outbox_.clear();
  outbox_sent_ = 0;
  spdlog::info("subsystem=ring an espalierd has connected");
  if (!adoption.segments) return {};
  memory_ = TRY(map(std::move(*adoption.segments)));
  return start_gateway();
}

Result<void> MainLcore::meet_espalierd() {
  auto adoption = endpoint_.poll({.layouts = layouts(),
                                  .incarnation = incarnation_,
                                  .generation = gateway_ ? gateway_->generation() : 0,
                                  .segments = memory_ ? &memory_->fds : nullptr});
  if (!adoption) {
    spdlog::warn("subsystem=ring a peer on the handover socket was refused: {}", adoption.error().text);
    return {};
  }
  if (*adoption) TRY(adopt(std::move(**adoption)));
  auto ike = endpoint_.take_ike_channel();
  if (!ike) {
    spdlog::warn("subsystem=ring espalierd brought no channel to the IKE process: {}", ike.error().text);
  } else if (*ike && gateway_) {
    gateway_->attach_ike(std::move(**ike));
  }
  return {};
}

Result<void> MainLcore::run() {
  while (!*stop_) {
    TRY(meet_espalierd());
    const bool served = channel_ && gateway_ && serve_channel();
    const bool handled = gateway_ && gateway_->poll_main() != 0;
    if (!served && !handled) sleep();
  }
  if (gateway_) stop_workers();
  gateway_.reset();
  return {};
}

void MainLcore::sleep() {
  std::array<pollfd, 10> fds;
  nfds_t count = 0;
  const auto watch = [&](int fd) {
    if (fd >= 0) fds[count++] = {.fd = fd, .events = POLLIN, .revents = 0};
  };
  bool may_sleep = true;
  if (gateway_) {
    for (Mailbox* mailbox : gateway_->main_mailboxes()) {
      may_sleep = mailbox->prepare_to_wait() && may_sleep;
      watch(mailbox->wait_fd());
    }
    for (const int fd : gateway_->wait_fds()) watch(fd);
    may_sleep = gateway_->ike_link().prepare_to_wait() && may_sleep;
    watch(gateway_->ike_link().wait_fd());
  }
  if (channel_ && !channel_->broken()) {
    may_sleep = channel_->prepare_to_wait() && may_sleep;
    watch(channel_->wait_fd());
  }
  for (const int fd : endpoint_.wait_fds()) watch(fd);
  ::poll(fds.data(), count, may_sleep ? kSleepMs : 0);
  if (gateway_)
    for (Mailbox* mailbox : gateway_->main_mailboxes()) mailbox->awake();
}

// Returns whether there was something to do.
bool MainLcore::serve_channel() {
  if (channel_->broken()) {
    spdlog::error("subsystem=ring espalierd wrote nonsense into the ring; waiting for a new one");
    gateway_->main_statistics().refused_messages.add(1);
    channel_.reset();
    return true;
  }
  while (outbox_sent_ < outbox_.size() && channel_->send(outbox_[outbox_sent_])) ++outbox_sent_;
  if (outbox_sent_ < outbox_.size()) return false;  // espalierd has to read first
  outbox_.clear();
  outbox_sent_ = 0;
  for (const message::Slot& event : gateway_->take_events()) send(event);
  message::Slot slot;
  const crypto::WipeAtExit wipe(slot);
  int taken = 0;
  while (taken < kMessagesPerRound && outbox_.empty() && channel_->receive(slot)) {
    take(slot);
    ++taken;
  }
  return taken != 0;
}

void MainLcore::take(const message::Slot& slot) {
  auto decoded = message::decode_from_daemon(slot);
  if (!decoded) {
    gateway_->main_statistics().refused_messages.add(1);
    spdlog::warn("subsystem=ring a message was refused: {}", decoded.error());
    return acknowledge(slot.header, fail("a message was refused: {}", decoded.error()));
  }
  if (const auto* begin = std::get_if<message::ConfigBegin>(&*decoded))
    transaction_.begin(*begin, slot.header.generation);
  else if (const auto* end = std::get_if<message::ConfigCommit>(&*decoded))
    commit(*end, slot.header);
  else if (std::holds_alternative<message::ConfigAbort>(*decoded))
    transaction_.abort();
  else if (const auto* query = std::get_if<message::Query>(&*decoded))
    answer_query(*query, slot.header);
  else if (const auto* question = std::get_if<message::Explain>(&*decoded))
    answer_explain(*question, slot.header);
  else if (const auto* filter = std::get_if<message::TapFilter>(&*decoded))
    tap_request_.add(*filter, slot.header.request_id);
  else if (const auto* start = std::get_if<message::TapStart>(&*decoded))
    start_tap(*start, slot.header);
  else if (const auto* read = std::get_if<message::TapRead>(&*decoded))
    answer_read(*read, slot.header);
  else if (const auto* stop = std::get_if<message::TapStop>(&*decoded))
    stop_tap(*stop, slot.header);
  else if (!transaction_.add(*decoded))
    gateway_->main_statistics().refused_messages.add(1);
  if (auto* sa = std::get_if<message::Sa>(&*decoded)) crypto::wipe(*sa);
}

void MainLcore::commit(const message::ConfigCommit& commit, const message::Header& header) {
  const auto done = [&]() -> Result<void> {
    return gateway_->apply(TRY(transaction_.commit(commit)), transaction_.generation());
  }();
  if (done)
    spdlog::info("subsystem=cfg generation={} runs", header.generation);
  else
    spdlog::error("subsystem=cfg generation={} was refused: {}", header.generation, done.error().text);
  acknowledge(header, done);
}

template <class Row>
void MainLcore::send_rows(std::span<const Row> rows, const message::Header& header) {
  for (const Row& row : rows) send(message::make(row, header.request_id, header.generation));
}

void MainLcore::answer_query(const message::Query& query, const message::Header& header) {
  uint64_t cursor = query.cursor;
  const uint32_t limit = std::min(query.limit, kRowsPerQuery);
  if (query.count_only) {
    const uint64_t count = gateway_->count_sessions(cursor, query.filter);
    return acknowledge(header, {}, cursor, count);
  }
  if (query.kind == message::QueryKind::kSessions) {
    std::array<message::SessionRow, kRowsPerQuery> rows;
    send_rows(std::span<const message::SessionRow>(
                  rows.data(), gateway_->session_rows(cursor, {rows.data(), limit}, query.filter)),
              header);
  } else if (query.kind == message::QueryKind::kNeighbors) {
    std::array<message::NeighborRow, kRowsPerQuery> rows;
    send_rows(std::span<const message::NeighborRow>(rows.data(),
                                                    gateway_->neighbor_rows(cursor, {rows.data(), limit})),
              header);
  } else if (query.kind == message::QueryKind::kRoutes) {
    const auto rows = gateway_->route_rows(cursor, limit);
    send_rows(std::span<const message::RouteRow>(rows), header);
  } else {
    const auto rows = gateway_->interface_rows(cursor, limit);
    send_rows(std::span<const message::InterfaceRow>(rows), header);
  }
  acknowledge(header, {}, cursor);
}

void MainLcore::answer_explain(const message::Explain& question, const message::Header& header) {
  const auto lines = gateway_->explain(question);
  if (lines) send_rows(std::span<const message::TextRow>(*lines), header);
  acknowledge(header, lines ? Result<void>{} : std::unexpected(lines.error()));
}

void MainLcore::start_tap(const message::TapStart& start, const message::Header& header) {
  const auto id = [&]() -> Result<uint64_t> {
    return gateway_->start_tap(TRY(tap_request_.finish(start, header.request_id)));
  }();
  acknowledge(header, id ? Result<void>{} : std::unexpected(id.error()), id.value_or(0));
}

// A packet and its bytes; returns how many messages they are.
uint32_t MainLcore::send_captured(std::span<const uint8_t> record, const message::Header& header) {
  message::TapPacket packet;
  std::memcpy(&packet, record.data(), sizeof packet);
  send(message::make(packet, header.request_id, header.generation));
  uint32_t messages = 1;
  for (auto left = record.subspan(sizeof packet); !left.empty(); ++messages) {
    message::TapData piece;
    piece.bytes = static_cast<uint16_t>(std::min<size_t>(left.size(), message::TapData::kMost));
    std::memcpy(piece.data, left.data(), piece.bytes);
    send(message::make(piece, header.request_id, header.generation));
    left = left.subspan(piece.bytes);
  }
  return messages;
}

void MainLcore::answer_read(const message::TapRead& read, const message::Header& header) {
  PacketTap* tap = gateway_->find_tap(read.id);
  if (!tap) return acknowledge(header, fail("it has ended: nobody read it, or the dataplane was restarted"));
  uint32_t messages = 0;
  std::span<const uint8_t> record;
  while (!(record = tap->front()).empty() && messages < kMessagesPerRead) {
    messages += send_captured(record, header);
    tap->pop();
  }
  acknowledge(header, {}, record.empty() ? 0 : 1, tap->lost());
}

void MainLcore::stop_tap(const message::TapStop& stop, const message::Header& header) {
  if (gateway_->end_tap(stop.id)) return acknowledge(header, {});
  acknowledge(header, fail("it has ended already"));
}

void MainLcore::acknowledge(const message::Header& header, const Result<void>& result, uint64_t cursor,
                            uint64_t count) {
  message::Ack ack;
  ack.ok = result.has_value();
  ack.cursor = cursor;
  ack.count = count;
  if (!result) ack.text.assign(std::string_view(result.error().text).substr(0, 239));
  send(message::make(ack, header.request_id, header.generation));
}

void MainLcore::send(const message::Slot& slot) {
  if (outbox_.empty() && channel_->send(slot)) return;
  outbox_.push_back(slot);
}

}  // namespace espalier::dataplane
