// Keeps one espalier-ike running (keeper.hpp) while peers are configured: gives it the memory for its states,
// the configuration with the contents of its files, channels to the dataplane and the addresses of names, and
// asks it for the operator. Owner: espalierd's thread.
//
//   Applier ──configure()──► IkeSupervisor ──letters (letter.hpp)──► espalier-ike
//   commands ──request()──►
#pragma once

#include <nlohmann/json.hpp>
#include <set>

#include "control/daemon/ike_material.hpp"
#include "control/daemon/keeper.hpp"
#include "control/daemon/name_resolver.hpp"
#include "control/shared/ike_state.hpp"
#include "control/shared/post.hpp"
#include "control/shared/ring.hpp"

namespace espalier::daemon {

class IkeSupervisor : private Keeper::Ward {
 public:
  struct Places {
    std::string runtime_dir;
    std::string program;
    std::string user;       // that it becomes
    std::string directory;  // that the configuration's paths are relative to
  };
  // `on_channel_wanted`: another process is there, or its channel is of no use.
  IkeSupervisor(EventLoop& loop, Places places, std::function<void()> on_channel_wanted);
  ~IkeSupervisor() override;

  // What a configuration needs of files; errors: one cannot be read. For whoever is about to apply it.
  Result<void> check(const config::IkeDocument& document) const;
  // From now on `document` counts, which the caller keeps. Starts the process, sends it the document, or
  // stops it where nothing is to be done. What cannot be read is left out, and the log tells it.
  void configure(std::shared_ptr<const config::IkeDocument> document);
  void stop(std::function<void()> done) { keeper_.stop(std::move(done)); }

  // espalier-ike's end of a new channel to the dataplane; false when none is connected.
  Result<bool> pass_on(const Channel& channel);

  using Json = nlohmann::json;
  using Done = std::function<void(Result<Json>)>;
  // Asks espalier-ike. `done` is called once: with the answer, or with an error when it refuses, ends, or
  // takes longer than a few seconds.
  void request(const Json& request, Done done);

  bool wanted() const { return document_ && document_->wanted(); }
  bool ready() const { return keeper_.running(); }
  std::optional<pid_t> pid() const { return keeper_.pid(); }
  uint64_t starts() const { return keeper_.starts(); }
  // Why a peer is not negotiated though it is configured; empty: it is.
  std::string why_left_out(const std::string& peer) const;
  // What it said to the configuration that runs; empty: it took it.
  const std::string& last_refusal() const { return last_refusal_; }
  // Calls `done` when espalier-ike has told what it makes of the configuration, there is nothing to tell it,
  // or it takes longer than a few seconds.
  void when_configured(std::function<void()> done);
  // What of the configuration is not negotiated, and why, for people; empty: all of it is.
  std::vector<std::string> troubles() const;

 private:
  static constexpr milliseconds kPatience{5'000};
  static constexpr milliseconds kHang{5'000};
  static constexpr milliseconds kBeforeAnotherChannel{100};
  struct Waiting {
    Done done;
    EventLoop::TimerId timer;
  };

  Result<void> prepare() override;
  Result<std::optional<pid_t>> connect() override;
  void disconnect() override;
  void on_running() override {}  // every greeting brings the document: take_hello()
  void on_end(const std::string& how) override;
  std::optional<std::string> find_hung() override;

  void on_closed(const Error& why);
  void on_letter(Letter letter);
  Result<void> take(Letter& letter);
  Result<void> take_hello(Letter& letter);
  void take_answer(Letter& letter);
  void resolve(Letter& letter);
  void want_channel();
  using Reasons = std::map<std::string, std::string>;  // by the name of who is left out
  void send_document();
  void on_document_taken(const Result<Json>& answer);
  void end_waiting_for_document();
  void expect_answer(uint64_t id, Done done);
  void finish(uint64_t id, Result<Json> answer);
  Result<void> send(Result<Letter> letter);

  EventLoop& loop_;
  Places places_;
  std::function<void()> on_channel_wanted_;
  Keeper keeper_;
  std::unique_ptr<NameResolver> resolver_;
  std::optional<Segment> state_;
  std::unique_ptr<Post> post_;
  uint64_t connection_number_ = 0;  // answers of the resolver may come after the connection's end
  std::shared_ptr<const config::IkeDocument> document_;
  uint64_t document_id_ = 0;  // of the letter with it; 0: not sent by this connection
  bool document_answered_ = false;
  std::set<uint64_t> waiting_for_document_;  // of waiting_
  Reasons left_out_, keys_left_out_;
  std::map<uint64_t, Waiting> waiting_;
  uint64_t last_id_ = 0;
  EventLoop::TimerId channel_timer_ = 0;  // 0: none is wanted
  uint64_t last_beat_ = 0;
  Clock::time_point beat_moved_{};
  std::string last_refusal_;
};

}  // namespace espalier::daemon
