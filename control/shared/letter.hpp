// What espalierd and espalier-ike write to each other over RUNTIME_DIR/ike.sock (SOCK_SEQPACKET): a text,
// secret bytes, descriptors.
//
// Over the socket goes a header of fixed size; text and secrets lie one behind the other in a sealed memfd
// that goes along as its first descriptor. So a configuration of any size passes, and secrets stay out of the
// text (which is JSON): they lie in locked memory that whoever received them wipes. The texts' keys:
// docs/ike-socket.md.
#pragma once

#include <memory>

#include "control/shared/fd_passing.hpp"
#include "control/shared/segment.hpp"

namespace espalier {

class Letter {
 public:
  // In the order in which a connection begins; then any, in any order.
  enum class Kind : uint32_t {
    kHello = 1,    // from espalier-ike; fds: the state segment, if it has one
    kWelcome,      // from espalierd; fds: the state segment, if Hello brought none
    kConfigure,    // from espalierd, answered; secrets
    kChannel,      // from espalierd; fds: those of ChannelFds, for the dataplane's rings
    kRequest,      // from espalierd, answered: the operator's
    kAnswer,       // from espalier-ike, with the id of what it answers
    kResolve,      // from espalier-ike: a host name; answered by kResolved with its id
    kResolved,     // from espalierd
    kWantChannel,  // from espalier-ike: the dataplane wrote nonsense into the rings
  };
  static constexpr size_t kMostBytes = size_t{64} << 20;  // of text and secrets together
  static constexpr const char* kClosed = "the connection was closed";
  static constexpr size_t kMostFds = 3;  // beside the memfd

  // Errors: too long, or what the system says of memfds.
  static Result<Letter> write(Kind kind, uint64_t id, std::string_view text,
                              std::span<const uint8_t> secrets = {}, std::vector<Fd> fds = {});
  Letter(Letter&&) = default;
  Letter& operator=(Letter&&) = default;

  Kind kind() const { return kind_; }
  uint64_t id() const { return id_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(body_.data()), text_bytes_}; }
  std::span<uint8_t> secrets() const {
    return {reinterpret_cast<uint8_t*>(body_.data()) + text_bytes_, body_.bytes() - text_bytes_ - kPadding};
  }
  std::vector<Fd>& fds() { return fds_; }
  // Of the receiver, who has taken what he wants to keep.
  void wipe();

  // False when the socket's queue is full; try again when it is writable. Never blocks.
  Result<bool> send(const Fd& socket) const;
  // Nothing when none has arrived. Errors: the other side closed the connection (kClosed), speaks another
  // protocol, or what it sent is no letter. Never blocks.
  static Result<std::optional<Letter>> receive(const Fd& socket);

 private:
  static constexpr size_t kPadding = 1;  // no memory can be mapped that is empty
  Letter(Kind kind, uint64_t id, size_t text_bytes, Segment body, std::vector<Fd> fds)
      : kind_(kind), id_(id), text_bytes_(text_bytes), body_(std::move(body)), fds_(std::move(fds)) {}

  Kind kind_;
  uint64_t id_;
  size_t text_bytes_;
  Segment body_;
  std::vector<Fd> fds_;
};

}  // namespace espalier
