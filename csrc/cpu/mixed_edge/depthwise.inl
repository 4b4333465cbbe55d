// Depthwise convolutions of maps: forward, gradient of the input, gradient of the weights. All
// work on a segment of a row at a time, whose outputs stay in registers; pixels outside of the
// image are skipped, not read as zeros.

using edge::LANES;
using edge::Tiling;

// Calls f(Int<N>{}, column) for each segment of a row; the widths are those of tile() in
// mixed_edge_plan.cpp. Builds with the address sanitizer, whose checks take long to compile, have
// the small ones only.
template <class F>
static NAS_INLINE void for_segments(Tiling tiling, const F& f) {
  int64_t column = 0;
  for (int64_t i = 0; i < tiling.count; ++i) {
    switch (tiling.sizes[i]) {
#ifndef __SANITIZE_ADDRESS__
#if NAS_VECTOR_BYTES == 64 && NAS_REAL_BYTES == 4
      case 16:
        f(Int<16>{}, column);
        break;
      case 14:
        f(Int<14>{}, column);
        break;
#endif
#if NAS_VECTOR_BYTES >= 32 && NAS_REAL_BYTES == 4
      case 8:
        f(Int<8>{}, column);
        break;
      case 7:
        f(Int<7>{}, column);
        break;
#endif
#endif
      case 4:
        f(Int<4>{}, column);
        break;
      default:
        f(Int<1>{}, column);
    }
    column += tiling.sizes[i];
  }
}

// Calls f(Int<kernel>{}, Int<dilation>{}, Int<stride>{}).
template <class F>
static NAS_INLINE void with_window(const edge::Stage& s, const F& f) {
  const int64_t window = (s.kernel == 5 ? 4 : 0) + (s.dilation == 2 ? 2 : 0) + s.stride - 1;
  switch (window) {
    case 0:
      return f(Int<3>{}, Int<1>{}, Int<1>{});
    case 1:
      return f(Int<3>{}, Int<1>{}, Int<2>{});
    case 2:
      return f(Int<3>{}, Int<2>{}, Int<1>{});
    case 3:
      return f(Int<3>{}, Int<2>{}, Int<2>{});
    case 4:
      return f(Int<5>{}, Int<1>{}, Int<1>{});
    case 5:
      return f(Int<5>{}, Int<1>{}, Int<2>{});
    case 6:
      return f(Int<5>{}, Int<2>{}, Int<1>{});
    default:
      return f(Int<5>{}, Int<2>{}, Int<2>{});
  }
}

constexpr bool in_segment(int at, int stride, int n) {
  return at % stride == 0 && at >= 0 && at / stride < n;
}

// Whether a convolution of a segment of n outputs reads the input column `at`.
template <int K, int D, int S>
constexpr bool reads_column(int at, int n) {
  for (int tap = 0; tap < K; ++tap) {
    if (in_segment(at - (tap - K / 2) * D, S, n)) return true;
  }
  return false;
}

// The n-th of the columns [0, count) in the order in which they are added up. Neighbours of a 3x3
// window add to the same sums, so they are taken from three places in turn: no addition waits for
// the one before.
template <int K, int D>
constexpr int spread(int nth, int count) {
  constexpr int STEP = K == 3 && D == 1 ? 3 : 1;
  for (int start = 0; start < STEP; ++start) {
    const int here = (count - start + STEP - 1) / STEP;
    if (nth < here) return start + nth * STEP;
    nth -= here;
  }
  return 0;
}

