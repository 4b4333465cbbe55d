// Natural numbers as `size` little-endian 64-bit limbs: counts of architectures pass 2**64.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace nas::limbs {

// a += b x factor.
inline void add_product(uint64_t* a, const uint64_t* b, uint64_t factor, size_t size) {
  unsigned __int128 carry = 0;
  for (size_t i = 0; i < size; ++i) {
    carry += static_cast<unsigned __int128>(b[i]) * factor + a[i];
    a[i] = static_cast<uint64_t>(carry);
    carry >>= 64;
  }
}

inline void add(uint64_t* a, const uint64_t* b, size_t size) {
  add_product(a, b, 1, size);
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

inline bool is_zero(const uint64_t* a, size_t size) {
  return bit_length(a, size) == 0;
}

// The number x 2^-exponent, rounded.
inline double scaled(const uint64_t* a, size_t size, size_t exponent) {
  double value = 0;
  for (size_t i = 0; i < size; ++i) {
    value += std::ldexp(
        static_cast<double>(a[i]), static_cast<int>(64 * i) - static_cast<int>(exponent));
  }
  return value;
}

}  // namespace nas::limbs
