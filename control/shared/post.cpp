#include "control/shared/post.hpp"

namespace espalier {
namespace {

constexpr int kLettersPerTurn = 64;

}  // namespace

Result<std::unique_ptr<Post>> Post::open(EventLoop& loop, Fd socket, Events events) {
  std::unique_ptr<Post> post(new Post(loop, std::move(socket), std::move(events)));
  TRY(loop.watch(post->socket_.get(), [raw = post.get()](uint32_t ready) { raw->on_ready(ready); }));
  return post;
}

Post::~Post() {
  *alive_ = false;
  loop_.forget(socket_.get());
}

Result<void> Post::send(Result<Letter> letter) {
  if (!letter) return std::unexpected(std::move(letter).error());
  if (waiting_.size() >= kMostWaiting) return fail("{} letters wait to be taken", waiting_.size());
  waiting_.push_back(std::move(*letter));
  return send_waiting();
}

Result<void> Post::send_waiting() {
  while (!waiting_.empty() && TRY(waiting_.front().send(socket_))) waiting_.pop_front();
  loop_.want(socket_.get(), true, !waiting_.empty());
  return {};
}

void Post::on_ready(uint32_t ready) {
  const auto alive = alive_;
  const auto events = events_;
  auto sent = (ready & EPOLLOUT) != 0 ? send_waiting() : Result<void>();
  if (!sent) return events->on_closed(sent.error());
  if (ready == EPOLLOUT) return;
  for (int i = 0; i < kLettersPerTurn; ++i) {
    const auto more = receive_one();
    if (!*alive) return;
    if (!more) return events->on_closed(more.error());
    if (!*more) return;
  }
}

Result<bool> Post::receive_one() {
  auto letter = TRY(Letter::receive(socket_));
  if (!letter) return false;
  events_->on_letter(std::move(*letter));
  return true;
}

}  // namespace espalier
