#include "ike/daemon/shell.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ike/daemon/document.hpp"
#include "ike/daemon/json_reader.hpp"
#include "ike/daemon/reports.hpp"

namespace espalier::ike {
namespace {

constexpr milliseconds kBeat{250};
constexpr milliseconds kFarewell{300};  // for the last messages to leave

Json refusal(const Error& error) {
  return {{"ok", false}, {"error", error.text}};
}

// Absent where nothing was left out.
Json taken(const Document& document) {
  Json json{{"ok", true}};
  if (!document.left_out.empty()) json["left_out"] = document.left_out;
  if (!document.keys_left_out.empty()) json["keys_left_out"] = document.keys_left_out;
  return json;
}

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

Shell::Shell(EventLoop& loop, Fd listener, CoreOptions options)
    : loop_(loop),
      listener_(std::move(listener)),
      core_(std::move(options)),
      port_(loop, {[this](const Endpoint& local, const Endpoint& remote, ByteView bytes) {
                     on_datagram(local, remote, bytes);
                   },
                   [this](const Event& event) {
                     core_.event(event, Clock::now());
                     run_outputs();
                   },
                   [this](const std::string& text) { log_.error(Subsystem::kNetwork, "{}", text); },
                   [this] { loop_.after(milliseconds(0), [this] { on_broken_channel(); }); }}),
      names_(
          {[this](uint64_t id, const std::string& name) -> Result<void> {
             if (!espalierd_) return fail("espalierd does not run; it resolves names");
             return espalierd_->send(Letter::write(Letter::Kind::kResolve, id, Json{{"name", name}}.dump()));
           },
           [this](IpAddress remote, auto on_way) { port_.ask_way(remote, std::move(on_way)); },
           [this](const Resolved& resolved) {
             loop_.after(milliseconds(0), [this, resolved] {  // the core is just telling us what it wants
               core_.event(resolved, Clock::now());
               run_outputs();
             });
           }}) {}

Result<std::unique_ptr<Shell>> Shell::create(EventLoop& loop, Fd listener, CoreOptions options) {
  std::unique_ptr<Shell> shell(new Shell(loop, std::move(listener), std::move(options)));
  TRY(loop.watch(shell->listener_.get(), [raw = shell.get()](uint32_t) { raw->on_caller(); }));
  shell->beat();
  return shell;
}

Shell::~Shell() {
  loop_.forget(listener_.get());
  loop_.cancel(tick_timer_);
  loop_.cancel(beat_timer_);
}

void Shell::stop(std::function<void()> done) {
  log_.info(Subsystem::kIke, "stopping");
  core_.shut_down(Clock::now());
  run_outputs();
  loop_.after(kFarewell, std::move(done));
}

void Shell::beat() {
  if (states_) states_->beat();
  beat_timer_ = loop_.after(kBeat, [this] { beat(); });
}

// espalierd.

void Shell::on_caller() {
  Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return;
  if (const auto greeted = greet(std::move(socket)); !greeted)
    log_.error(Subsystem::kConfig, "refused a connection to our socket: {}", greeted.error().text);
}

Result<void> Shell::greet(Fd socket) {
  TRY(authenticate_peer(socket));
  std::vector<Fd> state;
  if (states_) state.push_back(states_->segment().fd().duplicate());
  auto post = std::make_shared<Post*>(nullptr);
  greeted_ = TRY(Post::open(loop_, std::move(socket),
                            {[this, post](Letter letter) { on_letter(*post, std::move(letter)); },
                             [this, post](const Error& why) { on_closed(*post, why); }}));
  *post = greeted_.get();
  return greeted_->send(Letter::write(Letter::Kind::kHello, 0, Json{{"has_state", !state.empty()}}.dump(), {},
                                      std::move(state)));
}

// The newest caller that says Welcome is the one that counts.
void Shell::on_letter(Post* from, Letter letter) {
  if (from == greeted_.get()) {
    if (const auto done = welcome(letter); !done) {
      log_.error(Subsystem::kConfig, "cannot work with this espalierd: {}", done.error().text);
      loop_.after(milliseconds(0), [this, from] {
        if (from == greeted_.get()) greeted_.reset();
      });
    }
    return;
  }
  if (from != espalierd_.get()) return;
  if (const auto done = take(letter); !done)
    log_.error(Subsystem::kConfig, "a letter of espalierd: {}", done.error().text);
}

void Shell::on_closed(const Post* which, const Error& why) {
  if (which == greeted_.get()) return greeted_.reset();
  if (which != espalierd_.get()) return;
  log_.info(Subsystem::kConfig, "espalierd went away: {}", why.text);
  espalierd_.reset();
  names_.fail_all("espalierd went away; it resolves names");
}

Result<void> Shell::welcome(Letter& letter) {
  if (letter.kind() != Letter::Kind::kWelcome) return fail("it does not begin with a welcome");
  if (letter.fds().size() != (states_ ? 0u : 1u))
    return fail("its welcome brings {} segments", letter.fds().size());
  if (!states_) states_.emplace(TRY(ike_state::attach(std::move(letter.fds().front()))));
  names_.fail_all("another espalierd came");
  espalierd_ = std::move(greeted_);
  return {};
}

Result<void> Shell::take(Letter& letter) {
  switch (letter.kind()) {
    case Letter::Kind::kConfigure:
      configure(letter);
      return {};
    case Letter::Kind::kChannel:
      return take_channel(letter);
    case Letter::Kind::kRequest:
      answer(letter.id(), handle_request(letter.text()));
      return {};
    case Letter::Kind::kResolved: {
      const Json json = Json::parse(letter.text(), nullptr, false);
      JsonReader::Shared shared;
      JsonReader reader(json, "", shared);
      const std::string failure = reader.has("failure") ? reader.text("failure") : "";
      const auto addresses = failure.empty() ? reader.addresses("addresses") : std::vector<IpAddress>();
      reader.finish();
      if (shared.error) names_.on_failure(letter.id(), shared.error->text);
      if (failure.empty())
        names_.on_addresses(letter.id(), addresses);
      else
        names_.on_failure(letter.id(), failure);
      return {};
    }
    case Letter::Kind::kHello:
    case Letter::Kind::kWelcome:
    case Letter::Kind::kAnswer:
    case Letter::Kind::kResolve:
    case Letter::Kind::kWantChannel:
      break;
  }
  return fail("kind {} is not for us", static_cast<uint32_t>(letter.kind()));
}

Result<void> Shell::take_channel(Letter& letter) {
  auto& fds = letter.fds();
  if (fds.size() != 3) return fail("a channel of {} descriptors", fds.size());
  auto channel = TRY(Channel::attach_as_creator({std::move(fds[0]), std::move(fds[1]), std::move(fds[2])}));
  if (configured_)
    use_channel(std::move(channel));
  else
    early_channel_ = std::move(channel);
  return {};
}

void Shell::configure(Letter& letter) {
  auto document = parse_document(letter.text(), letter.secrets());
  letter.wipe();
  if (!document) return answer(letter.id(), refusal(document.error()));
  log_.filter().configure(document->log_level, document->log_subsystems);
  names_.allow(document->local_addresses);
  local_addresses_ = std::move(document->local_addresses);
  core_.configure(std::move(document->configuration), Clock::now());
  if (!std::exchange(configured_, true)) adopt_states();
  run_outputs();
  answer(letter.id(), taken(*document));
  if (!early_channel_) return;
  use_channel(std::move(*early_channel_));
  early_channel_.reset();
}

void Shell::adopt_states() {
  auto loaded = states_->load();
  if (loaded.damaged != 0)
    log_.error(Subsystem::kIke, "{} states of an earlier process are damaged and lost", loaded.damaged);
  if (!loaded.states.empty())
    log_.info(Subsystem::kIke, "going on with {} IKE SAs of an earlier process", loaded.states.size());
  core_.adopt(std::move(loaded.states), Clock::now());
  if (!early_channel_) core_.event(DataplaneLost{}, Clock::now());
}

void Shell::answer(uint64_t id, const Json& document) {
  send(Letter::Kind::kAnswer, id, document.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void Shell::send(Letter::Kind kind, uint64_t id, std::string_view text) {
  if (!espalierd_) return;
  if (const auto sent = espalierd_->send(Letter::write(kind, id, text)); !sent)
    log_.error(Subsystem::kConfig, "espalierd cannot be told: {}", sent.error().text);
}

// Requests.

Json Shell::handle_request(std::string_view text) {
  const Json request = Json::parse(text, nullptr, false);
  if (!request.is_object()) return refusal({"a request is a JSON object"});
  auto done = perform(request);
  if (!done) return refusal(done.error());
  (*done)["ok"] = true;
  return std::move(*done);
}

Result<Json> Shell::perform(const Json& request) {
  const std::string name = text_of(request, "request"), peer = text_of(request, "peer"),
                    tunnel = text_of(request, "tunnel");
  const auto now = Clock::now();
  const auto command = [&](const Command& wanted) -> Result<Json> {
    const auto accepted = core_.command(wanted, now);
    run_outputs();
    if (!accepted) return std::unexpected(accepted.error());
    return Json::object();
  };
  if (name == "initiate") return command(Initiate{peer, tunnel});
  if (name == "terminate") return command(Terminate{peer, tunnel});
  if (name == "rekey") return command(Rekey{peer, tunnel});
  if (name == "log") return set_log(request);
  if (name == "status") return status();
  const auto list = [](const char* key, const auto& reports) {
    Json rows = Json::array();
    for (const auto& report : reports) rows.push_back(to_json(report));
    return Json{{key, std::move(rows)}};
  };
  if (name == "ike_sas") return list("sas", core_.ike_sas(now));
  if (name == "connections") return list("connections", core_.connections(now));
  return fail("no such request");
}

Result<Json> Shell::set_log(const Json& request) {
  const auto level = log_level_named(text_of(request, "level"));
  if (!level) return fail("the level is one of error, warning, info, debug");
  const std::string named = text_of(request, "subsystem");
  const auto subsystem = subsystem_named(named);
  if (!named.empty() && !subsystem) return fail("the subsystem is one of ike, child, cfg, net, crypto");
  log_.filter().set(*level, subsystem, text_of(request, "peer"));
  return Json::object();
}

Json Shell::status() const {
  return {{"protocol", to_json(core_.counters())},
          {"rings", to_json(port_.counters())},
          {"datagrams_to_other_addresses", wrong_address_},
          {"has_channel", port_.attached()}};
}

// The core.

void Shell::use_channel(Channel channel) {
  if (const auto attached = port_.attach(std::move(channel)); !attached)
    return log_.error(Subsystem::kNetwork, "the dataplane's rings: {}", attached.error().text);
  port_.begin();
  core_.event(DataplaneLost{}, Clock::now());
  core_.event(DataplaneReady{}, Clock::now());
  run_outputs();
  port_.commit();
}

void Shell::on_broken_channel() {
  if (port_.attached()) return;  // another came meanwhile
  core_.event(DataplaneLost{}, Clock::now());
  run_outputs();
  send(Letter::Kind::kWantChannel, 0, "{}");
}

void Shell::on_datagram(const Endpoint& local, const Endpoint& remote, ByteView bytes) {
  if (!local_addresses_.empty() &&
      std::find(local_addresses_.begin(), local_addresses_.end(), local.address) == local_addresses_.end()) {
    ++wrong_address_;
    return;
  }
  core_.receive(local, remote, bytes, Clock::now());
  run_outputs();
}

void Shell::tick() {
  tick_timer_ = 0;
  core_.tick(Clock::now());
  run_outputs();
}

void Shell::run_outputs() {
  for (auto outputs = core_.take_outputs(); !outputs.empty(); outputs = core_.take_outputs())
    for (Output& output : outputs) std::visit([this](auto& each) { run(each); }, output);
  for (const LogLine& line : core_.take_log()) log_.write(line);
  loop_.cancel(tick_timer_);
  tick_timer_ = 0;
  const Time deadline = core_.next_deadline();
  if (deadline == Time::max()) return;
  const auto delay = std::chrono::ceil<milliseconds>(deadline - Clock::now());
  tick_timer_ = loop_.after(std::max(delay, milliseconds(0)), [this] { tick(); });
}

void Shell::run(SendDatagram& output) {
  port_.send(output);
}
void Shell::run(InstallSa& output) {
  port_.install(output);
}
void Shell::run(RemoveSa& output) {
  port_.remove(output);
}
void Shell::run(MoveSa& output) {
  port_.move(output);
}
void Shell::run(AskSaUse& output) {
  port_.ask_use(output.spi);
}
void Shell::run(Resolve& output) {
  names_.resolve(output);
}

void Shell::run(SaveStates& output) {
  if (const auto saved = states_->save(output); !saved)
    log_.error(Subsystem::kIke, "an IKE SA would not survive a restart of espalier-ike: {}",
               saved.error().text);
}

}  // namespace espalier::ike
