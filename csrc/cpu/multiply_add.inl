// Multiplications and additions in registers alone. Compiled by each_isa.h.

// Does `rounds` times as many as are on their way at one time; returns how many operations that
// were. out: [2] factor and summand, replaced by a sum that depends on all.
static inline int64_t multiply_add_kernel(int64_t rounds, real* out) {
  constexpr int N = NAS_VECTOR_BYTES == 64 ? 16 : 12;
  const vec factor = splat(out[0]), summand = splat(out[1]);
  vec acc[N];
  each<N>([&](auto k) NAS_LAMBDA { acc[decltype(k)::value] = splat(decltype(k)::value); });
  for (int64_t i = 0; i < rounds; ++i) {
    each<N>([&](auto k) NAS_LAMBDA {
      constexpr int K = decltype(k)::value;
      acc[K] = fma(acc[K], factor, summand);
    });
  }
  vec sum = {};
  each<N>([&](auto k) NAS_LAMBDA { sum += acc[decltype(k)::value]; });
  out[0] = sum[0];
  return 2 * rounds * N * W;
}
