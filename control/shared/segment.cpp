#include "control/shared/segment.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

namespace espalier {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

bool must_lock = true;

}  // namespace

void Segment::lock_where_possible() {
  must_lock = false;
}

void Segment::Unmap::operator()(std::byte* at) const {
  ::munmap(at, bytes);
}

Result<Segment> Segment::create(const char* name, size_t bytes, Secrecy secrecy) {
  Fd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fail("memfd {}: {}", name, errno_text());
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0)
    return fail("memfd {}, {} bytes: {}", name, bytes, errno_text());
  if (::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) return fail("sealing memfd {}: {}", name, errno_text());
  return map(std::move(fd), bytes, secrecy);
}

// Seals first: before them the size is not the last word.
Result<Segment> Segment::attach(Fd fd, Size size, Secrecy secrecy) {
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals)
    return fail("shared segment: not a memfd that is sealed against resizing");
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return fail("shared segment: {}", errno_text());
  const auto bytes = static_cast<size_t>(status.st_size);
  if (bytes < size.at_least) return fail("shared segment: {} bytes, {} needed", bytes, size.at_least);
  if (bytes > size.at_most) return fail("shared segment: {} bytes, {} are possible", bytes, size.at_most);
  return map(std::move(fd), bytes, secrecy);
}

Result<Segment> Segment::map(Fd fd, size_t bytes, Secrecy secrecy) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) return fail("mapping a shared segment of {} bytes: {}", bytes, errno_text());
  Mapping mapping(static_cast<std::byte*>(at), Unmap{bytes});
  if (secrecy != Secrecy::kPublic) {
    if (::madvise(at, bytes, MADV_DONTDUMP) != 0) return fail("MADV_DONTDUMP: {}", errno_text());
    const unsigned flags = secrecy == Secrecy::kSecretSparse ? MLOCK_ONFAULT : 0;
    if (::mlock2(at, bytes, flags) != 0 && must_lock)
      return fail("locking {} bytes in memory: {}; raise the limit of locked memory (ulimit -l)", bytes,
                  errno_text());
  }
  return Segment(std::move(fd), std::move(mapping));
}

}  // namespace espalier
