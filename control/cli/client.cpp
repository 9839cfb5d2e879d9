#include "control/cli/client.hpp"

#include <sys/socket.h>
#include <sys/un.h>

namespace espalier::cli {
namespace {

constexpr timeval kTimeLimit{60, 0};  // a configuration may take a while

}  // namespace

Result<Client> Client::connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail("{}: too long for a socket's name", path);
  std::memcpy(address.sun_path, path.c_str(), path.size());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail("socket: {}", errno_text());
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const char* advice = errno == EACCES ? "be root or in group espalier" : "is espalierd running?";
    return fail("{}: {}; {}", path, errno_text(), advice);
  }
  for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO})
    if (::setsockopt(socket.get(), SOL_SOCKET, option, &kTimeLimit, sizeof kTimeLimit) != 0)
      return fail("socket: {}", errno_text());
  return Client(std::move(socket));
}

Result<Json> Client::ask(const Json& request) {
  TRY(send(request.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"));
  Json answer = Json::parse(TRY(receive_line()), nullptr, false);
  if (!answer.is_object() || !answer.contains("ok") || !answer["ok"].is_boolean())
    return fail("espalierd's answer is not understood; are both of the same version?");
  return answer;
}

Result<void> Client::send(const std::string& line) {
  for (size_t sent = 0; sent < line.size();) {
    const ssize_t n = ::send(socket_.get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    // The daemon answers before it closes on what it does not want, so its answer says more than this.
    if (n < 0 && errno == EPIPE) return {};
    if (n < 0) return fail("sending to espalierd: {}", errno_text());
    sent += static_cast<size_t>(n);
  }
  return {};
}

Result<std::string> Client::receive_line() {
  size_t searched = 0;
  for (;;) {
    const size_t end = received_.find('\n', searched);
    if (end != std::string::npos) {
      std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      return line;
    }
    searched = received_.size();
    char buffer[64 * 1024];
    const ssize_t n = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return fail("espalierd does not answer");
    if (n < 0) return fail("receiving from espalierd: {}", errno_text());
    if (n == 0) return fail("espalierd closed the connection");
    received_.append(buffer, static_cast<size_t>(n));
  }
}

}  // namespace espalier::cli
