// An array of pages of its own, for tables that live as long as the process: zeroed, aligned to 2 MB and open
// to transparent huge pages, because a table walked in random order otherwise pays a TLB miss per look.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

namespace espalier::nat {

// `bytes` of zeroed memory; null if the system has none.
void* map_pages(size_t bytes);
void unmap_pages(void* pages, size_t bytes);

template <class T>
class PageArray {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  PageArray() = default;
  // `count` elements, value-initialised; empty if there is no memory. Elements that are plain integers are
  // not touched, so that pages which are never used cost nothing.
  explicit PageArray(size_t count) {
    auto* const pages = static_cast<T*>(map_pages(count * sizeof(T)));
    if (pages == nullptr) return;
    if constexpr (!std::is_integral_v<T>) std::uninitialized_value_construct_n(pages, count);
    elements_ = {pages, count};
  }
  PageArray(PageArray&& other) noexcept : elements_(std::exchange(other.elements_, {})) {}
  PageArray& operator=(PageArray&& other) noexcept {
    std::swap(elements_, other.elements_);
    return *this;
  }
  ~PageArray() {
    if (!elements_.empty()) unmap_pages(elements_.data(), elements_.size_bytes());
  }

  explicit operator bool() const { return !elements_.empty(); }
  size_t size() const { return elements_.size(); }
  T* data() { return elements_.data(); }
  T& operator[](size_t i) { return elements_[i]; }
  const T& operator[](size_t i) const { return elements_[i]; }

 private:
  std::span<T> elements_;
};

}  // namespace espalier::nat
