#include "control/daemon/ike_supervisor.hpp"

#include <csignal>

#include "control/daemon/log.hpp"
#include "control/daemon/untrusted_json.hpp"
#include "control/shared/text.hpp"

namespace espalier::daemon {
namespace {

constexpr const char* kSocketName = "ike.sock";
constexpr size_t kMostQuestionBytes = 1024;  // a name of 253 characters

}  // namespace

IkeSupervisor::IkeSupervisor(EventLoop& loop, Places places, std::function<void()> on_channel_wanted)
    : loop_(loop),
      places_(std::move(places)),
      on_channel_wanted_(std::move(on_channel_wanted)),
      keeper_(loop, {"espalier-ike", "ike", places_.runtime_dir}, *this) {}

IkeSupervisor::~IkeSupervisor() {
  loop_.cancel(channel_timer_);
  for (const auto& [id, waiting] : waiting_) loop_.cancel(waiting.timer);
}

Result<void> IkeSupervisor::check(const config::IkeDocument& document) const {
  return ike_material(document, places_.directory).complete();
}

void IkeSupervisor::configure(std::shared_ptr<const config::IkeDocument> document) {
  document_ = std::move(document);
  document_answered_ = false;
  left_out_.clear(), keys_left_out_.clear();
  last_refusal_.clear();
  if (!wanted()) end_waiting_for_document();
  if (!wanted()) return keeper_.stop([] {});
  if (ready()) return send_document();
  keeper_.start({places_.program, {"--runtime-dir", places_.runtime_dir, "--user", places_.user}});
}

std::string IkeSupervisor::why_left_out(const std::string& peer) const {
  const auto found = left_out_.find(peer);
  if (found != left_out_.end()) return found->second;
  if (!ready()) return "espalier-ike does not run; see the log of espalierd";
  return last_refusal_;
}

void IkeSupervisor::when_configured(std::function<void()> done) {
  if (!wanted() || document_answered_) return done();
  waiting_for_document_.insert(++last_id_);
  expect_answer(last_id_, [done = std::move(done)](const Result<Json>&) { done(); });
}

std::vector<std::string> IkeSupervisor::troubles() const {
  std::vector<std::string> all;
  if (!wanted()) return all;
  if (!ready())
    all.emplace_back("espalier-ike does not run; see the log of espalierd");
  else if (!last_refusal_.empty())
    all.push_back(fmt::format("espalier-ike does not run the configuration: {}", last_refusal_));
  else if (!document_answered_)
    all.emplace_back("espalier-ike has not answered yet; see the log of espalierd");
  for (const auto& [peer, why] : left_out_) all.push_back(fmt::format("peer {} is left out: {}", peer, why));
  for (const auto& [key, why] : keys_left_out_)
    all.push_back(fmt::format("psk {} is left out: {}", key, why));
  return all;
}

Result<bool> IkeSupervisor::pass_on(const Channel& channel) {
  if (!ready() || !post_) return false;
  std::vector<Fd> fds;
  for (const int fd : channel.descriptors()) fds.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  TRY(send(Letter::write(Letter::Kind::kChannel, 0, "", {}, std::move(fds))));
  return true;
}

// The keeper's questions.

Result<void> IkeSupervisor::prepare() {
  if (!state_) state_ = TRY(ike_state::create());
  return {};
}

Result<std::optional<pid_t>> IkeSupervisor::connect() {
  auto socket = TRY(connect_unix(places_.runtime_dir + "/" + kSocketName, SOCK_SEQPACKET));
  if (!socket) return std::nullopt;
  const pid_t pid = TRY(authenticate_peer(*socket));
  ++connection_number_;
  post_ = TRY(Post::open(loop_, std::move(*socket),
                         {[this](Letter letter) { on_letter(std::move(letter)); },
                          [this](const Error& why) { on_closed(why); }}));
  return pid;
}

void IkeSupervisor::disconnect() {
  post_.reset();
  document_id_ = 0;
  std::vector<uint64_t> asked;
  for (const auto& [id, waiting] : waiting_)
    if (!waiting_for_document_.contains(id)) asked.push_back(id);
  for (const uint64_t id : asked) finish(id, fail("espalier-ike does not run; see the log"));
}

void IkeSupervisor::on_end(const std::string& how) {
  // SIGSYS: it made a system call that its filter does not know, by a fault of ours or by somebody's will.
  if (how.ends_with(fmt::format("signal {}", SIGSYS)))
    log::proc().error("espalier-ike called the kernel for something that it must not do; report this");
}

std::optional<std::string> IkeSupervisor::find_hung() {
  const uint64_t beat = ike_state::of(*state_).heartbeat.load(std::memory_order_relaxed);
  const auto now = Clock::now();
  if (beat != last_beat_) last_beat_ = beat, beat_moved_ = now;
  if (now - beat_moved_ < kHang) return std::nullopt;
  return fmt::format("its loop has not turned for {} s", kHang.count() / 1000);
}

// Letters.

Result<void> IkeSupervisor::send(Result<Letter> letter) {
  if (!post_) return fail("espalier-ike does not run; see the log");
  return post_->send(std::move(letter));
}

// What ends is seen at its pidfd; what speaks another language has to go.
void IkeSupervisor::on_closed(const Error& why) {
  if (why.text == Letter::kClosed) return keeper_.connection_lost();
  keeper_.give_up(why);
}

void IkeSupervisor::on_letter(Letter letter) {
  if (const auto taken = take(letter); !taken) keeper_.give_up(taken.error());
}

Result<void> IkeSupervisor::take(Letter& letter) {
  switch (letter.kind()) {
    case Letter::Kind::kHello:
      return take_hello(letter);
    case Letter::Kind::kAnswer:
      take_answer(letter);
      return {};
    case Letter::Kind::kResolve:
      resolve(letter);
      return {};
    case Letter::Kind::kWantChannel:
      want_channel();
      return {};
    case Letter::Kind::kWelcome:
    case Letter::Kind::kConfigure:
    case Letter::Kind::kChannel:
    case Letter::Kind::kRequest:
    case Letter::Kind::kResolved:
      break;
  }
  return fail("it sent a letter of kind {}", static_cast<uint32_t>(letter.kind()));
}

// A process that was running before us brings the memory that it uses.
Result<void> IkeSupervisor::take_hello(Letter& letter) {
  std::vector<Fd> ours;
  if (keeper_.running()) return fail("it says hello twice");
  if (letter.fds().size() > 1) return fail("its hello brings {} segments", letter.fds().size());
  if (!letter.fds().empty()) {
    state_ = TRY(ike_state::attach(std::move(letter.fds().front())));
  } else {
    TRY(prepare());
    ours.push_back(state_->fd().duplicate());
  }
  TRY(send(Letter::write(Letter::Kind::kWelcome, 0, "{}", {}, std::move(ours))));
  last_beat_ = 0, beat_moved_ = Clock::now();
  keeper_.greeted("");
  if (!keeper_.running()) return {};
  send_document();
  on_channel_wanted_();
  return {};
}

// Not at once: two processes that cannot use a channel would get them as fast as they can be made.
void IkeSupervisor::want_channel() {
  if (channel_timer_ != 0) return;
  channel_timer_ = loop_.after(kBeforeAnotherChannel, [this] {
    channel_timer_ = 0;
    on_channel_wanted_();
  });
}

void IkeSupervisor::send_document() {
  const IkeMaterial material = ike_material(*document_, places_.directory);
  left_out_ = material.left_out, keys_left_out_ = material.keys_left_out;
  document_answered_ = false;
  const uint64_t id = document_id_ = ++last_id_;
  const std::span secrets(reinterpret_cast<const uint8_t*>(material.secrets.data()), material.secrets.size());
  const auto sent = send(Letter::write(Letter::Kind::kConfigure, id, material.text, secrets));
  if (!sent) return on_document_taken(std::unexpected(sent.error()));
  expect_answer(id, [this, id](const Result<Json>& answer) {
    if (id == document_id_) on_document_taken(answer);
  });
}

// What a file holds is known only to who understands it.
void IkeSupervisor::on_document_taken(const Result<Json>& answer) {
  document_answered_ = true;
  last_refusal_ = answer ? "" : answer.error().text;
  if (answer) {
    log::cfg().info("espalier-ike runs the configuration");
    left_out_.merge(texts_at(*answer, "left_out"));
    keys_left_out_.merge(texts_at(*answer, "keys_left_out"));
  }
  for (const std::string& trouble : troubles()) log::cfg().error("{}", trouble);
  end_waiting_for_document();
}

void IkeSupervisor::end_waiting_for_document() {
  for (const uint64_t id : std::exchange(waiting_for_document_, {})) finish(id, Json());
}

void IkeSupervisor::resolve(Letter& letter) {
  if (!resolver_) {
    auto created = NameResolver::create(loop_);
    if (!created) return log::proc().error("names cannot be resolved: {}", created.error().text);
    resolver_ = std::move(*created);
  }
  const bool fits = letter.text().size() <= kMostQuestionBytes;
  const std::string name = fits ? text_at(parse_untrusted(letter.text()), "name") : "";
  resolver_->resolve(name, [this, id = letter.id(), number = connection_number_](auto found) {
    if (number != connection_number_) return;
    Json answer = Json::object();
    if (found) {
      answer["addresses"] = Json::array();
      for (const IpAddress& address : *found) answer["addresses"].push_back(to_text(address));
    } else {
      answer["failure"] = found.error().text;
    }
    if (const auto sent = send(Letter::write(Letter::Kind::kResolved, id, answer.dump())); !sent)
      log::proc().error("an answer does not reach espalier-ike: {}", sent.error().text);
  });
}

// Requests.

void IkeSupervisor::request(const Json& request, Done done) {
  const uint64_t id = ++last_id_;
  const auto sent = wanted() ? send(Letter::write(Letter::Kind::kRequest, id, request.dump()))
                             : Result<void>(fail("no peer of vpn.ipsec is configured"));
  if (!sent) return done(std::unexpected(sent.error()));
  expect_answer(id, std::move(done));
}

void IkeSupervisor::expect_answer(uint64_t id, Done done) {
  const auto timer = loop_.after(kPatience, [this, id] { finish(id, fail("espalier-ike does not answer")); });
  waiting_.emplace(id, Waiting{std::move(done), timer});
}

void IkeSupervisor::take_answer(Letter& letter) {
  if (!waiting_.contains(letter.id())) return;  // it comes too late
  Json answer = parse_untrusted(letter.text());
  const auto ok = answer.find("ok");
  if (ok != answer.end() && *ok == true) return finish(letter.id(), std::move(answer));
  const std::string error = text_at(answer, "error");
  finish(letter.id(), fail("{}", error.empty() ? "espalier-ike's answer is none" : error));
}

void IkeSupervisor::finish(uint64_t id, Result<Json> answer) {
  const auto found = waiting_.extract(id);
  if (found.empty()) return;
  waiting_for_document_.erase(id);
  loop_.cancel(found.mapped().timer);
  found.mapped().done(std::move(answer));
}

}  // namespace espalier::daemon
