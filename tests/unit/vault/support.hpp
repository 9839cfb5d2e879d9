// What the tests of vault, cells and windows share: a real proof of authenticity, temporary directories, and
// a process that is stopped after every single instruction.
#pragma once

#include <sys/mman.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "control/shared/sa_cells.hpp"
#include "crypto/esp_transform.hpp"

namespace espalier::test {

// From a packet that really was sealed and opened; there is no other way to get one.
const crypto::Authenticated& real_proof();

// check() and commit() in one, as a single worker does it. False as well where the window took the number's
// low half for another number's: then the ICV would have been made with another high half.
bool offer(const ReplayWindow& window, uint64_t number);

class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Zeroed memory that children share with the test.
template <class T>
class Shared {
 public:
  explicit Shared(size_t count)
      : bytes_(count * sizeof(T)),
        at_(::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                   0)) {
    if (at_ == MAP_FAILED) throw std::runtime_error("mmap");
  }
  ~Shared() { ::munmap(at_, bytes_); }
  T& operator[](size_t index) const { return static_cast<T*>(at_)[index]; }

 private:
  size_t bytes_;
  void* at_;
};

// A fresh cell with numbers up to `limit` - 1 reserved.
void start_outbound(OutboundCell& cell, uint64_t next, uint64_t limit, bool esn = false);

// A static key's identity; `seed` stands for the key.
SaIdentity identity_of(uint32_t seed, Direction direction, bool static_key = true, uint32_t spi = 0x1000);

// The value, or the test program ends with the error's text.
template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().text);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// Runs `work` in a child process, one machine instruction at a time, and calls `look` in this process after
// each: what `look` sees in shared memory is what a process killed there would have left. Returns the number
// of instructions.
size_t step_through(const std::function<void()>& work, const std::function<void()>& look);

// For every instruction of `first` (every 251st in sanitizer builds): prepare(); a child runs `first` up to
// that instruction and is stopped; another child runs `second`, to its end or until it waits for the first;
// then the first goes on to its end; verify(). So two workers are interleaved at every point, without hoping
// for luck. Returns the number of instructions.
size_t interleave(const std::function<void()>& prepare, const std::function<void()>& first,
                  const std::function<void()>& second, const std::function<void()>& verify);

// Forks a child that runs `work` and kills it with SIGKILL, `microseconds` after is_at_work() became true: a
// child that got no processor time yet would prove nothing. False if the child ended before by itself.
bool kill_after(
    unsigned microseconds, const std::function<void()>& work,
    const std::function<bool()>& is_at_work = [] { return true; });

}  // namespace espalier::test
