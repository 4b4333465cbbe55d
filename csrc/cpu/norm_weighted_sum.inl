// Kernels of norm_weighted_sum, each for one tile. Compiled by each_isa.h.
//
// Sums run over at most kRows or kRun values in `real` and go on in double. Lanes and the order of
// additions are the same for every instruction set, and so are the bits.

constexpr int64_t kRows = 64;  // values of a lane that are summed in `real`, inner = 1
constexpr int64_t LANES = 32;
constexpr int64_t kStrip = 16;  // lanes that are summed side by side, inner = 1

// One vector, or one number where less than a vector is left. As types of their own, because a
// template would drop from `vec` itself that it may lie at any address.
struct Wide {
  using type = vec;
  static constexpr int64_t lanes = W;
  static vec load(const real* at) { return *reinterpret_cast<const vec*>(at); }
  static void store(real* at, vec value) { *reinterpret_cast<vec*>(at) = value; }
};
struct Single {
  using type = real;
  static constexpr int64_t lanes = 1;
  static real load(const real* at) { return *at; }
  static void store(real* at, real value) { *at = value; }
};

// Rows of a chunk: fewer where rows are long, so that a chunk stays in the first cache.
static inline int64_t chunk_rows(int64_t period) {
  const int64_t rows = 4096 / (period + 1);
  return rows < 8 ? 8 : rows > kRows ? kRows : rows;
}

// Merges the moments of `rows` values of each of V * T::lanes adjacent lanes into mean and m2,
// which hold those of `before` values. The squares are taken about the rows' own mean, whatever
// the size of the mean; what its rounding left over is put right in double.
template <typename T, int64_t V>
static inline void merge_rows(
    const real* x, int64_t stride, int64_t rows, double before, double* mean, double* m2) {
  constexpr int64_t L = T::lanes;
  typename T::type sum[V] = {}, off[V] = {}, square[V] = {}, shift[V];
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t v = 0; v < V; ++v) sum[v] += T::load(x + r * stride + v * L);
  }
  for (int64_t v = 0; v < V; ++v) shift[v] = sum[v] / static_cast<real>(rows);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t v = 0; v < V; ++v) {
      const typename T::type d = T::load(x + r * stride + v * L) - shift[v];
      off[v] += d;
      square[v] += d * d;
    }
  }
  real shifts[V * L], offs[V * L], squares[V * L];
  for (int64_t v = 0; v < V; ++v) {
    T::store(shifts + v * L, shift[v]);
    T::store(offs + v * L, off[v]);
    T::store(squares + v * L, square[v]);
  }
  const double one = 1.0 / rows, share = rows / (before + rows), cross = before * share;
  for (int64_t i = 0; i < V * L; ++i) {
    const double left = offs[i] * one;
    const double delta = shifts[i] + left - mean[i];
    mean[i] += delta * share;
    m2[i] += squares[i] - left * offs[i] + delta * delta * cross;
  }
}

