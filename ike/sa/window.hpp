// Message ids of one IKE SA (RFC 7296 sections 2.1 to 2.3): one request of ours under way, sent again with
// growing waits until its response comes or the peer is taken for lost; one response kept for the peer's last
// request.
#pragma once

#include "ike/sa/archive.hpp"
#include "ike/sa/context.hpp"

namespace espalier::ike {

class Window {
 public:
  struct Pending {
    uint32_t message_id = 0;
    std::vector<Bytes> datagrams;
    uint32_t sent = 1;  // times
    Time next = kNever;
  };

  // --- Our requests ---
  uint32_t next_request() const { return next_request_; }
  const std::optional<Pending>& pending() const { return pending_; }
  bool awaits(uint32_t message_id) const { return pending_ && pending_->message_id == message_id; }
  // `longest`: no wait is longer. Who is not connected yet tries more often.
  void sent(std::vector<Bytes> datagrams, Context& context, milliseconds longest = milliseconds::max()) {
    longest_ = longest;
    last_sent_ = context.now;
    pending_ = {next_request_++, std::move(datagrams), 1, context.now + wait(1, context)};
  }
  void answered() { pending_.reset(); }
  // IKE_SA_INIT is repeated with its message id (section 2.6).
  void begin_anew() {
    pending_.reset();
    next_request_ = 0;
  }
  // In a new process: what was sent before it is sent again now, and with the patience of a first time.
  void resume(const Context& context) {
    if (!pending_) return;
    pending_->sent = 0;
    pending_->next = context.now;
  }
  // Waits `left` for another response, and sends no more.
  void stop_sending(milliseconds left, Context& context) {
    pending_->sent = static_cast<uint32_t>(context.options.retransmissions.size());
    pending_->next = context.now + left;
  }
  // When the request under way was sent last; kNever in a new process.
  Time last_sent() const { return last_sent_; }
  // The peer lives, as other messages of it show: the request is not given up.
  void renew() { pending_->sent = 1; }
  enum class Due : uint8_t { kNothing, kSend, kLost };
  Due tick(Context& context) {
    if (!pending_ || context.now < pending_->next) return Due::kNothing;
    if (pending_->sent >= context.options.retransmissions.size()) return Due::kLost;
    pending_->next = context.now + wait(++pending_->sent, context);
    last_sent_ = context.now;
    return Due::kSend;
  }
  Time deadline() const { return pending_ ? pending_->next : kNever; }

  // --- The peer's requests ---
  uint32_t next_expected() const { return next_expected_; }
  bool is_repeated(uint32_t message_id) const {
    return message_id + 1 == next_expected_ && !last_response_.empty();
  }
  void accept_request() {
    ++next_expected_;
    last_response_.clear();
  }
  void responded(std::vector<Bytes> datagrams) { last_response_ = std::move(datagrams); }
  const std::vector<Bytes>& last_response() const { return last_response_; }

  template <class Archive>
  friend void visit(Archive& archive, Window& window) {
    archive(window.next_request_);
    archive(window.next_expected_);
    visit(archive, window.last_response_);
    visit(archive, window.pending_);
  }
  template <class Archive>
  friend void visit(Archive& archive, Pending& pending) {
    archive(pending.message_id);
    visit(archive, pending.datagrams);
    archive(pending.sent);
    visit(archive, pending.next);
  }

 private:
  milliseconds wait(uint32_t sent, const Context& context) const {
    const auto& waits = context.options.retransmissions;
    return std::min(longest_, waits[std::min<size_t>(sent, waits.size()) - 1]);
  }
  uint32_t next_request_ = 0, next_expected_ = 0;
  Time last_sent_ = kNever;
  milliseconds longest_ = milliseconds::max();  // not saved: an established IKE SA has none
  std::optional<Pending> pending_;
  std::vector<Bytes> last_response_;
};

}  // namespace espalier::ike
