#include "tests/exchange/wire.hpp"

#include <fmt/format.h>

#include <stdexcept>

#include "tests/exchange/seeded_openssl.hpp"

namespace espalier::ike::exchange {

Side::Side(Net& net, std::string name_in, uint64_t seed)
    : name(std::move(name_in)), net_(net), random_(seed) {
  options.random = [this] { return random_(); };
  options.wall_clock = [] { return std::chrono::system_clock::now(); };
  core_ = std::make_unique<Core>(options);
}

void Side::configure(Configuration configuration) {
  core_->configure(std::move(configuration), net_.now);
  work();
}

Result<void> Side::command(const Command& command) {
  auto done = core_->command(command, net_.now);
  work();
  return done;
}

void Side::event(const Event& event) {
  core_->event(event, net_.now);
  work();
}

void Side::receive(const Endpoint& local, const Endpoint& remote, ByteView bytes) {
  core_->receive(local, remote, bytes, net_.now);
  work();
}

void Side::tick() {
  core_->tick(net_.now);
  work();
}

void Side::shut_down() {
  core_->shut_down(net_.now);
  work();
}

// What the shell does: the state of before is adopted, and the dataplane gets all SAs again between IkeBegin
// and IkeCommit, which removes what is not named.
void Side::restart() {
  note("restarted");
  died_ = false;
  die_after_.reset();
  answers_.clear();
  core_ = std::make_unique<Core>(options);
  core_->configure(make_configuration(), net_.now);
  std::vector<SavedState> states;
  for (const auto& [id, bytes] : states_) states.push_back({id, crypto::Secret(ByteView(bytes))});
  core_->adopt(std::move(states), net_.now);
  const auto before = std::exchange(sas_, {});
  core_->event(DataplaneReady{}, net_.now);
  work();
}

void Side::work() {
  for (;;) {
    auto outputs = core_->take_outputs();
    take_log();
    if (outputs.empty() && answers_.empty()) return;
    for (Output& output : outputs) {
      if (died_) return;
      if (die_after_ && (*die_after_)-- == 0) {
        died_ = true;
        note(fmt::format("died before output {} of kind {}", outputs_done, output.index()));
        return;
      }
      ++outputs_done;
      perform(output);
    }
    while (!answers_.empty() && !died_) {
      const Event event = std::move(answers_.front());
      answers_.pop_front();
      core_->event(event, net_.now);
    }
  }
}

void Side::perform(Output& output) {
  std::visit([this](auto& each) { perform_one(each); }, output);
}

void Side::perform_one(SendDatagram& output) {
  net_.send(*this, {output.local, output.remote, std::move(output.bytes)});
}

void Side::perform_one(InstallSa& output) {
  const SaRecord& record = output.record;
  auto& installed = sas_[{record.direction, record.spi.value, record.destination}];
  const bool known = installed.order != 0;
  installed.record = record;
  if (!known) installed.order = ++order_;
}

void Side::perform_one(RemoveSa& output) {
  sas_.erase({output.direction, output.spi.value, output.destination});
}

void Side::perform_one(MoveSa& output) {
  auto moved = sas_.extract({output.direction, output.spi.value, output.old_destination});
  if (moved.empty()) return;
  SaRecord& record = moved.mapped().record;
  record.source = output.source;
  record.destination = output.destination;
  record.encap_source_port = output.encap_source_port;
  record.encap_destination_port = output.encap_destination_port;
  moved.key() = {output.direction, output.spi.value, output.destination};
  sas_.insert(std::move(moved));
}

void Side::perform_one(AskSaUse& output) {
  answers_.push_back(use ? use(output.spi) : SaUse{.spi = output.spi, .packets = 0, .bytes = 0, .idle = {}});
}

void Side::perform_one(Resolve& output) {
  if (resolve) answers_.push_back(resolve(output));
}

void Side::perform_one(SaveStates& output) {
  for (const SavedState& each : output.states) {
    const ByteView bytes = each.state.view();
    states_[each.id].assign(bytes.begin(), bytes.end());
  }
  for (const uint64_t id : output.forgotten) states_.erase(id);
}

int64_t Side::milliseconds_now() const {
  return std::chrono::duration_cast<milliseconds>(net_.now - Time{std::chrono::hours{1000}}).count();
}

void Side::note(std::string text) {
  log_.push_back(
      {LogLevel::kInfo, Subsystem::kIke, "", "", fmt::format("{} ms: {}", milliseconds_now(), text)});
}

void Side::take_log() {
  for (LogLine& line : core_->take_log()) {
    line.text = fmt::format("{} ms: {}", milliseconds_now(), line.text);
    log_.push_back(std::move(line));
  }
}

std::string Side::log_text() const {
  std::string text;
  for (const LogLine& line : log_)
    text += fmt::format("  {} {}/{}: {}\n", name, line.connection, line.child, line.text);
  return text;
}

bool Side::logged(std::string_view part) const {
  return std::ranges::any_of(log_,
                             [&](const LogLine& line) { return line.text.find(part) != line.text.npos; });
}

std::vector<const Installed*> Side::outbound(Reqid reqid) const {
  std::vector<const Installed*> found;
  for (const auto& [key, installed] : sas_)
    if (installed.record.direction == Direction::kOut && installed.record.reqid == reqid)
      found.push_back(&installed);
  std::ranges::sort(found, [](const auto* a, const auto* b) { return a->order > b->order; });
  return found;
}

std::vector<IkeSaReport> Side::established() const {
  auto reports = core_->ike_sas(net_.now);
  std::erase_if(reports, [](const IkeSaReport& report) {
    return report.state != IkeState::kEstablished && report.state != IkeState::kRekeying;
  });
  return reports;
}

std::vector<ChildReport> Side::live_children() const {
  std::vector<ChildReport> found;
  for (const IkeSaReport& report : core_->ike_sas(net_.now))
    for (const ChildReport& child : report.children)
      if (child.state == ChildState::kInstalled || child.state == ChildState::kRekeying)
        found.push_back(child);
  return found;
}

// --- The network ---

Net::Net(uint64_t seed) : random_(seed) {
  seed_openssl(seed);
}

Net::~Net() {
  unseed_openssl();
}

Side& Net::add(const std::string& name) {
  return *sides_.emplace_back(std::make_unique<Side>(*this, name, random_()));
}

Side* Net::owner(const Endpoint& endpoint) {
  const auto found = owners_.find(endpoint.address);
  return found == owners_.end() ? nullptr : found->second;
}

void Net::send(Side& from, const Datagram& datagram) {
  sent.push_back(datagram);
  Datagram copy = datagram;
  if (filter && !filter(from, copy)) return;
  if (chance() < conditions.loss) return;
  if (chance() < conditions.corrupt && !copy.bytes.empty())
    copy.bytes[random_() % copy.bytes.size()] ^= static_cast<uint8_t>(1 + random_() % 255);
  const int copies = chance() < conditions.duplicate ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    const milliseconds jitter{conditions.jitter.count() == 0
                                  ? 0
                                  : static_cast<int64_t>(random_() % (conditions.jitter.count() + 1))};
    in_flight_.emplace(now + conditions.delay + jitter, copy);
  }
}

