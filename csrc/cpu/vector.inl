// The vector of an instruction set and its few operations beyond C++'s own operators. Part of
// each_real.h.

typedef real vec __attribute__((vector_size(NAS_VECTOR_BYTES), aligned(alignof(real)), may_alias));
#if NAS_REAL_BYTES == 4
typedef int32_t mask __attribute__((vector_size(NAS_VECTOR_BYTES)));
#else
typedef int64_t mask __attribute__((vector_size(NAS_VECTOR_BYTES)));
#endif
constexpr int64_t W = NAS_VECTOR_BYTES / sizeof(real);

static NAS_INLINE vec load(const real* p) {
  return *reinterpret_cast<const vec*>(p);
}

static NAS_INLINE void store(real* p, vec v) {
  *reinterpret_cast<vec*>(p) = v;
}

static NAS_INLINE vec splat(real v) {
  return v - vec{};
}

// a * b + c, rounded once where the instruction set can.
static NAS_INLINE vec fma(vec a, vec b, vec c) {
#if NAS_VECTOR_BYTES == 64 && NAS_EMULATE_AVX512
  return a * b + c;
#elif NAS_VECTOR_BYTES == 64 && NAS_REAL_BYTES == 4
  return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif NAS_VECTOR_BYTES == 64
  return (vec)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif NAS_VECTOR_BYTES == 32 && NAS_REAL_BYTES == 4
  return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif NAS_VECTOR_BYTES == 32
  return (vec)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
  return a * b + c;
#endif
}

// The larger; b where either is NaN.
static NAS_INLINE vec max(vec a, vec b) {
  return a > b ? a : b;
}

// Zero below zero; NaN stays.
static NAS_INLINE vec relu(vec v) {
  return max(vec{}, v);
}

// v where the mask is set, else zero.
static NAS_INLINE vec where(mask m, vec v) {
  return (vec)((mask)v & m);
}

// Calls f(Int<0>{}) ... f(Int<N - 1>{}): a loop that is unrolled for certain, so that arrays of
// vectors indexed by it stay in registers.
template <int I>
struct Int {
  static constexpr int value = I;
};

template <class F, int... I>
static NAS_INLINE void each_of(std::integer_sequence<int, I...>, const F& f) {
  (f(Int<I>{}), ...);
}

template <int N, class F>
static NAS_INLINE void each(const F& f) {
  each_of(std::make_integer_sequence<int, N>{}, f);
}
