// A piece of memory that processes share: a sealed memfd and this process's mapping of it.
//
// The creator gives it its size and seals it, so that no peer can shrink it under a reader (SIGBUS). Who
// attaches trusts nothing but the kernel: size by fstat, seals by fcntl. What lies inside is the peer's word
// and has to be checked by whoever reads it. Secret segments are locked in memory and left out of core dumps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "control/shared/fd.hpp"

namespace espalier {

class Segment {
 public:
  // kSecretSparse: for large ones of which little is used; a page is locked when it is first touched.
  enum class Secrecy { kPublic, kSecret, kSecretSparse };

  // From now on secret segments of this process may be where they can be swapped out, if they cannot be
  // locked. For a process that has lost the right to lock more, and has said so in its log.
  static void lock_where_possible();

  // A new zeroed segment. `name` is shown in /proc/PID/maps.
  static Result<Segment> create(const char* name, size_t bytes, Secrecy secrecy = Secrecy::kPublic);
  struct Size {
    Size(size_t least, size_t most = SIZE_MAX) : at_least(least), at_most(most) {}
    size_t at_least, at_most;  // bytes
  };
  // Maps a segment that another process made; refuses one that is not sealed against resizing, or has another
  // size. bytes() then says how large it is. A secret one takes that much memory at once: of a process that
  // is not trusted none without an upper bound.
  static Result<Segment> attach(Fd fd, Size size, Secrecy secrecy = Secrecy::kPublic);

  std::byte* data() const { return mapping_.get(); }
  size_t bytes() const { return mapping_.get_deleter().bytes; }
  const Fd& fd() const { return fd_; }

  // The segment as a T, for types that are valid when all bytes are zero. T must not be larger than bytes().
  template <class T>
  T* as() const {
    return bytes() < sizeof(T) ? nullptr : reinterpret_cast<T*>(data());
  }

 private:
  struct Unmap {
    size_t bytes = 0;
    void operator()(std::byte* at) const;
  };
  using Mapping = std::unique_ptr<std::byte, Unmap>;
  Segment(Fd fd, Mapping mapping) : fd_(std::move(fd)), mapping_(std::move(mapping)) {}
  static Result<Segment> map(Fd fd, size_t bytes, Secrecy secrecy);

  Fd fd_;
  Mapping mapping_;
};

}  // namespace espalier