// Outputs [column, column + N) of output row `row`; in, weight and out at one vector's lanes.
template <int K, int D, int S, int N>
static NAS_INLINE void depthwise_segment(
    const real* in, int64_t height, int64_t width, int64_t row, int64_t column, const real* weight,
    real* out) {
  constexpr int P = D * (K / 2);
  vec sums[N] = {};
  const int64_t first = column * S;
  for (int r = 0; r < K; ++r) {
    const int64_t at = row * S + r * D - P;
    if (at < 0 || at >= height) continue;
    const real* p = in + (at * width + first) * LANES;
    vec taps[K];
    each<K>([&](auto t) NAS_LAMBDA {
      constexpr int T = decltype(t)::value;
      taps[T] = load(weight + (r * K + T) * LANES);
    });
    constexpr int COLUMNS = (N - 1) * S + 2 * P + 1;
    each<COLUMNS>([&](auto c) NAS_LAMBDA {
      constexpr int C = spread<K, D>(decltype(c)::value, COLUMNS) - P;
      if constexpr (reads_column<K, D, S>(C, N)) {
        if ((C >= 0 && C <= (N - 1) * S) || (first + C >= 0 && first + C < width)) {
          const vec v = load(p + C * LANES);
          each<K>([&](auto t) NAS_LAMBDA {
            constexpr int T = decltype(t)::value, J = C - (T - K / 2) * D;
            if constexpr (in_segment(J, S, N)) sums[J / S] = fma(taps[T], v, sums[J / S]);
          });
        }
      }
    });
  }
  each<N>([&](auto j) NAS_LAMBDA {
    constexpr int J = decltype(j)::value;
    store(out + (column + J) * LANES, sums[J]);
  });
}

// One output row of one block.
template <int K, int D, int S>
static void depthwise_row(
    const real* in, int64_t height, int64_t width, int64_t row, const real* weight, real* out,
    Tiling tiling) {
  for (int64_t v = 0; v < LANES; v += W) {
    for_segments(tiling, [&](auto n, int64_t column) NAS_LAMBDA {
      depthwise_segment<K, D, S, decltype(n)::value>(
          in + v, height, width, row, column, weight + v, out + v);
    });
  }
}

// The m for which output column `at` flows back to input column S * m + PARITY along a tap:
// S * m + PARITY = S * at + (tap - K / 2) * D. Negative if there is none.
template <int K, int D, int S, int PARITY>
constexpr int back_target(int at, int tap) {
  const int strided = (tap - K / 2) * D - PARITY;
  return strided % S == 0 ? at + strided / S : -1;
}

// Whether it flows back to any m below n.
template <int K, int D, int S, int PARITY>
constexpr bool flows_back(int at, int n) {
  for (int tap = 0; tap < K; ++tap) {
    const int m = back_target<K, D, S, PARITY>(at, tap);
    if (m >= 0 && m < n) return true;
  }
  return false;
}

// Adds to input columns S * m + PARITY, m in [column, column + N), of input row `row` what flows
// back from `da`, the gradient [out_height, out_width] of the output.
template <int K, int D, int S, int PARITY, int N>
static NAS_INLINE void depthwise_back_segment(
    const real* da, int64_t out_height, int64_t out_width, int64_t row, int64_t column,
    const real* weight, real* dx) {
  constexpr int P = D * (K / 2);
  vec sums[N];
  each<N>([&](auto j) NAS_LAMBDA {
    constexpr int J = decltype(j)::value;
    sums[J] = load(dx + ((column + J) * S + PARITY) * LANES);
  });
  for (int r = 0; r < K; ++r) {
    const int64_t strided = row - r * D + P;
    if (strided < 0 || strided % S != 0 || strided / S >= out_height) continue;
    const real* p = da + (strided / S * out_width + column) * LANES;
    vec taps[K];
    each<K>([&](auto t) NAS_LAMBDA {
      constexpr int T = decltype(t)::value;
      taps[T] = load(weight + (r * K + T) * LANES);
    });
    each<N + 2 * P>([&](auto c) NAS_LAMBDA {
      constexpr int C = spread<K, D>(decltype(c)::value, N + 2 * P) - P;
      if constexpr (flows_back<K, D, S, PARITY>(C, N)) {
        if ((C >= 0 && C < N) || (column + C >= 0 && column + C < out_width)) {
          const vec v = load(p + C * LANES);
          each<K>([&](auto t) NAS_LAMBDA {
            constexpr int T = decltype(t)::value, M = back_target<K, D, S, PARITY>(C, T);
            if constexpr (M >= 0 && M < N) sums[M] = fma(taps[T], v, sums[M]);
          });
        }
      }
    });
  }
  each<N>([&](auto j) NAS_LAMBDA {
    constexpr int J = decltype(j)::value;
    store(dx + ((column + J) * S + PARITY) * LANES, sums[J]);
  });
}

