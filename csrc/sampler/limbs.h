// Natural numbers as `size` little-endian 64-bit limbs: counts of architectures pass 2**64.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace nas::limbs {

inline void add(uint64_t* a, const uint64_t* b, size_t size) {
  uint64_t carry = 0;
  for (size_t i = 0; i < size; ++i) {
    const unsigned __int128 sum = static_cast<unsigned __int128>(a[i]) + b[i] + carry;
    a[i] = static_cast<uint64_t>(sum);
    carry = static_cast<uint64_t>(sum >> 64);
  }
}

inline void subtract(uint64_t* a, const uint64_t* b, size_t size) {
  uint64_t borrow = 0;
  for (size_t i = 0; i < size; ++i) {
    const unsigned __int128 difference = static_cast<unsigned __int128>(a[i]) - b[i] - borrow;
    a[i] = static_cast<uint64_t>(difference);
    borrow = static_cast<uint64_t>(difference >> 64) & 1;
  }
}

inline bool less(const uint64_t* a, const uint64_t* b, size_t size) {
  for (size_t i = size; i-- > 0;) {
    if (a[i] != b[i]) return a[i] < b[i];
  }
  return false;
}

inline size_t bit_length(const uint64_t* a, size_t size) {
  for (size_t i = size; i-- > 0;) {
    if (a[i] != 0) return 64 * i + std::bit_width(a[i]);
  }
  return 0;
}

}  // namespace nas::limbs
