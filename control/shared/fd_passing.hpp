// Datagrams with file descriptors over a UNIX socket (SOCK_SEQPACKET), and who is at its other end.
//
// What does not arrive whole (too long a datagram, too many descriptors) is refused and its descriptors are
// closed. Only root and our own user count as one of us.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/shared/fd.hpp"

namespace espalier {

inline constexpr size_t kMaxPassedFds = 8;

struct Datagram {
  size_t bytes = 0;  // 0: the other side closed the connection
  std::vector<Fd> fds;
};

// Never blocks; the socket's queue is empty when we send, so a full one is an error as well.
Result<void> send_with_fds(const Fd& socket, std::span<const std::byte> bytes, std::span<const int> fds);

// As send_with_fds(), but says false when the queue is full.
Result<bool> try_send_with_fds(const Fd& socket, std::span<const std::byte> bytes, std::span<const int> fds);

// Never blocks: std::nullopt when nothing has arrived.
Result<std::optional<Datagram>> receive_with_fds(const Fd& socket, std::span<std::byte> buffer);

// The process that connected (or listened) at the other end, by SO_PEERCRED; an error unless it runs as root
// or as our own effective user.
Result<pid_t> authenticate_peer(const Fd& socket);

// A listening socket at `path`, mode 0600, non-blocking. A socket file left behind by a dead process is
// replaced; the caller holds whatever lock says that nobody else listens.
Result<Fd> listen_unix(const std::string& path, int type);
// std::nullopt when nobody listens there.
Result<std::optional<Fd>> connect_unix(const std::string& path, int type);

}  // namespace espalier
