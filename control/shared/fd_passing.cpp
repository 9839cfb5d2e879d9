#include "control/shared/fd_passing.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace espalier {
namespace {

constexpr int kBacklog = 16;

struct ControlBuffer {
  alignas(cmsghdr) char bytes[CMSG_SPACE(kMaxPassedFds * sizeof(int))] = {};
};

// Takes ownership of every descriptor that came along, wanted or not.
std::vector<Fd> collect_fds(msghdr& header) {
  std::vector<Fd> fds;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail("{}: too long for a UNIX socket's name", path);
  std::memcpy(address.sun_path, path.c_str(), path.size());
  return address;
}

Result<Fd> unix_socket(int type) {
  Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail("UNIX socket: {}", errno_text());
  return fd;
}

}  // namespace

Result<bool> try_send_with_fds(const Fd& socket, std::span<const std::byte> bytes, std::span<const int> fds) {
  if (fds.size() > kMaxPassedFds)
    return fail("{} descriptors in one message, at most {}", fds.size(), kMaxPassedFds);
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  ControlBuffer control;
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control.bytes;
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
  }
  const ssize_t sent = ::sendmsg(socket.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (sent != static_cast<ssize_t>(bytes.size())) return fail("sending over a UNIX socket: {}", errno_text());
  return true;
}

Result<void> send_with_fds(const Fd& socket, std::span<const std::byte> bytes, std::span<const int> fds) {
  if (!TRY(try_send_with_fds(socket, bytes, fds))) return fail("sending over a UNIX socket: its queue is full");
  return {};
}

Result<std::optional<Datagram>> receive_with_fds(const Fd& socket, std::span<std::byte> buffer) {
  iovec part{buffer.data(), buffer.size()};
  ControlBuffer control;
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.bytes;
  header.msg_controllen = sizeof control.bytes;
  const ssize_t got = ::recvmsg(socket.get(), &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  if (got < 0) return fail("receiving over a UNIX socket: {}", errno_text());
  Datagram datagram{static_cast<size_t>(got), collect_fds(header)};
  if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
    return fail("a message over a UNIX socket is longer than any that we know");
  return datagram;
}

Result<pid_t> authenticate_peer(const Fd& socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
    return fail("SO_PEERCRED: {}", errno_text());
  if (peer.uid != 0 && peer.uid != ::geteuid())
    return fail("process {} of user {} is at the other end of the socket; only root and user {} may be",
                peer.pid, peer.uid, ::geteuid());
  return peer.pid;
}

Result<Fd> listen_unix(const std::string& path, int type) {
  const sockaddr_un address = TRY(unix_address(path));
  Fd fd = TRY(unix_socket(type));
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail("{}: {}", path, errno_text());
  // The mode is taken from the socket's inode when the file is made: no moment with wider rights.
  if (::fchmod(fd.get(), 0600) != 0) return fail("{}: {}", path, errno_text());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail("{}: {}", path, errno_text());
  if (::listen(fd.get(), kBacklog) != 0) return fail("{}: {}", path, errno_text());
  return fd;
}

Result<std::optional<Fd>> connect_unix(const std::string& path, int type) {
  const sockaddr_un address = TRY(unix_address(path));
  Fd fd = TRY(unix_socket(type));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  if (errno == ENOENT || errno == ECONNREFUSED) return std::nullopt;
  return fail("{}: {}", path, errno_text());
}

}  // namespace espalier
