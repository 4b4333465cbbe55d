// Attention of the heads that run, backward; compiled by each_isa.h.
#include "product.inl"

// y = y * scale.
static NAS_INLINE void scaled(real* y, real scale, int64_t n) {
  int64_t j = 0;
  for (; j + W <= n; j += W) store(y + j, load(y + j) * scale);
  for (; j < n; ++j) y[j] *= scale;
}

// sum += y.
static NAS_INLINE void added(real* sum, const real* y, int64_t n) {
  int64_t j = 0;
  for (; j + W <= n; j += W) store(sum + j, load(sum + j) + load(y + j));
  for (; j < n; ++j) sum[j] += y[j];
}

static NAS_INLINE real dot(const real* a, const real* b, int64_t n) {
  vec sum = {};
  int64_t j = 0;
  for (; j + W <= n; j += W) sum = fma(load(a + j), load(b + j), sum);
  real lanes[W], total = 0;
  store(lanes, sum);
  for (; j < n; ++j) total += a[j] * b[j];
  for (int l = 0; l < W; ++l) total += lanes[l];
  return total;
}

// Gradients dqkv of one head of one item, from do, that of what the head gave. Scores are computed
// again, as [keys, queries].
static inline void attention_head_back(
    const AttentionShape& s, int64_t length, real scale, const real* q, const real* out,
    const real* lse, const real* dout, real* dq, real* memory) {
  const int64_t n = s.n(), Dh = s.head_dim;
  const int64_t block = kQueries < s.T ? kQueries : s.T, stride = attention_stride(block);
  const real *k = q + n, *v = q + 2 * n;
  real *dk = dq + n, *dv = dq + 2 * n;
  real* keys = memory;                               // panels [length][Dh]
  real* queries = keys + attention_panels(s.T, Dh);  // [count][Dh], then their transpose
  real* queries_t = queries + attention_panels(block, Dh);
  real* douts = queries_t + attention_panels(Dh, block);
  real* douts_t = douts + attention_panels(block, Dh);
  real* p = douts_t + attention_panels(Dh, block);
  real* ds = p + s.T * stride;
  real* sums = ds + s.T * stride;  // lse of the queries, then <out, dout>
  real* deltas = sums + stride;
  pack_columns([&](int64_t t) NAS_LAMBDA { return k + t * 3 * n; }, length, Dh, keys);
  for (int64_t t0 = 0; t0 < length; t0 += block) {
    const int64_t count = length - t0 < block ? length - t0 : block;
    const auto query = [&](int64_t t) NAS_LAMBDA { return q + (t0 + t) * 3 * n; };
    const auto dout_of = [&](int64_t t) NAS_LAMBDA { return dout + (t0 + t) * n; };
    pack_columns(query, count, Dh, queries);
    pack_rows(query, Dh, count, queries_t);
    pack_columns(dout_of, count, Dh, douts);
    pack_rows(dout_of, Dh, count, douts_t);
    const int64_t width = (count + W - 1) / W * W;
    for (int64_t t = 0; t < width; ++t) {
      const int64_t row = t0 + (t < count ? t : 0);
      sums[t] = lse[row * s.heads];
      deltas[t] = dot(out + row * n, dout + row * n, Dh);
    }
    product<false>(k, 3 * n, length, queries_t, Dh, count, p, stride);
    product<false>(v, 3 * n, length, douts_t, Dh, count, ds, stride);
    for (int64_t t = 0; t < length; ++t) {
      real *row = p + t * stride, *drow = ds + t * stride;
      // What lies behind the last query is computed too, and not read.
      for (int64_t j = 0; j < width; j += W) {
        const vec e = exponential(load(row + j) - load(sums + j));
        store(row + j, e);
        store(drow + j, e * (load(drow + j) - load(deltas + j)));
      }
    }
    if (t0 == 0) {
      product<false>(p, stride, length, douts, count, Dh, dv, 3 * n);
      product<false>(ds, stride, length, queries, count, Dh, dk, 3 * n);
    } else {
      product<true>(p, stride, length, douts, count, Dh, dv, 3 * n);
      product<true>(ds, stride, length, queries, count, Dh, dk, 3 * n);
    }
    real* to = dq + t0 * 3 * n;
    product<false, Left::columns>(ds, stride, count, keys, length, Dh, to, 3 * n);
    for (int64_t t = 0; t < count; ++t) scaled(to + t * 3 * n, scale, Dh);
  }
}

// Gradients of the layer on some items. Rows of from.out behind the length of an item are left.
static inline void attention_bwd_kernel(
    const AttentionShape& s, const AttentionItems& items, const AttentionWeights<real>& w,
    const AttentionData<real>& from, const AttentionSums<real>& sums, real* memory) {
  const int64_t n = s.n(), D = s.D, rows = items.items * s.T;
  real* dheads = memory;
  real* dqkv = dheads + rows * n;
  real* rest = dqkv + rows * 3 * n;
  if (from.out != nullptr || sums.inner()) {
    for (int64_t i = 0; i < items.items; ++i) {
      const int64_t row = i * s.T, length = items.lengths[i];
      const real *qkv = from.qkv + row * 3 * n, *heads = from.heads + row * n;
      real *back = dheads + row * n, *dq = dqkv + row * 3 * n;
      product<false>(from.g + row * D, D, length, w.out, D, n, back, n);
      for (int64_t h = 0; h < s.heads; ++h) {
        const int64_t at = h * s.head_dim;
        attention_head_back(
            s, length, w.scale, qkv + at, heads + at, from.lse + row * s.heads + h, back + at,
            dq + at, rest);
      }
      if (from.out != nullptr) {
        product<false>(dq, 3 * n, length, w.in, 3 * n, D, from.out + row * D, D);
      }
    }
  }
  for (int part = 0; part < 3; ++part) {
    const real* own = dqkv + part * n;
    if (sums.in[part] != nullptr) {
      product_of_columns(
          own, 3 * n, n, from.x, D, D, items.rows, items.count, sums.in[part], D, rest);
    }
    for (int64_t r = 0; sums.in_bias[part] != nullptr && r < items.count; ++r) {
      added(sums.in_bias[part], own + items.rows[r] * 3 * n, n);
    }
  }
  if (sums.out != nullptr) {
    product_of_columns(from.g, D, D, from.heads, n, n, items.rows, items.count, sums.out, n, rest);
  }
  for (int64_t r = 0; sums.out_bias != nullptr && r < items.count; ++r) {
    added(sums.out_bias, from.g + items.rows[r] * D, D);
  }
}
