// Kernels of the gradient of norm_weighted_sum, each for one tile: the end of
// norm_weighted_sum.inl, whose loads and sums they use.

// sum_r g (x - shift) of each of V * T::lanes adjacent lanes, added to `into`; x null stands for
// x - shift = 1.
template <typename T, int64_t V>
static inline void add_rows(
    const real* g, const real* x, const real* shift, int64_t stride, int64_t rows, double* into) {
  constexpr int64_t L = T::lanes;
  typename T::type sum[V] = {};
  if (x == nullptr) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t v = 0; v < V; ++v) sum[v] += T::load(g + r * stride + v * L);
    }
  } else {
    typename T::type from[V];
    for (int64_t v = 0; v < V; ++v) from[v] = T::load(shift + v * L);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t v = 0; v < V; ++v) {
        const int64_t i = r * stride + v * L;
        sum[v] += T::load(g + i) * (T::load(x + i) - from[v]);
      }
    }
  }
  real sums[V * L];
  for (int64_t v = 0; v < V; ++v) T::store(sums + v * L, sum[v]);
  for (int64_t i = 0; i < V * L; ++i) into[i] += sums[i];
}

// The same over `pieces` times n adjacent values of one channel, `stride` apart.
static inline double sum_run(
    const real* g, const real* x, real shift, int64_t n, int64_t pieces, int64_t stride) {
  constexpr int64_t V = LANES / W;
  const int64_t whole = n - n % LANES;
  vec sum[V] = {};
  real sums[LANES], tail[LANES] = {};
  for (int64_t at = 0; at < pieces * stride; at += stride) {
    for (int64_t i = at; i < at + whole; i += LANES) {
      for (int64_t v = 0; v < V; ++v) {
        const vec value = Wide::load(g + i + v * W);
        sum[v] += x == nullptr ? value : value * (Wide::load(x + i + v * W) - shift);
      }
    }
    for (int64_t i = at + whole, j = 0; i < at + n; ++i, ++j) {
      tail[j] += x == nullptr ? g[i] : g[i] * (x[i] - shift);
    }
  }
  for (int64_t v = 0; v < V; ++v) Wide::store(sums + v * W, sum[v]);
  for (int64_t j = 0; j < LANES; ++j) sums[j] += tail[j];
  return add_lanes(sums);
}

// sums[s][c] = sum of g (x_s - shift_s) over a tile, for S pairs of x_s and shift_s [period];
// sums has `stride` numbers a pair, and `lanes` is room for S * period. With x_s null, of g alone.
static inline void norm_weighted_sum_sums_kernel(
    const NormLayout& at, const NormTile& tile, const real* g, const real* const* xs,
    const real* const* shifts, int64_t S, double* lanes, double* sums, int64_t stride) {
  if (at.inner > 1) {
    const int64_t most = pieces_of_run(at.inner), apart = at.C * at.inner;
    for (int64_t c = tile.c_begin; c < tile.c_end; ++c) {
      for (int64_t s = 0; s < S; ++s) sums[s * stride + c] = 0;
      for (int64_t o = tile.outer_begin; o < tile.outer_end; o += most) {
        const int64_t pieces = tile.outer_end - o < most ? tile.outer_end - o : most;
        for (int64_t i = 0; i < at.inner; i += kRun) {
          const int64_t from = (o * at.C + c) * at.inner + i;
          const int64_t n = at.inner - i < kRun ? at.inner - i : kRun;
          for (int64_t s = 0; s < S; ++s) {
            const real* x = xs[s] == nullptr ? nullptr : xs[s] + from;
            sums[s * stride + c] += sum_run(g + from, x, shifts[s][c], n, pieces, apart);
          }
        }
      }
    }
    return;
  }
  const int64_t P = at.period, chunk = chunk_rows(P);
  const int64_t rows = tile.outer_end - tile.outer_begin, folded = rows / at.fold;
  const int64_t begin = tile.outer_begin * at.C;
  for (int64_t i = 0; i < S * P; ++i) lanes[i] = 0;
  for (int64_t r = 0; r < folded; r += chunk) {
    const int64_t n = folded - r < chunk ? folded - r : chunk, from = begin + r * P;
    for (int64_t s = 0; s < S; ++s) {
      const real* x = xs[s] == nullptr ? nullptr : xs[s] + from;
      int64_t i = 0;
      for (; i + kStrip <= P; i += kStrip) {
        add_rows<Wide, kStrip / W>(
            g + from + i, x == nullptr ? x : x + i, shifts[s] + i, P, n, lanes + s * P + i);
      }
      for (; i < P; ++i) {
        add_rows<Single, 1>(
            g + from + i, x == nullptr ? x : x + i, shifts[s] + i, P, n, lanes + s * P + i);
      }
    }
  }
  for (int64_t s = 0; s < S; ++s) {
    for (int64_t c = 0; c < at.C; ++c) {
      double all = 0;
      for (int64_t i = c; i < P; i += at.C) all += lanes[s * P + i];
      for (int64_t r = folded * at.fold; r < rows; ++r) {
        const int64_t i = begin + r * at.C + c;
        all += xs[s] == nullptr ? g[i] : g[i] * (xs[s][i] - shifts[s][c]);
      }
      sums[s * stride + c] = all;
    }
  }
}

// dx = a g + (b (x - shift) + d) over a tile, or a g where x is null; a, b, d, shift are [period].
static inline void norm_weighted_sum_bwd_kernel(
    const NormLayout& at, const NormTile& tile, const real* g, const real* x, const real* shift,
    const real* a, const real* b, const real* d, real* dx) {
  if (at.inner > 1) {
    for (int64_t o = tile.outer_begin; o < tile.outer_end; ++o) {
      for (int64_t c = tile.c_begin; c < tile.c_end; ++c) {
        const int64_t begin = (o * at.C + c) * at.inner, end = begin + at.inner;
        int64_t i = begin;
        for (; i + W <= end; i += W) {
          vec value = a[c] * Wide::load(g + i);
          if (x != nullptr) value += b[c] * (Wide::load(x + i) - shift[c]) + d[c];
          Wide::store(dx + i, value);
        }
        for (; i < end; ++i) {
          real value = a[c] * g[i];
          if (x != nullptr) value += b[c] * (x[i] - shift[c]) + d[c];
          dx[i] = value;
        }
      }
    }
    return;
  }
  const int64_t P = at.period, end = tile.outer_end * at.C;
  for (int64_t base = tile.outer_begin * at.C; base < end; base += P) {
    const int64_t n = end - base < P ? end - base : P;
    int64_t j = 0;
    for (; j + W <= n; j += W) {
      vec value = Wide::load(a + j) * Wide::load(g + base + j);
      if (x != nullptr) {
        const vec off = Wide::load(x + base + j) - Wide::load(shift + j);
        value += Wide::load(b + j) * off + Wide::load(d + j);
      }
      Wide::store(dx + base + j, value);
    }
    for (; j < n; ++j) {
      real value = a[j] * g[base + j];
      if (x != nullptr) value += b[j] * (x[base + j] - shift[j]) + d[j];
      dx[base + j] = value;
    }
  }
}
