#include "control/daemon/supervisor.hpp"

namespace espalier::daemon {
namespace {

constexpr milliseconds kAfterBrokenRing{100};
constexpr uint32_t kChannelSlots = 1024;

}  // namespace

Supervisor::Supervisor(EventLoop& loop, Directories directories, Events events)
    : loop_(loop),
      directories_(std::move(directories)),
      events_(std::move(events)),
      keeper_(loop, {"the dataplane", "dataplane", directories_.runtime}, *this),
      link_(loop, events_.on_event, [this] { keeper_.connection_lost(kAfterBrokenRing); }) {}

Supervisor::~Supervisor() {
  disconnect();
}

Result<void> Supervisor::prepare() {
  if (memory_) return {};
  memory_ = TRY(SharedMemory::create(directories_.runtime, directories_.state));
  return {};
}

Result<std::optional<pid_t>> Supervisor::connect() {
  auto connection = TRY(handover::DaemonConnection::connect(directories_.runtime));
  if (!connection) return std::nullopt;
  TRY(loop_.watch(connection->socket().get(), [this](uint32_t) { on_connection_readable(); }));
  connection_ = std::move(*connection);
  greeted_ = false;
  return connection_->dataplane_pid();
}

void Supervisor::disconnect() {
  link_.detach();
  if (connection_) loop_.forget(connection_->socket().get());
  connection_.reset();
}

void Supervisor::on_connection_readable() {
  if (greeted_) return keeper_.connection_lost();
  auto offer = connection_->receive_hello();
  if (offer && !*offer) return;
  auto done = offer ? hand_over(std::move(**offer)) : Result<void>(std::unexpected(offer.error()));
  if (!done) keeper_.give_up(done.error());
}

Result<void> Supervisor::hand_over(handover::DaemonConnection::Offer offer) {
  const auto layouts = SharedMemory::layouts();
  if (offer.hello.layouts != layouts)
    return fail("{}", handover::describe_difference(layouts, offer.hello.layouts));
  const bool has_segments = offer.segments.has_value();
  TRY(take_memory(std::move(offer.segments)));
  auto channel = TRY(Channel::create(kChannelSlots));
  const auto descriptors = memory_->descriptors();
  TRY(connection_->send_welcome(layouts, has_segments ? nullptr : &descriptors, channel));
  TRY(link_.attach(std::move(channel)));
  greeted_ = true;
  adopted_generation_ = std::max(adopted_generation_, offer.hello.generation);
  heartbeat_.start(memory_->statistics(), Clock::now());
  keeper_.greeted(fmt::format(", configuration {}", offer.hello.generation));
  if (keeper_.running()) events_.on_connected();
  return {};
}

Result<void> Supervisor::take_memory(std::optional<handover::SegmentFds> theirs) {
  if (!theirs) return prepare();
  if (memory_ && memory_->is_same(*theirs)) return {};
  if (memory_) return fail("it has other shared memory than we have");
  memory_ = TRY(SharedMemory::attach(std::move(*theirs)));
  return {};
}

Result<bool> Supervisor::pass_on(const Channel& ike_channel) {
  if (!ready() || !connection_) return false;
  TRY(connection_->send_ike_channel(ike_channel));
  return true;
}

std::optional<std::string> Supervisor::find_hung() {
  const auto thread = heartbeat_.find_hung(memory_->statistics(), Clock::now());
  if (!thread) return std::nullopt;
  return fmt::format("{} has not moved for {} s", *thread, HeartbeatWatch::kLimit.count());
}

}  // namespace espalier::daemon
