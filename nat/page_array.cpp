#include "nat/page_array.hpp"

#include <sys/mman.h>

#include <cstdint>

namespace espalier::nat {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

size_t rounded(size_t bytes) {
  return (bytes + kHugePage - 1) & ~(kHugePage - 1);
}

}  // namespace

// Maps a huge page more than needed and gives back what lies before and behind the aligned part.
void* map_pages(size_t bytes) {
  const size_t wanted = rounded(bytes);
  void* const all =
      mmap(nullptr, wanted + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) return nullptr;
  auto* const begin = static_cast<std::byte*>(all);
  const size_t before = rounded(reinterpret_cast<uintptr_t>(all)) - reinterpret_cast<uintptr_t>(all);
  if (before != 0) munmap(begin, before);
  if (before != kHugePage) munmap(begin + before + wanted, kHugePage - before);
  madvise(begin + before, wanted, MADV_HUGEPAGE);  // advice: without huge pages it works as well
  return begin + before;
}

void unmap_pages(void* pages, size_t bytes) {
  munmap(pages, rounded(bytes));
}

}  // namespace espalier::nat