// The lanes of a LANES-wide accumulator, added pairwise.
static inline real add_lanes(real* lanes) {
  for (int64_t half = LANES / 2; half > 0; half /= 2) {
    for (int64_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

// Merges the moments of `pieces` times n adjacent values, kRun at most.
static inline void merge_run(
    const real* x, int64_t n, int64_t pieces, int64_t stride, Moments& into) {
  constexpr int64_t V = LANES / W;
  const int64_t whole = n - n % LANES;
  const double count = static_cast<double>(n) * pieces;
  vec sum[V] = {}, off[V] = {}, square[V] = {};
  real sums[LANES], offs[LANES], squares[LANES], tail[LANES] = {}, tail_square[LANES] = {};
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const real* p = x + piece * stride;
    for (int64_t i = 0; i < whole; i += LANES) {
      for (int64_t v = 0; v < V; ++v) sum[v] += Wide::load(p + i + v * W);
    }
    for (int64_t i = whole; i < n; ++i) tail[i - whole] += p[i];
  }
  for (int64_t v = 0; v < V; ++v) Wide::store(sums + v * W, sum[v]);
  for (int64_t j = 0; j < LANES; ++j) {
    sums[j] += tail[j];
    tail[j] = 0;
  }
  const real shift = add_lanes(sums) / static_cast<real>(count);
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const real* p = x + piece * stride;
    for (int64_t i = 0; i < whole; i += LANES) {
      for (int64_t v = 0; v < V; ++v) {
        const vec d = Wide::load(p + i + v * W) - shift;
        off[v] += d;
        square[v] += d * d;
      }
    }
    for (int64_t i = whole; i < n; ++i) {
      const real d = p[i] - shift;
      tail[i - whole] += d;
      tail_square[i - whole] += d * d;
    }
  }
  for (int64_t v = 0; v < V; ++v) {
    Wide::store(offs + v * W, off[v]);
    Wide::store(squares + v * W, square[v]);
  }
  for (int64_t j = 0; j < LANES; ++j) {
    offs[j] += tail[j];
    squares[j] += tail_square[j];
  }
  const double rest = add_lanes(offs);
  const double left = rest / count;
  merge(into, count, shift + left, add_lanes(squares) - left * rest);
}

// Mean and sum of squared deviations of a tile, written to mean[c] and m2[c] of its channels.
// `lanes` is room for 2 * period numbers.
static inline void norm_moments_kernel(
    const NormLayout& at, const NormTile& tile, const real* x, double* lanes, double* mean,
    double* m2) {
  if (at.inner > 1) {
    const int64_t most = pieces_of_run(at.inner), stride = at.C * at.inner;
    for (int64_t c = tile.c_begin; c < tile.c_end; ++c) {
      Moments all = {};
      for (int64_t o = tile.outer_begin; o < tile.outer_end; o += most) {
        const int64_t pieces = tile.outer_end - o < most ? tile.outer_end - o : most;
        const real* row = x + (o * at.C + c) * at.inner;
        for (int64_t i = 0; i < at.inner; i += kRun) {
          merge_run(row + i, at.inner - i < kRun ? at.inner - i : kRun, pieces, stride, all);
        }
      }
      mean[c] = all.mean;
      m2[c] = all.m2;
    }
    return;
  }
  const int64_t rows = tile.outer_end - tile.outer_begin, folded = rows / at.fold;
  const int64_t P = at.period, chunk = chunk_rows(P);
  double *lane_mean = lanes, *lane_m2 = lanes + P;
  for (int64_t i = 0; i < 2 * P; ++i) lanes[i] = 0;
  x += tile.outer_begin * at.C;
  for (int64_t r = 0; r < folded; r += chunk) {
    const int64_t n = folded - r < chunk ? folded - r : chunk;
    int64_t i = 0;
    for (; i + kStrip <= P; i += kStrip) {
      merge_rows<Wide, kStrip / W>(x + r * P + i, P, n, r, lane_mean + i, lane_m2 + i);
    }
    for (; i < P; ++i) merge_rows<Single, 1>(x + r * P + i, P, n, r, lane_mean + i, lane_m2 + i);
  }
  for (int64_t c = 0; c < at.C; ++c) {
    Moments all = {};
    for (int64_t i = c; i < P && folded > 0; i += at.C) {
      merge(all, folded, lane_mean[i], lane_m2[i]);
    }
    for (int64_t r = folded * at.fold; r < rows; ++r) merge(all, 1, x[r * at.C + c], 0);
    mean[c] = all.mean;
    m2[c] = all.m2;
  }
}

// y = bias + sum_k scale_k (x_k - shift_k) over a tile; scale and shift are [K, period], bias
// [period].
static inline void norm_weighted_sum_fwd_kernel(
    const NormLayout& at, const NormTile& tile, const real* const* xs, const real* bias,
    const real* shift, const real* scale, real* y, int64_t K) {
  const int64_t P = at.period;
  if (at.inner > 1) {
    for (int64_t o = tile.outer_begin; o < tile.outer_end; ++o) {
      for (int64_t c = tile.c_begin; c < tile.c_end; ++c) {
        const int64_t begin = (o * at.C + c) * at.inner, end = begin + at.inner;
        int64_t i = begin;
        for (; i + W <= end; i += W) {
          vec acc = splat(bias[c]);
          for (int64_t k = 0; k < K; ++k) {
            acc += scale[k * P + c] * (Wide::load(xs[k] + i) - shift[k * P + c]);
          }
          Wide::store(y + i, acc);
        }
        for (; i < end; ++i) {
          real acc = bias[c];
          for (int64_t k = 0; k < K; ++k) acc += scale[k * P + c] * (xs[k][i] - shift[k * P + c]);
          y[i] = acc;
        }
      }
    }
    return;
  }
  const int64_t end = tile.outer_end * at.C;
  for (int64_t base = tile.outer_begin * at.C; base < end; base += P) {
    const int64_t n = end - base < P ? end - base : P;
    int64_t j = 0;
    for (; j + W <= n; j += W) {
      vec acc = Wide::load(bias + j);
      for (int64_t k = 0; k < K; ++k) {
        const vec d = Wide::load(xs[k] + base + j) - Wide::load(shift + k * P + j);
        acc += Wide::load(scale + k * P + j) * d;
      }
      Wide::store(y + base + j, acc);
    }
    for (; j < n; ++j) {
      real acc = bias[j];
      for (int64_t k = 0; k < K; ++k)
        acc += scale[k * P + j] * (xs[k][base + j] - shift[k * P + j]);
      y[base + j] = acc;
    }
  }
}

#include "norm_weighted_sum_bwd.inl"
