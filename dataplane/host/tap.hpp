// One device of the kernel's TUN/TAP driver (Documentation/networking/tuntap.rst): what the host sends by it
// is read here, what is written here comes in at the host. It is gone when the object is.
//
// No offloads are agreed on, so what is read has its checksums and no more than the MTU.
//
// Owner: main lcore.
#pragma once

#include <sys/uio.h>

#include <span>
#include <string>

#include "control/shared/fd.hpp"

namespace espalier::dataplane {

class Tap {
 public:
  enum class Kind : uint8_t {
    kEthernet,  // frames
    kIp,        // bare IP packets: a point-to-point link
  };

  // In the namespace of the calling thread, down, with carrier, under a name that was free. Errors: no driver
  // or no right to use it, with what to do.
  static Result<Tap> create(Kind kind);

  Kind kind() const { return kind_; }
  const std::string& first_name() const { return first_name_; }  // until the device is renamed
  int fd() const { return fd_.get(); }                           // readable while the host has sent something

  // The link's state that the host sees. False when the device was deleted under us.
  bool set_carrier(bool up) const;
  // A frame or packet in parts. False when the device does not take it: it is down, gone or out of memory.
  bool write(std::span<const iovec> parts) const;
  // How many bytes of one frame or packet were read into `room`; 0: there is nothing, -1: the device is gone.
  ssize_t read(std::span<uint8_t> room) const;

 private:
  Tap(Kind kind, Fd fd, std::string name) : kind_(kind), fd_(std::move(fd)), first_name_(std::move(name)) {}
  Kind kind_;
  Fd fd_;
  std::string first_name_;
};

}  // namespace espalier::dataplane
