#include "control/daemon/applier.hpp"

#include <fmt/ranges.h>

#include "control/daemon/log.hpp"

namespace espalier::daemon {
namespace {

constexpr milliseconds kPatience{30'000};

}  // namespace

void Applier::apply(Change change, Done done) {
  const auto reasons = restart_reasons(*change.tables);
  if (auto prepared = prepare(change, reasons); !prepared) return done(std::move(prepared));
  const bool restart = !reasons.empty();
  candidate_.emplace();
  candidate_->tables = std::move(change.tables);
  candidate_->restart = restart;
  candidate_->persist = change.persist;
  candidate_->done = std::move(done);
  candidate_->generation = next_generation();
  if (!restart && acknowledged_ && same_for_dataplane(*running_, *candidate_->tables)) return accept_candidate();
  if (!restart) return send_candidate();
  cancel(running_request_);  // not for the dataplane that is started now
  log::cfg().info("restarting the dataplane: {}", fmt::join(reasons, "; "));
  supervisor_.restart(command_for_(*candidate_->tables));
}

Result<void> Applier::prepare(const Change& change, const std::vector<std::string>& reasons) {
  if (candidate_) return fail("another configuration is being applied; try again when it is done");
  if (!change.restart && !reasons.empty())
    return fail(
        "what is fixed while the dataplane runs would change: {}; apply it with --restart, which interrupts "
        "all "
        "traffic for a moment",
        fmt::join(reasons, "; "));
  TRY(hooks_.check(*change.tables));
  if (change.persist == Persist::kAsApplied) return store_.prepare(change.text);
  return {};
}

// An adopted dataplane may have seen more generations than we have.
uint64_t Applier::next_generation() {
  last_generation_ = std::max(last_generation_, supervisor_.adopted_generation()) + 1;
  return last_generation_;
}

void Applier::cancel(uint64_t& request) {
  if (request != 0) supervisor_.link().cancel(request);
  request = 0;
}

// An unanswered request is replayed by the link when another dataplane is ready. So an unanswered candidate
// is not followed by the running configuration: that would take it back.
void Applier::on_ready() {
  if (!candidate_) return send_running();
  if (candidate_->request == 0) send_candidate();
}

// A candidate is replayed once: the dataplane may have died of something else, or had to be restarted. If the
// next one dies as well, the candidate is what it dies of.
void Applier::on_lost(const std::string& how) {
  acknowledged_ = false;
  if (!candidate_ || ++candidate_->deaths < 2) return;
  cancel(candidate_->request);
  reject_candidate({fmt::format("with it the dataplane {}", how)});
}

void Applier::send_running() {
  if (running_request_ != 0) return;
  if (generation_ == 0) generation_ = next_generation();
  const auto on_answer = [this](Result<DataplaneLink::Answer> answer) {
    running_request_ = 0;
    acknowledged_ = answer && answer->ack.ok;
    last_refusal_ = acknowledged_ ? "" : answer ? std::string(answer->ack.text.view()) : answer.error().text;
    if (acknowledged_) {
      log::cfg().info("the dataplane runs configuration {}", generation_);
      hooks_.on_acknowledged(running_);
    } else {
      log::cfg().error("the dataplane does not run the configuration: {}", last_refusal_);
    }
  };
  running_request_ = supervisor_.link().request(config_request(running_, generation_), kPatience, on_answer);
}

void Applier::send_candidate() {
  candidate_->request =
      supervisor_.link().request(config_request(candidate_->tables, candidate_->generation), kPatience,
                                 [this](auto answer) { on_candidate_answer(std::move(answer)); });
}

void Applier::on_candidate_answer(Result<DataplaneLink::Answer> answer) {
  if (answer && answer->ack.ok) return accept_candidate();
  reject_candidate(answer
                       ? Error{std::string(answer->ack.text.view())}.with_context("the dataplane refuses it")
                       : std::move(answer).error());
}

void Applier::accept_candidate() {
  Candidate candidate = std::move(*candidate_);
  candidate_.reset();
  running_ = std::move(candidate.tables);
  generation_ = candidate.generation;
  acknowledged_ = true;
  last_refusal_.clear();
  log::cfg().info("applied configuration {}", generation_);
  hooks_.on_acknowledged(running_);
  auto kept = candidate.persist == Persist::kAsApplied ? store_.commit() : store_.forget_applied();
  if (!kept)
    kept = std::unexpected(std::move(kept).error().with_context("it runs, but will not survive a restart"));
  candidate.done(std::move(kept));
}

// Back to the running configuration. It is sent again even without a restart: when an answer was lost nobody
// knows which of the two the dataplane has.
void Applier::reject_candidate(Error error) {
  Candidate candidate = std::move(*candidate_);
  candidate_.reset();
  log::cfg().error("refused a configuration: {}", error.text);
  if (candidate.restart)
    supervisor_.restart(command_for_(*running_));
  else
    send_running();
  candidate.done(std::unexpected(std::move(error)));
}

}  // namespace espalier::daemon