// Adds to one input row of one block. tilings: of its columns of each parity.
template <int K, int D, int S>
static void depthwise_back_row(
    const real* da, int64_t out_height, int64_t out_width, int64_t row, const real* weight,
    real* dx, const Tiling* tilings) {
  for (int64_t v = 0; v < LANES; v += W) {
    each<S>([&](auto parity) NAS_LAMBDA {
      constexpr int PARITY = decltype(parity)::value;
      for_segments(tilings[PARITY], [&](auto n, int64_t column) NAS_LAMBDA {
        depthwise_back_segment<K, D, S, PARITY, decltype(n)::value>(
            da + v, out_height, out_width, row, column, weight + v, dx + v);
      });
    });
  }
}

// Sets of sums of one row of the window's gradient, as many as registers allow: the fewer
// additions wait for each other.
template <int K>
constexpr int weight_sets = W * NAS_REAL_BYTES == 64 ? (K == 3 ? 4 : 2) : (K == 3 ? 2 : 1);

// Adds the products of a segment's gradient and input to one row of the window's gradient.
template <int K, int D, int S, int N>
static NAS_INLINE void weight_segment(
    const real* da, const real* p, int64_t first, int64_t width, vec (&sums)[weight_sets<K>][K]) {
  constexpr int P = D * (K / 2);
  vec d[N];
  each<N>([&](auto j) NAS_LAMBDA {
    constexpr int J = decltype(j)::value;
    d[J] = load(da + J * LANES);
  });
  each<(N - 1) * S + 2 * P + 1>([&](auto c) NAS_LAMBDA {
    constexpr int C = decltype(c)::value - P;
    if constexpr (reads_column<K, D, S>(C, N)) {
      if ((C >= 0 && C <= (N - 1) * S) || (first + C >= 0 && first + C < width)) {
        const vec v = load(p + C * LANES);
        each<K>([&](auto t) NAS_LAMBDA {
          constexpr int T = decltype(t)::value, J = C - (T - K / 2) * D;
          constexpr int SET = (C + P) / D % weight_sets<K>;
          if constexpr (in_segment(J, S, N)) sums[SET][T] = fma(d[J / S], v, sums[SET][T]);
        });
      }
    }
  });
}

// Adds the weights' gradient of one block of one group.
template <int K, int D, int S>
static void depthwise_weights(
    const real* da, int64_t out_height, int64_t out_width, const real* in, int64_t height,
    int64_t width, real* grad, Tiling tiling) {
  constexpr int P = D * (K / 2);
  // Few enough rows that they stay in the first cache for all rows of the window.
  constexpr int64_t ROWS = 8;
  for (int64_t top = 0; top < out_height; top += ROWS) {
    const int64_t end = top + ROWS < out_height ? top + ROWS : out_height;
    for (int64_t v = 0; v < LANES; v += W) {
      for (int r = 0; r < K; ++r) {
        vec sums[weight_sets<K>][K] = {};
        for (int64_t h = top; h < end; ++h) {
          const int64_t at = h * S + r * D - P;
          if (at < 0 || at >= height) continue;
          for_segments(tiling, [&](auto n, int64_t column) NAS_LAMBDA {
            weight_segment<K, D, S, decltype(n)::value>(
                da + (h * out_width + column) * LANES + v,
                in + (at * width + column * S) * LANES + v, column * S, width, sums);
          });
        }
        each<K>([&](auto t) NAS_LAMBDA {
          constexpr int T = decltype(t)::value;
          real* cell = grad + (r * K + T) * LANES + v;
          vec sum = sums[0][T];
          each<weight_sets<K> - 1>([&](auto set)
                                       NAS_LAMBDA { sum += sums[decltype(set)::value + 1][T]; });
          store(cell, load(cell) + sum);
        });
      }
    }
  }
}
