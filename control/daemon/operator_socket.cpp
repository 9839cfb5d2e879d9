#include "control/daemon/operator_socket.hpp"

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>

#include "control/daemon/log.hpp"
#include "control/shared/fd_passing.hpp"

namespace espalier::daemon {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
constexpr milliseconds kIdleCheck{1000};
constexpr const char* kGroup = "espalier";

// Names in a configuration need not be UTF-8, JSON text has to be.
std::string line_of(const Json& document) {
  return document.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<void> open_to_group(const std::string& path) {
  if (const group* entry = ::getgrnam(kGroup); entry != nullptr)
    if (::chown(path.c_str(), static_cast<uid_t>(-1), entry->gr_gid) != 0)
      return fail("{}: {}", path, errno_text());
  if (::chmod(path.c_str(), 0660) != 0) return fail("{}: {}", path, errno_text());
  return {};
}

}  // namespace

Json ok_reply(Json body) {
  body.emplace("ok", true);
  return body;
}

Json error_reply(const Error& error) {
  return {{"ok", false}, {"error", error.text}};
}

Result<std::unique_ptr<OperatorSocket>> OperatorSocket::listen(EventLoop& loop, const std::string& path,
                                                               Limits limits, Handler handler) {
  Fd listener = TRY(listen_unix(path, SOCK_STREAM));
  TRY(open_to_group(path));
  std::unique_ptr<OperatorSocket> socket(
      new OperatorSocket(loop, std::move(listener), limits, std::move(handler)));
  TRY(loop.watch(socket->listener_.get(), [self = socket.get()](uint32_t) { self->accept(); }));
  return socket;
}

OperatorSocket::OperatorSocket(EventLoop& loop, Fd listener, Limits limits, Handler handler)
    : loop_(loop),
      listener_(std::move(listener)),
      limits_(limits),
      handler_(std::move(handler)),
      self_(std::make_shared<OperatorSocket*>(this)) {
  drop_idle();
}

OperatorSocket::~OperatorSocket() {
  *self_ = nullptr;
  loop_.cancel(idle_timer_);
  loop_.forget(listener_.get());
  while (!clients_.empty()) drop(clients_.begin()->first);
}

void OperatorSocket::accept() {
  Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return;
  if (clients_.size() >= limits_.clients) {
    ++refused_;
    log::cli().warn("refused a client: {} are connected already", clients_.size());
    return;
  }
  const ClientId id = ++last_client_;
  if (!loop_.watch(fd.get(), [this, id](uint32_t events) { on_event(id, events); })) return;
  clients_[id].fd = std::move(fd);
}

void OperatorSocket::on_event(ClientId id, uint32_t events) {
  Client& client = clients_.at(id);
  if ((events & EPOLLERR) != 0 || ((events & EPOLLHUP) != 0 && (events & EPOLLIN) == 0)) return drop(id);
  if ((events & EPOLLOUT) != 0 && !write_some(client)) return drop(id);
  if ((events & EPOLLIN) != 0 && !read_some(client)) return drop(id);
  handle_lines(id);
}

// False when the connection is broken.
bool OperatorSocket::read_some(Client& client) {
  const size_t before = client.input.size();
  client.input.resize(before + kReadBytes);
  const ssize_t got = ::recv(client.fd.get(), client.input.data() + before, kReadBytes, MSG_DONTWAIT);
  const int error = errno;
  client.input.resize(before + static_cast<size_t>(std::max<ssize_t>(got, 0)));
  if (got < 0) return error == EAGAIN || error == EINTR;
  if (got == 0) client.input_ended = true;
  client.last_moved = Clock::now();
  return true;
}

// Answers what is complete, one request at a time and none before the last answer was taken.
void OperatorSocket::handle_lines(ClientId id) {
  for (auto found = clients_.find(id); found != clients_.end(); found = clients_.find(id)) {
    Client& client = found->second;
    if (client.busy || client.closing || !client.output.empty()) break;
    const auto end =
        std::find(client.input.begin() + static_cast<ptrdiff_t>(client.searched), client.input.end(), '\n');
    if (end == client.input.end()) {
      client.input.erase(client.input.begin(), client.input.begin() + static_cast<ptrdiff_t>(client.start));
      client.start = 0;
      client.searched = client.input.size();
      refuse_endless(id);
      break;
    }
    const std::string_view line(client.input.data() + client.start,
                                static_cast<size_t>(end - client.input.begin()) - client.start);
    client.start = client.searched = client.start + line.size() + 1;
    handle_line(id, line);
  }
  settle(id);
}

void OperatorSocket::refuse_endless(ClientId id) {
  Client& client = clients_.at(id);
  if (client.input.size() <= limits_.request_bytes && buffered_bytes() <= limits_.buffered_bytes) return;
  ++refused_;
  log::cli().warn("refused a request of more than {} bytes", client.input.size());
  client.closing = true;
  client.input = {};
  client.searched = 0;
  reply(id, error_reply({fmt::format("a request is at most {} bytes long", limits_.request_bytes)}));
}

void OperatorSocket::handle_line(ClientId id, std::string_view line) {
  auto request = Request::parse(line);
  clients_.at(id).busy = true;
  if (!request) {
    ++refused_;
    log::cli().warn("refused a request: {}", request.error().text);
    return reply(id, error_reply(request.error()));
  }
  // What follows the answer runs from the loop, so that a thousand requests in one read do not recurse.
  handler_(std::move(*request), [id, self = self_](const Json& document) {
    if (*self == nullptr) return;
    (*self)->reply(id, document);
    (*self)->loop_.after(milliseconds(0), [id, self] {
      if (*self != nullptr) (*self)->handle_lines(id);
    });
  });
}

void OperatorSocket::reply(ClientId id, const Json& document) {
  const auto found = clients_.find(id);
  if (found == clients_.end()) return;
  Client& client = found->second;
  client.busy = false;
  client.output += line_of(document);
  client.last_moved = Clock::now();
  if (!write_some(client)) drop(id);
}

// False when the connection is broken.
bool OperatorSocket::write_some(Client& client) {
  if (client.output.empty()) return true;
  const ssize_t sent =
      ::send(client.fd.get(), client.output.data(), client.output.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0) return errno == EAGAIN || errno == EINTR;
  client.output.erase(0, static_cast<size_t>(sent));
  client.last_moved = Clock::now();
  return true;
}

// Waits for what the client has to do next: take its answer, or send another request. Reading goes on only
// when nothing is owed, so a client cannot pile up requests.
void OperatorSocket::settle(ClientId id) {
  const auto found = clients_.find(id);
  if (found == clients_.end()) return;
  Client& client = found->second;
  const bool owing = client.busy || !client.output.empty();
  if (!owing && (client.closing || client.input_ended)) return drop(id);
  loop_.want(client.fd.get(), !owing && !client.input_ended, !client.output.empty());
}

void OperatorSocket::drop(ClientId id) {
  const auto found = clients_.find(id);
  if (found == clients_.end()) return;
  loop_.forget(found->second.fd.get());
  clients_.erase(found);
}

void OperatorSocket::drop_idle() {
  std::vector<ClientId> idle;
  for (const auto& [id, client] : clients_)
    if (!client.busy && Clock::now() - client.last_moved > limits_.idle) idle.push_back(id);
  for (const ClientId id : idle) drop(id);
  idle_timer_ = loop_.after(std::min(kIdleCheck, limits_.idle), [this] { drop_idle(); });
}

size_t OperatorSocket::buffered_bytes() const {
  size_t bytes = 0;
  for (const auto& [id, client] : clients_) bytes += client.input.size();
  return bytes;
}

}  // namespace espalier::daemon
