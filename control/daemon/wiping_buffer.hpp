// A growing buffer of bytes that leaves none behind: for requests, which can carry keys.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

namespace espalier::daemon {

template <class T>
struct WipingAllocator {
  using value_type = T;
  WipingAllocator() = default;
  template <class U>
  WipingAllocator(const WipingAllocator<U>&) {}
  T* allocate(size_t n) { return std::allocator<T>().allocate(n); }
  void deallocate(T* at, size_t n) {
    ::explicit_bzero(at, n * sizeof(T));
    std::allocator<T>().deallocate(at, n);
  }
  friend bool operator==(const WipingAllocator&, const WipingAllocator&) { return true; }
};

using WipingBuffer = std::vector<char, WipingAllocator<char>>;

}  // namespace espalier::daemon
