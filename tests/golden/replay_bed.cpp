#include "tests/golden/replay_bed.hpp"

#include <algorithm>

namespace espalier::test {

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
  for (const Datagram& each : step.expected.to_host)
    to_host_.push_back(
        udp(fmt::format("{}:{}", each.peer, each.peer_port), fmt::format("0.0.0.0:{}", each.port))
            .payload(each.data)
            .bytes());
}

std::vector<Bytes> ReplayBed::take_sent(std::string_view interface) {
  const auto found = sent_.find(interface);
  return found == sent_.end() ? std::vector<Bytes>{} : std::exchange(found->second, {});
}

}  // namespace espalier::test
