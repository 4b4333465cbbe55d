// Philox 4x32-10 and what is drawn from its words, a block of 16 counters at a time. Compiled by
// each_isa.h.

#define NAS_LANES(type) \
  __attribute__((vector_size(NAS_VECTOR_BYTES), aligned(alignof(type)), may_alias))
typedef uint64_t u64v NAS_LANES(uint64_t);
typedef int64_t i64v NAS_LANES(int64_t);
typedef double f64v NAS_LANES(double);
typedef uint16_t u16v NAS_LANES(uint16_t);
typedef int16_t i16v NAS_LANES(int16_t);
#undef NAS_LANES

// Products of the lower 32 bits of each lane; the upper ones are ignored. The masks of AVX-512
// keep all lanes: GCC 12 warns of what the forms without one leave undefined.
static inline u64v multiply_lower(u64v a, u64v b) {
#if NAS_X86_TARGETS && NAS_VECTOR_BYTES == 64 && !NAS_EMULATE_AVX512
  return (u64v)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, (__m512i)b);
#elif NAS_X86_TARGETS && NAS_VECTOR_BYTES == 32
  return (u64v)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif NAS_X86_TARGETS && NAS_VECTOR_BYTES == 16
  return (u64v)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & 0xFFFFFFFF) * (b & 0xFFFFFFFF);
#endif
}

// Upper halves of the products of 16-bit lanes.
static inline u16v multiply_upper16(u16v a, u16v b) {
#if NAS_X86_TARGETS && NAS_VECTOR_BYTES == 64 && !NAS_EMULATE_AVX512
  return (u16v)_mm512_maskz_mulhi_epu16(0xFFFFFFFF, (__m512i)a, (__m512i)b);
#elif NAS_X86_TARGETS && NAS_VECTOR_BYTES == 32
  return (u16v)_mm256_mulhi_epu16((__m256i)a, (__m256i)b);
#elif NAS_X86_TARGETS && NAS_VECTOR_BYTES == 16
  return (u16v)_mm_mulhi_epu16((__m128i)a, (__m128i)b);
#else
  u16v upper;
  for (int64_t i = 0; i < NAS_VECTOR_BYTES / 2; ++i) upper[i] = (uint32_t{a[i]} * b[i]) >> 16;
  return upper;
#endif
}

static inline u64v all(uint64_t value) {
  return value - u64v{};
}

static inline bool any(i16v flags) {
  const i64v lanes = (i64v)flags;
  int64_t found = 0;
  for (int64_t i = 0; i < NAS_VECTOR_BYTES / 8; ++i) found |= lanes[i];
  return found != 0;
}

// out[16 j + i] = word j of the counter (low, high) + i. The words live in the lower halves of
// 64-bit lanes, where a product needs no unpacking; what their upper halves hold is not used. Of
// two vectors one has the even counters and one the odd, so that shifting one beside the other
// brings the words into order.
static inline void philox_block(uint64_t low, uint64_t high, uint64_t key, uint32_t* out) {
  constexpr int64_t L = NAS_VECTOR_BYTES / 8;
  u64v lanes;
  for (int64_t i = 0; i < L; ++i) lanes[i] = 2 * i;
  for (int64_t first = 0; first < 16; first += 2 * L) {
    u64v c[2][4];
    for (int64_t odd = 0; odd < 2; ++odd) {
      const u64v n = low + (lanes + (uint64_t)(first + odd));
      const u64v upper = high - (u64v)(n < low);
      c[odd][0] = n;
      c[odd][1] = n >> 32;
      c[odd][2] = upper;
      c[odd][3] = upper >> 32;
    }
    uint32_t key0 = (uint32_t)key, key1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; ++round) {
      for (int64_t odd = 0; odd < 2; ++odd) {
        u64v* x = c[odd];
        const u64v a = multiply_lower(x[0], all(0xD2511F53));
        const u64v b = multiply_lower(x[2], all(0xCD9E8D57));
        x[0] = (b >> 32) ^ (x[1] ^ all(key0));
        x[1] = b;
        x[2] = (a >> 32) ^ (x[3] ^ all(key1));
        x[3] = a;
      }
      key0 += 0x9E3779B9;
      key1 += 0xBB67AE85;
    }
    for (int64_t j = 0; j < 4; ++j) {
      *(u64v*)(out + 16 * j + first) = (c[0][j] & 0xFFFFFFFF) | c[1][j] << 32;
    }
  }
}

template <typename O>
static inline void store_options(O* out, i16v options) {
  typedef O narrow
      __attribute__((vector_size(NAS_VECTOR_BYTES / 2 * sizeof(O)), aligned(1), may_alias));
  *(narrow*)out = __builtin_convertvector(options, narrow);
}

