// Elements [begin, end) of out = sum_k w_k x_k. Compiled by each_isa.h.
static inline void weighted_sum_fwd_kernel(
    const real* const* xs, const real* w, real* out, int64_t K, int64_t begin, int64_t end) {
  int64_t i = begin;
  for (; i + W <= end; i += W) {
    vec acc = w[0] * *reinterpret_cast<const vec*>(xs[0] + i);
    for (int64_t k = 1; k < K; ++k) acc += w[k] * *reinterpret_cast<const vec*>(xs[k] + i);
    *reinterpret_cast<vec*>(out + i) = acc;
  }
  for (; i < end; ++i) {
    real acc = w[0] * xs[0][i];
    for (int64_t k = 1; k < K; ++k) acc += w[k] * xs[k][i];
    out[i] = acc;
  }
}

// sum_i a_i b_i over n elements. Always in LANES partial sums that are then added pairwise, so
// that every instruction set adds in the same order and gives the same bits.
static inline real weighted_sum_dot(const real* a, const real* b, int64_t n) {
  constexpr int64_t LANES = 32;
  constexpr int64_t V = LANES / W;
  vec acc[V] = {};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    for (int64_t v = 0; v < V; ++v) {
      acc[v] += *reinterpret_cast<const vec*>(a + i + v * W) *
                *reinterpret_cast<const vec*>(b + i + v * W);
    }
  }
  real lanes[LANES];
  for (int64_t v = 0; v < V; ++v) *reinterpret_cast<vec*>(lanes + v * W) = acc[v];
  for (int64_t j = 0; i + j < n; ++j) lanes[j] += a[i + j] * b[i + j];
  for (int64_t half = LANES / 2; half > 0; half /= 2) {
    for (int64_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

// Elements [begin, end) of dx_k = w_k g (dxs[k] null: not wanted) and, where xs is given, this
// range's share of dw_k = <g, x_k>. One block at a time, so that g is read from memory once for
// all K.
static inline void weighted_sum_bwd_kernel(
    const real* g, const real* const* xs, const real* w, real* const* dxs, double* dw_share,
    int64_t K, int64_t begin, int64_t end) {
  for (int64_t k = 0; k < K; ++k) {
    if (xs != nullptr) dw_share[k] = weighted_sum_dot(g + begin, xs[k] + begin, end - begin);
    real* dx = dxs[k];
    if (dx == nullptr) continue;
    int64_t i = begin;
    for (; i + W <= end; i += W) {
      *reinterpret_cast<vec*>(dx + i) = w[k] * *reinterpret_cast<const vec*>(g + i);
    }
    for (; i < end; ++i) dx[i] = w[k] * g[i];
  }
}
