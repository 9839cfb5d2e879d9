#include "control/daemon/dataplane_link.hpp"

#include <algorithm>
#include <random>

#include "control/daemon/dataplane_events.hpp"
#include "control/daemon/log.hpp"

namespace espalier::daemon {
namespace {

constexpr milliseconds kRetryWhenFull{1};
constexpr milliseconds kPatienceCheck{500};
constexpr size_t kSlotsPerTurn = 512;  // so that a babbling dataplane cannot keep the loop for itself
constexpr size_t kMaxRows = 8192;      // of one answer; queries ask for fewer

}  // namespace

// Request ids start at random, so that a late answer to an earlier espalierd's request fits none of ours.
DataplaneLink::DataplaneLink(EventLoop& loop, OnEvent on_event, std::function<void()> on_broken)
    : loop_(loop),
      on_event_(std::move(on_event)),
      on_broken_(std::move(on_broken)),
      last_id_(uint64_t{std::random_device{}()} << 32) {
  give_up_impatient();
}

DataplaneLink::~DataplaneLink() {
  detach();
  loop_.cancel(patience_timer_);
}

uint64_t DataplaneLink::request(Source source, milliseconds patience, Done done) {
  requests_.push_back({++last_id_, std::move(source), patience, std::move(done)});
  pump_later(milliseconds(0));
  return last_id_;
}

void DataplaneLink::cancel(uint64_t request) {
  std::erase_if(requests_, [request](const Request& r) { return r.id == request; });
}

Result<void> DataplaneLink::attach(Channel channel) {
  detach();
  TRY(loop_.watch(channel.wait_fd(), [this](uint32_t) { pump(); }));
  channel_ = std::move(channel);
  for (Request& request : requests_) {
    request.answer.rows.clear();
    request.position = 0;
    request.sent = false;
  }
  pump_later(milliseconds(0));
  return {};
}

void DataplaneLink::detach() {
  if (channel_) loop_.forget(channel_->wait_fd());
  channel_.reset();
  loop_.cancel(pump_timer_);
  pump_timer_ = 0;
}

void DataplaneLink::pump_later(milliseconds delay) {
  if (!channel_ || pump_timer_ != 0) return;
  pump_timer_ = loop_.after(delay, [this] {
    pump_timer_ = 0;
    pump();
  });
}

void DataplaneLink::pump() {
  if (!channel_) return;
  const bool more_to_receive = receive_some();
  if (!channel_) return;  // a callback replaced it
  const bool all_sent = send_all();
  if (channel_->broken()) {
    log::ring().error("the dataplane wrote nonsense into the ring; replacing the channel");
    detach();
    return on_broken_();
  }
  // Nobody tells us when a full ring has room again.
  if (more_to_receive || !channel_->prepare_to_wait()) return pump_later(milliseconds(0));
  if (!all_sent) pump_later(kRetryWhenFull);
}

bool DataplaneLink::send_all() {
  return std::all_of(requests_.begin(), requests_.end(), [this](Request& r) { return r.sent || send(r); });
}

// False when the ring is full.
bool DataplaneLink::send(Request& request) {
  while (auto slot = request.source(request.position, request.id)) {
    const bool done = channel_->send(*slot);
    ::explicit_bzero(&*slot, sizeof *slot);
    if (!done) return false;
    ++request.position;
    request.last_progress = Clock::now();
  }
  request.sent = true;
  return true;
}

// True when there may be more.
bool DataplaneLink::receive_some() {
  message::Slot slot;
  for (size_t i = 0; i < kSlotsPerTurn; ++i) {
    if (!channel_ || !channel_->receive(slot)) return false;
    take(slot);
  }
  return true;
}

void DataplaneLink::take(const message::Slot& slot) {
  auto decoded = message::decode_from_dataplane(slot);
  if (decoded && slot.header.request_id == 0 && DataplaneEvents::is_event(*decoded))
    return on_event_(*decoded);
  const auto found = std::find_if(requests_.begin(), requests_.end(),
                                  [&slot](const Request& r) { return r.id == slot.header.request_id; });
  if (!decoded || found == requests_.end()) {
    ++refused_;
    log::ring().warn("refused a message from the dataplane: {}",
                     decoded ? "no such request" : decoded.error());
    return;
  }
  found->last_progress = Clock::now();
  if (const auto* ack = std::get_if<message::Ack>(&*decoded)) {
    found->answer.ack = *ack;
    finish(found->id, std::nullopt);
  } else {
    take_row(*found, std::move(*decoded));
  }
}

void DataplaneLink::take_row(Request& request, message::FromDataplane row) {
  if (request.answer.rows.size() < kMaxRows)
    request.answer.rows.push_back(std::move(row));
  else
    ++refused_;
}

void DataplaneLink::finish(uint64_t id, std::optional<Error> error) {
  const auto found =
      std::find_if(requests_.begin(), requests_.end(), [id](const Request& r) { return r.id == id; });
  if (found == requests_.end()) return;
  Request request = std::move(*found);
  requests_.erase(found);  // before the callback, which may make new requests
  if (error)
    request.done(std::unexpected(std::move(*error)));
  else
    request.done(std::move(request.answer));
}

void DataplaneLink::give_up_impatient() {
  std::vector<uint64_t> late;
  for (const Request& r : requests_)
    if (Clock::now() - r.last_progress > r.patience) late.push_back(r.id);
  for (const uint64_t id : late)
    finish(id,
           Error{attached() ? "the dataplane does not answer" : "the dataplane is not running; see the log"});
  patience_timer_ = loop_.after(kPatienceCheck, [this] { give_up_impatient(); });
}

}  // namespace espalier::daemon