// The 128 options of a block's digits by thresholds: first[e] plus how many of the `count`
// thresholds of edge e lie below the digit. Both are stored edge after edge, as many more as a
// vector may read past the last starting again with the first; a threshold every `stride`. Digits
// and thresholds are compared as signed numbers, less 2^15. Where a digit equals a threshold, it
// alone does not decide: open is then not 0 there. Returns whether one is.
template <typename O>
static inline bool choose_block(
    const uint16_t* digits, const int16_t* first, const int16_t* thresholds, int64_t count,
    int64_t stride, int64_t E, int64_t edge, O* out, int16_t* open) {
  constexpr int64_t L = NAS_VECTOR_BYTES / 2;
  const int64_t step = L % E;
  i16v opened = {};
  for (int64_t i = 0; i < 128; i += L) {
    i16v tied = {};
    const i16v digit = (i16v)(*(const u16v*)(digits + i) ^ (uint16_t)0x8000);
    i16v option = *(const i16v*)(first + edge);
    const int16_t* t = thresholds + edge;
    for (int64_t k = 0; k < count; ++k, t += stride) {
      const i16v threshold = *(const i16v*)t;
      option -= (i16v)(digit > threshold);
      tied |= (i16v)(digit == threshold);
    }
    store_options(out + i, option);
    *(i16v*)(open + i) = tied;
    opened |= tied;
    edge += step;
    if (edge >= E) edge -= E;
  }
  return any(opened);
}

// The same where each edge e has ways[e] equally likely options from first[e] on: the upper half
// of digit x ways. Returns whether a carry from the digit's further bits could reach it.
template <typename O>
static inline bool choose_block_uniform(
    const uint16_t* digits, const int16_t* first, const uint16_t* ways, int64_t E, int64_t edge,
    O* out, int16_t* open) {
  constexpr int64_t L = NAS_VECTOR_BYTES / 2;
  const int64_t step = L % E;
  i16v opened = {};
  for (int64_t i = 0; i < 128; i += L) {
    const u16v digit = *(const u16v*)(digits + i);
    const u16v m = *(const u16v*)(ways + edge);
    const i16v option = *(const i16v*)(first + edge) + (i16v)multiply_upper16(digit, m);
    const u16v lower = digit * m;
    const i16v carried = (i16v)((u16v)(lower + m - (uint16_t)1) < lower);
    store_options(out + i, option);
    *(i16v*)(open + i) = carried;
    opened |= carried;
    edge += step;
    if (edge >= E) edge -= E;
  }
  return any(opened);
}

// out[i] = -log((words[i] + 1/2) / 2^32) for 64 words: as PyTorch's reference computes it, one
// rounding after the other, so that the bits agree.
static inline void exponential_block(const uint32_t* words, double* out) {
  constexpr int64_t L = NAS_VECTOR_BYTES / 8;
  constexpr double kTerms[] = {21, 19, 17, 15, 13, 11, 9, 7, 5, 3};
  typedef int32_t narrow __attribute__((vector_size(NAS_VECTOR_BYTES / 2), aligned(4), may_alias));
  for (int64_t i = 0; i < 64; i += L) {
    const narrow word = *(const narrow*)(words + i) ^ INT32_MIN;
    const f64v value = __builtin_convertvector(word, f64v) + 2147483648.5;
    const u64v bits = (u64v)value;
    // value = mantissa x 2^(exponent - 1022) with the mantissa in [1/2, 1).
    f64v mantissa = (f64v)((bits & 0x000FFFFFFFFFFFFF) | 0x3FE0000000000000);
    const u64v small = (u64v)(mantissa < 0.70710678118654752);
    mantissa = (f64v)((u64v)mantissa + (small & 0x0010000000000000));
    // A whole number below 2^52 under the exponent of 2^52 is 2^52 more than itself.
    const u64v exponent = (bits >> 52) + small;
    const f64v e = (f64v)(exponent | 0x4330000000000000) - (4503599627370496.0 + 1022.0 + 32.0);
    const f64v z = (mantissa - 1.0) / (mantissa + 1.0);
    const f64v z2 = z * z;
    f64v sum = 1.0 / kTerms[0] + (f64v){};
    for (int64_t k = 1; k < 10; ++k) sum = sum * z2 + 1.0 / kTerms[k];
    sum = sum * z2 + 1.0;
    *(f64v*)(out + i) = 0.0 - (e * 0.6931471805599453 + (z + z) * sum);
  }
}