// The next datagram or deadline before `limit`; false: there is none.
bool Net::step(Time limit) {
  Time next = in_flight_.empty() ? Time::max() : in_flight_.begin()->first;
  for (const auto& side : sides_)
    if (!side->died()) next = std::min(next, side->core().next_deadline());
  if (next > limit) return false;
  if (next > now) still_ = 0;
  if (++still_ > 100000) throw std::runtime_error("a core's deadline does not pass");
  now = std::max(now, next);
  if (!in_flight_.empty() && in_flight_.begin()->first <= now) {
    Datagram datagram = std::move(in_flight_.extract(in_flight_.begin()).mapped());
    if (translate) translate(datagram);
    Side* side = owner(datagram.to);
    if (side && !side->died()) side->receive(datagram.to, datagram.from, datagram.bytes);
  }
  for (const auto& side : sides_)
    if (!side->died() && side->core().next_deadline() <= now) side->tick();
  if (after_each) after_each();
  return true;
}

void Net::run(milliseconds duration) {
  const Time end = now + duration;
  while (step(end)) {
  }
  now = end;
}

bool Net::run_until(const std::function<bool()>& done, milliseconds limit) {
  const Time end = now + limit;
  while (!done()) {
    if (!step(end)) {
      now = end;
      return done();
    }
  }
  return true;
}

}  // namespace espalier::ike::exchange
