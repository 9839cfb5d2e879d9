#include "tests/golden/replay_bed.hpp"

#include <arpa/inet.h>

#include <algorithm>

#include "tests/support/ip_view.hpp"
#include "tests/support/packet_builder.hpp"

namespace espalier::test {
namespace {

// An IPv6 packet with a UDP datagram, which nobody verifies.
Bytes packet_of_ipv6(const Datagram& datagram) {
  Bytes packet(kIpv6HeaderBytes, 0);
  packet[0] = 0x60;
  put16(packet, 4, static_cast<uint16_t>(8 + datagram.data.size()));
  packet[6] = kProtoUdp;
  if (::inet_pton(AF_INET6, datagram.peer.c_str(), &packet[8]) != 1)
    throw std::invalid_argument(datagram.peer);
  append16(packet, datagram.peer_port);
  append16(packet, datagram.port);
  append16(packet, static_cast<uint16_t>(8 + datagram.data.size()));
  append16(packet, 0);
  append(packet, datagram.data);
  return packet;
}

Bytes packet_of(const Datagram& datagram) {
  if (datagram.peer.contains(':')) return packet_of_ipv6(datagram);
  return udp(fmt::format("{}:{}", datagram.peer, datagram.peer_port),
             fmt::format("0.0.0.0:{}", datagram.port))
      .payload(datagram.data)
      .bytes();
}

}  // namespace

NamedCounts expected_drops(const Step& step) {
  NamedCounts drops;
  for (const ExpectedDrop& each : step.expected.drops) drops[each.any_of.front()] += each.count.value_or(1);
  return drops;
}

void ReplayBed::skip_unplayed() {
  while (next_ < scenario_.steps.size() && scenario_.steps[next_].skip) ++next_;
}

void ReplayBed::take(bool from_where_the_step_says, ByteView packet, const Bytes& renamed) {
  const bool right = from_where_the_step_says && renamed == copy(packet);
  bool& all_right = input_was_right_.try_emplace(next_, true).first->second;
  all_right = all_right && right;
  pending_.push_back(copy(packet));
}

void ReplayBed::inject(std::string_view interface, uint16_t, ByteView frame) {
  const Step& step = scenario_.steps.at(next_);
  const size_t index = pending_.size();
  const bool known = interface == step.interface && index < step.input.size();
  take(known, frame, known ? rewrite_frame(step.input[index], scenario_.keys, rename_) : Bytes{});
}

void ReplayBed::inject_from_host(ByteView packet) {
  const Step& step = scenario_.steps.at(next_);
  take(step.is_local(), packet, step.input.front());
}

bool ReplayBed::input_was_right() const {
  return std::all_of(input_was_right_.begin(), input_was_right_.end(),
                     [](const auto& step) { return step.second; });
}

void ReplayBed::restore_sa_state(const Bytes& state) {
  next_ = state.at(0);
  input_was_right_.erase(next_);
}

void ReplayBed::run_until_idle() {
  if (next_ == scenario_.steps.size() || pending_.size() < scenario_.steps[next_].input.size()) return;
  pending_.clear();
  answer(scenario_.steps[next_++]);
  skip_unplayed();
}

void ReplayBed::answer(const Step& step) {
  FramesByInterface output = step.expected.output;
  NamedCounts drops = expected_drops(step);
  if (spoil_) spoil_(step, output, drops);
  for (const auto& [interface, frames] : output)
    for (const Bytes& frame : frames)
      sent_[interface].push_back(rewrite_frame(frame, scenario_.keys, rename_));
  for (const DropReasonInfo& each : kDropReasonTable)
    if (const auto found = drops.find(each.name); found != drops.end())
      drops_[static_cast<size_t>(each.reason)] += found->second;
  for (const Datagram& each : step.expected.to_host) to_host_.push_back(packet_of(each));
}

std::vector<Bytes> ReplayBed::take_sent(std::string_view interface) {
  const auto found = sent_.find(interface);
  return found == sent_.end() ? std::vector<Bytes>{} : std::exchange(found->second, {});
}

}  // namespace espalier::test
