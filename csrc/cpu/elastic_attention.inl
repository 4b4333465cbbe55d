// Attention of the heads that run, forward; compiled by each_isa.h.
#include "product.inl"

static NAS_INLINE real logarithm(real v) {
#if NAS_REAL_BYTES == 4
  return __builtin_logf(v);
#else
  return __builtin_log(v);
#endif
}

// y = (y + bias) * scale.
static NAS_INLINE void shift(real* y, const real* bias, real scale, int64_t n) {
  int64_t j = 0;
  for (; j + W <= n; j += W) store(y + j, (load(y + j) + load(bias + j)) * scale);
  for (; j < n; ++j) y[j] = (y[j] + bias[j]) * scale;
}

static NAS_INLINE real largest_of(const real* p, int64_t n) {
  real out = p[0];
  int64_t j = 0;
  if (n >= W) {
    vec most = load(p);
    for (j = W; j + W <= n; j += W) most = max(most, load(p + j));
    real lanes[W];
    store(lanes, most);
    for (int l = 0; l < W; ++l) out = lanes[l] > out ? lanes[l] : out;
  }
  for (; j < n; ++j) out = p[j] > out ? p[j] : out;
  return out;
}

// p = e^(p - most), in whole vectors: what lies behind n becomes zero. Returns the sum.
static NAS_INLINE real exponentials(real* p, int64_t n, real most) {
  vec sum = {};
  int64_t j = 0;
  for (; j + W <= n; j += W) {
    const vec e = exponential(load(p + j) - most);
    sum += e;
    store(p + j, e);
  }
  if (j < n) {
    real lanes[W];
    store(lanes, exponential(load(p + j) - most));
    for (int64_t l = 0; l < W; ++l) lanes[l] = j + l < n ? lanes[l] : 0;
    sum += load(lanes);
    store(p + j, load(lanes));
  }
  real lanes[W], total = 0;
  store(lanes, sum);
  for (int l = 0; l < W; ++l) total += lanes[l];
  return total;
}

// One head of one item of `length` tokens.
static inline void attention_head(
    const AttentionShape& s, int64_t length, const real* q, real* out, real* lse, real* memory) {
  const int64_t n = s.n(), Dh = s.head_dim, stride = attention_stride(s.T);
  const real *k = q + n, *v = q + 2 * n;
  real* keys = memory;
  real* values = keys + attention_panels(Dh, s.T);
  real* scores = values + attention_panels(s.T, Dh);
  pack_rows([&](int64_t t) NAS_LAMBDA { return k + t * 3 * n; }, Dh, length, keys);
  pack_columns([&](int64_t t) NAS_LAMBDA { return v + t * 3 * n; }, length, Dh, values);
  for (int64_t t0 = 0; t0 < length; t0 += kQueries) {
    const int64_t count = length - t0 < kQueries ? length - t0 : kQueries;
    real inverse[kQueries];
    product<false>(q + t0 * 3 * n, 3 * n, count, keys, Dh, length, scores, stride);
    for (int64_t t = 0; t < count; ++t) {
      real* row = scores + t * stride;
      const real most = largest_of(row, length);
      const real sum = exponentials(row, length, most);
      inverse[t] = 1 / sum;
      lse[(t0 + t) * s.heads] = most + logarithm(sum);
    }
    real* to = out + t0 * n;
    product<false>(scores, stride, count, values, length, Dh, to, n);
    for (int64_t t = 0; t < count; ++t) {
      for (int64_t d = 0; d < Dh; ++d) to[t * n + d] *= inverse[t];
    }
  }
}

// The layer on some items; tokens behind the length of an item are left as they are.
static inline void attention_fwd_kernel(
    const AttentionShape& s, const AttentionItems& items, const AttentionWeights<real>& w,
    const AttentionData<real>& to, real* memory) {
  const int64_t n = s.n(), D = s.D;
  for (int64_t i = 0; i < items.items; ++i) {
    const int64_t row = i * s.T, length = items.lengths[i];
    real *qkv = to.qkv + row * 3 * n, *heads = to.heads + row * n, *out = to.out + row * D;
    product<false>(to.x + row * D, D, length, w.in, D, 3 * n, qkv, 3 * n);
    for (int64_t t = 0; t < length; ++t) {
      shift(qkv + t * 3 * n, w.in_bias, w.scale, n);
      shift(qkv + t * 3 * n + n, w.in_bias + n, 1, 2 * n);
    }
    for (int64_t h = 0; h < s.heads; ++h) {
      const int64_t at = h * s.head_dim;
      attention_head(s, length, qkv + at, heads + at, to.lse + row * s.heads + h, memory);
    }
    product<false>(heads, n, length, w.out, n, D, out, D);
    for (int64_t t = 0; t < length; ++t) shift(out + t * D, w.out_bias, 1, D);
  }
}
