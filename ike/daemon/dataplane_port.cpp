#include "ike/daemon/dataplane_port.hpp"

#include <algorithm>

namespace espalier::ike {
namespace {

constexpr milliseconds kRetryWhenFull{1};
constexpr size_t kSlotsPerTurn = 512;  // so that a flood of datagrams does not keep timers waiting

Endpoint local_of(const message::IkeDatagram& part) {
  return {part.local, part.local_port};
}
Endpoint remote_of(const message::IkeDatagram& part) {
  return {part.remote, part.remote_port};
}

}  // namespace

DataplanePort::DataplanePort(EventLoop& loop, Events events, Limits limits)
    : loop_(loop), events_(std::move(events)), limits_(limits) {}

DataplanePort::~DataplanePort() {
  detach();
  clear_queue();
}

Result<void> DataplanePort::attach(Channel channel) {
  detach();
  TRY(loop_.watch(channel.wait_fd(), [this](uint32_t) { pump(); }));
  channel_ = std::move(channel);
  last_id_before_ = last_id_;
  pump_later(milliseconds(0));
  return {};
}

void DataplanePort::detach() {
  if (channel_) loop_.forget(channel_->wait_fd());
  channel_.reset();
  clear_queue();
  assembly_ = {};
  std::erase_if(requests_, [](const auto& entry) {
    return std::holds_alternative<Installing>(entry.second) || std::holds_alternative<Told>(entry.second);
  });
  loop_.cancel(pump_timer_);
  pump_timer_ = 0;
}

void DataplanePort::clear_queue() {
  for (message::Slot& slot : queue_) ::explicit_bzero(&slot, sizeof slot);
  queue_.clear();
}

// Sending.

template <class Payload>
void DataplanePort::enqueue(const Payload& payload, uint64_t id) {
  message::Slot slot = message::make(payload, id, 0);
  queue_.push_back(slot);
  ::explicit_bzero(&slot, sizeof slot);
  pump_later(milliseconds(0));
}

template <class Payload>
void DataplanePort::request(const Payload& payload, Request kept) {
  const uint64_t id = ++last_id_;
  requests_.emplace(id, std::move(kept));
  if (!channel_) return;
  if (queue_.size() < limits_.messages) return enqueue(payload, id);
  break_off(fmt::format("the dataplane does not take messages: {} wait", queue_.size()));
}

void DataplanePort::begin() {
  named_ = 0;
  request(message::IkeBegin{}, Told{});
}

// Whoever asked before has got no answer.
void DataplanePort::commit() {
  request(message::IkeCommit{named_}, Told{});
  ask_again();
}

void DataplanePort::ask_again() {
  for (const auto& [id, request] : requests_) {
    if (id > last_id_before_) continue;
    if (const auto* use = std::get_if<AskedUse>(&request)) enqueue(message::IkeSaAsk{use->spi}, id);
    if (const auto* way = std::get_if<AskedWay>(&request)) enqueue(message::IkeWay{way->remote}, id);
  }
}

void DataplanePort::send(const SendDatagram& datagram) {
  constexpr size_t kPart = message::IkeDatagram::kPartBytes;
  const size_t total = datagram.bytes.size();
  const size_t parts = (total + kPart - 1) / kPart;
  if (!channel_ || total == 0 || total > message::IkeDatagram::kMostBytes ||
      queue_.size() + parts > limits_.datagram_parts) {
    ++counters_.datagrams_lost;
    return;
  }
  message::IkeSend message;
  message.part.local = datagram.local.address, message.part.local_port = datagram.local.port;
  message.part.remote = datagram.remote.address, message.part.remote_port = datagram.remote.port;
  message.part.total_bytes = static_cast<uint32_t>(total);
  for (size_t offset = 0; offset < total; offset += kPart) {
    const size_t bytes = std::min(kPart, total - offset);
    message.part.offset = static_cast<uint32_t>(offset);
    message.part.part_bytes = static_cast<uint16_t>(bytes);
    std::fill(std::copy_n(datagram.bytes.data() + offset, bytes, message.part.bytes),
              std::end(message.part.bytes), uint8_t{0});
    enqueue(message, 0);
  }
}

void DataplanePort::install(InstallSa& install) {
  SaRecord& record = install.record;
  message::IkeSa message{record};
  ++named_;
  if (channel_)
    request(message,
            Installing{record.spi, record.direction, record.destination, std::string(record.name.view())});
  ::explicit_bzero(&message, sizeof message);
  ::explicit_bzero(&record, sizeof record);
}

void DataplanePort::remove(const RemoveSa& remove) {
  message::IkeSaRemove message;
  message.spi = remove.spi;
  message.direction = remove.direction;
  message.destination = remove.destination;
  if (channel_) request(message, Told{});
}

void DataplanePort::move(const MoveSa& move) {
  message::IkeSaMove message;
  message.spi = move.spi;
  message.direction = move.direction;
  message.new_source = move.source, message.new_source_port = move.encap_source_port;
  message.destination = move.old_destination, message.new_destination = move.destination;
  message.new_destination_port = move.encap_destination_port;
  if (channel_) request(message, Told{});
}

void DataplanePort::ask_use(Spi spi) {
  if (channel_ && requests_.size() < limits_.messages) request(message::IkeSaAsk{spi}, AskedUse{spi});
}

void DataplanePort::ask_way(IpAddress remote, OnWay on_way) {
  if (requests_.size() >= limits_.messages) return on_way(IpAddress{});
  request(message::IkeWay{remote}, AskedWay{remote, std::move(on_way)});
}

// The rings.

void DataplanePort::pump_later(milliseconds delay) {
  if (!channel_ || pump_timer_ != 0) return;
  pump_timer_ = loop_.after(delay, [this] {
    pump_timer_ = 0;
    pump();
  });
}

void DataplanePort::pump() {
  const bool more_to_receive = receive_some();
  if (!channel_) return;  // a callback detached it
  const bool all_sent = send_queue();
  if (channel_->broken()) return break_off("the dataplane gave the ring up, or wrote nonsense into it");
  // Nobody tells us when a full ring has room again.
  if (more_to_receive || !channel_->prepare_to_wait()) return pump_later(milliseconds(0));
  if (!all_sent) pump_later(kRetryWhenFull);
}

bool DataplanePort::send_queue() {
  while (!queue_.empty()) {
    if (!channel_->send(queue_.front())) return false;
    ::explicit_bzero(&queue_.front(), sizeof(message::Slot));
    queue_.pop_front();
  }
  return true;
}

bool DataplanePort::receive_some() {
  message::Slot slot;
  for (size_t i = 0; i < kSlotsPerTurn; ++i) {
    if (!channel_ || !channel_->receive(slot)) return false;
    take(slot);
  }
  return true;
}

void DataplanePort::break_off(const std::string& why) {
  events_.on_trouble(why);
  detach();
  events_.on_broken();
}

// What arrives.

void DataplanePort::take(const message::Slot& slot) {
  const auto decoded = message::decode_for_ike(slot);
  if (!decoded) {
    ++counters_.messages_refused;
    return events_.on_trouble(fmt::format("refused a message of the dataplane: {}", decoded.error()));
  }
  if (const auto* part = std::get_if<message::IkeReceived>(&*decoded)) return take(*part);
  if (slot.header.request_id != 0) return answer(slot.header.request_id, *decoded);
  if (const auto event = event_of(*decoded))
    events_.on_event(*event);
  else
    ++counters_.messages_refused;
}

// Parts come in order and unmixed; whatever does not go on where the last ended begins anew or is lost.
void DataplanePort::take(const message::IkeReceived& received) {
  const message::IkeDatagram& part = received.part;
  if (part.offset == 0) assembly_ = {local_of(part), remote_of(part), {}, part.total_bytes};
  const bool fits = part.offset == assembly_.bytes.size() && part.total_bytes == assembly_.total &&
                    local_of(part) == assembly_.local && remote_of(part) == assembly_.remote &&
                    assembly_.bytes.size() + part.part_bytes <= assembly_.total;
  if (!fits || part.part_bytes == 0) {
    ++counters_.parts_refused;
    assembly_ = {};
    return;
  }
  assembly_.bytes.insert(assembly_.bytes.end(), part.bytes, part.bytes + part.part_bytes);
  if (assembly_.bytes.size() < assembly_.total) return;
  const Assembly whole = std::exchange(assembly_, {});
  events_.on_datagram(whole.local, whole.remote, whole.bytes);
}

std::optional<Event> DataplanePort::event_of(const message::ForIke& message) const {
  if (const auto* acquire = std::get_if<message::IkeAcquire>(&message))
    return Acquire{acquire->reqid, acquire->tuple};
  if (const auto* expire = std::get_if<message::IkeExpire>(&message))
    return Expire{expire->spi, expire->direction, expire->hard != 0, expire->destination};
  if (const auto* mapping = std::get_if<message::IkeMapping>(&message))
    return MappingChanged{mapping->spi, {mapping->address, mapping->port}};
  return std::nullopt;
}

void DataplanePort::answer(uint64_t id, const message::ForIke& message) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) {
    ++counters_.messages_refused;
    return;
  }
  const Request request = std::move(found->second);
  requests_.erase(found);
  const auto* ack = std::get_if<message::IkeAck>(&message);
  const auto* use = std::get_if<message::IkeSaUse>(&message);
  const auto* way = std::get_if<message::IkeWayIs>(&message);
  const auto* asked_way = std::get_if<AskedWay>(&request);
  if (ack != nullptr && ack->ok == 0) {
    ++counters_.requests_refused;
    events_.on_trouble(fmt::format("the dataplane refuses: {}", ack->text.view()));
  }
  if (const auto* installing = std::get_if<Installing>(&request); installing != nullptr && ack != nullptr)
    answered(*installing, *ack);
  else if (asked_way != nullptr)
    asked_way->on_way(way != nullptr ? way->local : IpAddress{});
  else if (use != nullptr && std::holds_alternative<AskedUse>(request))
    events_.on_event(SaUse{use->spi, use->packets, use->bytes,
                           use->used != 0 ? std::optional(milliseconds(use->idle_ms)) : std::nullopt});
}

// An SA that the dataplane does not take is as good as one at its end: its child has to be made anew.
void DataplanePort::answered(const Installing& request, const message::IkeAck& ack) {
  if (ack.ok != 0) return;
  events_.on_trouble(fmt::format("SA 0x{:08x} of {} is not installed", request.spi.value, request.name));
  events_.on_event(Expire{request.spi, request.direction, true, request.destination});
}

}  // namespace espalier::ike
