// Pointwise convolutions of maps: small matrix products over channels, and their gradients.
//
// Weights are [out blocks][in lanes][LANES]. Where several images share a block ("narrow", fewer
// channels than lanes of a vector, dividing them) they are [taps][channels][LANES], and a vector
// is shuffled within each image instead of multiplied by blocks of zeros.

// Vectors in a block of lanes, and sums that are kept in registers: enough that none is waited
// for.
constexpr int VECTORS = LANES / W;
constexpr int SUMS = NAS_VECTOR_BYTES == 64 ? 16 : 12;

struct Statistics {
  const real* shift;  // [lanes]
  real* sum;          // of z - shift
  real* square;       // of (z - shift)^2
};

// out[o][px] = sum over blocks b and lanes i of in[b][px][i] * weight[o][b * LANES + i], for N
// pixels and BLOCKS blocks of outputs.
template <int BLOCKS, int N, bool STATISTICS>
static NAS_INLINE void pointwise_tile(
    const real* in, int64_t in_stride, int64_t in_blocks, const real* weight,
    int64_t weight_stride, real* out, int64_t out_stride, const real* shift,
    vec (&sum)[BLOCKS * VECTORS], vec (&square)[BLOCKS * VECTORS]) {
  vec acc[N][BLOCKS * VECTORS] = {};
  for (int64_t b = 0; b < in_blocks; ++b) {
    const real* p = in + b * in_stride;
    const real* q = weight + b * LANES * LANES;
    each<LANES>([&](auto i) NAS_LAMBDA {
      constexpr int I = decltype(i)::value;
      vec column[BLOCKS * VECTORS];
      each<BLOCKS * VECTORS>([&](auto v) NAS_LAMBDA {
        constexpr int V = decltype(v)::value;
        column[V] = load(q + V / VECTORS * weight_stride + I * LANES + V % VECTORS * W);
      });
      each<N>([&](auto j) NAS_LAMBDA {
        constexpr int J = decltype(j)::value;
        const vec value = splat(p[J * LANES + I]);
        each<BLOCKS * VECTORS>([&](auto v) NAS_LAMBDA {
          constexpr int V = decltype(v)::value;
          acc[J][V] = fma(value, column[V], acc[J][V]);
        });
      });
    });
  }
  each<BLOCKS * VECTORS>([&](auto v) NAS_LAMBDA {
    constexpr int V = decltype(v)::value;
    each<N>([&](auto j) NAS_LAMBDA {
      constexpr int J = decltype(j)::value;
      store(out + V / VECTORS * out_stride + J * LANES + V % VECTORS * W, acc[J][V]);
      if constexpr (STATISTICS) {
        const vec d = acc[J][V] - load(shift + V * W);
        sum[V] += d;
        square[V] = fma(d, d, square[V]);
      }
    });
  });
}

template <int BLOCKS, bool STATISTICS>
static void pointwise_blocks(
    const real* in, int64_t in_stride, int64_t in_blocks, const real* weight, real* out,
    int64_t out_stride, int64_t n, Statistics statistics, const Ahead& ahead) {
  constexpr int N = SUMS / (BLOCKS * VECTORS) > 0 ? SUMS / (BLOCKS * VECTORS) : 1;
  // Of the pixels that are left, rather two tiles of this width than a full one and slow single
  // ones.
  constexpr int HALF = N > 4 ? 4 : N;
  const int64_t weight_stride = in_blocks * LANES * LANES;
  vec sum[BLOCKS * VECTORS] = {}, square[BLOCKS * VECTORS] = {};
  for (int64_t px = 0; px < n;) {
    const auto tile = [&](auto width) NAS_LAMBDA {
      constexpr int WIDTH = decltype(width)::value;
      ahead.fetch<WIDTH>(px);
      // A tile of one block is bound by its loads, and a fetch is one.
      if constexpr (BLOCKS > 1) ahead.fetch_later<WIDTH>(px);
      pointwise_tile<BLOCKS, WIDTH, STATISTICS>(
          in + px * LANES, in_stride, in_blocks, weight, weight_stride, out + px * LANES,
          out_stride, statistics.shift, sum, square);
      px += WIDTH;
    };
    const int64_t left = n - px;
    if (left == N || (left > N && left != 2 * HALF)) {
      tile(Int<N>{});
    } else if (left >= HALF) {
      tile(Int<HALF>{});
    } else {
      tile(Int<1>{});
    }
  }
  if constexpr (STATISTICS) {
    each<BLOCKS * VECTORS>([&](auto v) NAS_LAMBDA {
      constexpr int V = decltype(v)::value;
      store(statistics.sum + V * W, load(statistics.sum + V * W) + sum[V]);
      store(statistics.square + V * W, load(statistics.square + V * W) + square[V]);
    });
  }
}

// A vector with each lane replaced by channel I of its image.
template <int CHANNELS, int I>
static NAS_INLINE vec channel_of_image(vec v) {
  mask lanes;
  each<W>([&](auto l) NAS_LAMBDA {
    constexpr int L = decltype(l)::value;
    lanes[L] = L / CHANNELS * CHANNELS + I;
  });
  return __builtin_shuffle(v, lanes);
}

// N pixels of one vector's lanes.
template <int CHANNELS, int N, bool STATISTICS>
static NAS_INLINE void narrow_tile(
    const real* in, int64_t in_stride, int64_t taps, const real* weight, real* out, vec shift,
    vec (&sum)[N], vec (&square)[N]) {
  vec acc[N] = {};
  for (int64_t t = 0; t < taps; ++t) {
    vec a[N];
    each<N>([&](auto j) NAS_LAMBDA {
      constexpr int J = decltype(j)::value;
      a[J] = load(in + t * in_stride + J * LANES);
    });
    each<CHANNELS>([&](auto i) NAS_LAMBDA {
      constexpr int I = decltype(i)::value;
      const vec row = load(weight + (t * CHANNELS + I) * LANES);
      each<N>([&](auto j) NAS_LAMBDA {
        constexpr int J = decltype(j)::value;
        acc[J] = fma(channel_of_image<CHANNELS, I>(a[J]), row, acc[J]);
      });
    });
  }
  each<N>([&](auto j) NAS_LAMBDA {
    constexpr int J = decltype(j)::value;
    store(out + J * LANES, acc[J]);
    if constexpr (STATISTICS) {
      const vec d = acc[J] - shift;
      sum[J] += d;
      square[J] = fma(d, d, square[J]);
    }
  });
}

template <int CHANNELS, bool STATISTICS>
static void pointwise_narrow(
    const real* in, int64_t in_stride, int64_t taps, const real* weight, real* out, int64_t n,
    Statistics statistics, const Ahead& ahead) {
  // Pixels side by side, so that none waits for the sums of the one before.
  constexpr int N = 4;
  for (int64_t v = 0; v < LANES; v += W) {
    vec sum[N] = {}, square[N] = {}, last_sum[1] = {}, last_square[1] = {};
    const vec shift = STATISTICS ? load(statistics.shift + v) : vec{};
    int64_t px = 0;
    for (; px + N <= n; px += N) {
      if (v == 0) ahead.fetch<N>(px);
      narrow_tile<CHANNELS, N, STATISTICS>(
          in + px * LANES + v, in_stride, taps, weight + v, out + px * LANES + v, shift, sum,
          square);
    }
    for (; px < n; ++px) {
      narrow_tile<CHANNELS, 1, STATISTICS>(
          in + px * LANES + v, in_stride, taps, weight + v, out + px * LANES + v, shift, last_sum,
          last_square);
    }
    if constexpr (STATISTICS) {
      each<N>([&](auto j) NAS_LAMBDA {
        constexpr int J = decltype(j)::value;
        last_sum[0] += sum[J];
        last_square[0] += square[J];
      });
      store(statistics.sum + v, load(statistics.sum + v) + last_sum[0]);
      store(statistics.square + v, load(statistics.square + v) + last_square[0]);
    }
  }
}

// Calls f(Int<channels>{}) for the channels that can be narrow.
template <class F>
static NAS_INLINE void with_channels(int64_t channels, const F& f) {
  switch (channels) {
    case 1:
      return f(Int<1>{});
    case 2:
      return f(Int<2>{});
    case 4:
      if constexpr (W >= 4) f(Int<4>{});
      return;
    default:
      if constexpr (W >= 8) f(Int<8>{});
  }
}

// n pixels of out_blocks blocks of outputs.
template <bool STATISTICS>
static void pointwise(
    const real* in, int64_t in_stride, int64_t in_blocks, const real* weight, real* out,
    int64_t out_stride, int64_t out_blocks, int64_t n, Statistics statistics, const Ahead& ahead) {
  const int64_t weight_stride = in_blocks * LANES * LANES;
  constexpr int BLOCKS = VECTORS == 1 ? 2 : 1;
  int64_t o = 0;
  const auto rest = [&]()
                        NAS_LAMBDA {
                          return STATISTICS ? Statistics{statistics.shift + o * LANES, statistics.sum + o * LANES,
                                   statistics.square + o * LANES}
                      : Statistics{};
                        };
  for (; o + BLOCKS <= out_blocks; o += BLOCKS) {
    pointwise_blocks<BLOCKS, STATISTICS>(
        in, in_stride, in_blocks, weight + o * weight_stride, out + o * out_stride, out_stride, n,
        rest(), o == 0 ? ahead : Ahead{});
  }
  for (; o < out_blocks; ++o) {
    pointwise_blocks<1, STATISTICS>(
        in, in_stride, in_blocks, weight + o * weight_stride, out + o * out_stride, out_stride, n,
        rest(), o == 0 ? ahead : Ahead{});
  }
}

// Adds in[px][i] * dz[o][px] over n pixels to rows i < N of BLOCKS blocks of a gradient.
template <int N, int BLOCKS>
static NAS_INLINE void weight_rows(
    const real* in, const real* dz, int64_t dz_stride, int64_t n, real* grad,
    int64_t grad_stride) {
  constexpr int COUNT = BLOCKS * VECTORS;
  const auto cell = [&](auto k) NAS_LAMBDA {
    constexpr int J = decltype(k)::value / COUNT, V = decltype(k)::value % COUNT;
    return grad + V / VECTORS * grad_stride + J * LANES + V % VECTORS * W;
  };
  vec acc[N * COUNT];
  each<N * COUNT>([&](auto k) NAS_LAMBDA { acc[decltype(k)::value] = load(cell(k)); });
  for (int64_t px = 0; px < n; ++px) {
    vec d[COUNT];
    each<COUNT>([&](auto v) NAS_LAMBDA {
      constexpr int V = decltype(v)::value;
      d[V] = load(dz + V / VECTORS * dz_stride + px * LANES + V % VECTORS * W);
    });
    each<N>([&](auto j) NAS_LAMBDA {
      constexpr int J = decltype(j)::value;
      const vec value = splat(in[px * LANES + J]);
      each<COUNT>([&](auto v) NAS_LAMBDA {
        constexpr int V = decltype(v)::value;
        acc[J * COUNT + V] = fma(value, d[V], acc[J * COUNT + V]);
      });
    });
  }
  each<N * COUNT>([&](auto k) NAS_LAMBDA { store(cell(k), acc[decltype(k)::value]); });
}

// The same for all rows of BLOCKS blocks, as many at a time as there are registers for.
template <int BLOCKS>
static NAS_INLINE void weight_blocks(
    const real* in, const real* dz, int64_t dz_stride, int64_t n, real* grad,
    int64_t grad_stride) {
  constexpr int COUNT = BLOCKS * VECTORS, N = SUMS / COUNT > 0 ? SUMS / COUNT : 1;
  int64_t i = 0;
  for (; i + N <= LANES; i += N) {
    weight_rows<N, BLOCKS>(in + i, dz, dz_stride, n, grad + i * LANES, grad_stride);
  }
  if constexpr (LANES % N != 0) {
    weight_rows<LANES % N, BLOCKS>(in + i, dz, dz_stride, n, grad + i * LANES, grad_stride);
  }
}

// Adds in[b][px][i] * dz[o][px] over n pixels to grad[o][b * LANES + i].
static inline void pointwise_weights(
    const real* in, int64_t in_stride, int64_t in_blocks, const real* dz, int64_t dz_stride,
    int64_t out_blocks, int64_t n, real* grad) {
  const int64_t grad_stride = in_blocks * LANES * LANES;
  constexpr int BLOCKS = VECTORS == 1 ? 2 : 1;
  for (int64_t o = 0; o < out_blocks;) {
    const real* d = dz + o * dz_stride;
    const bool full = o + BLOCKS <= out_blocks;
    for (int64_t b = 0; b < in_blocks; ++b) {
      const real* p = in + b * in_stride;
      real* block = grad + o * grad_stride + b * LANES * LANES;
      full ? weight_blocks<BLOCKS>(p, d, dz_stride, n, block, grad_stride)
           : weight_blocks<1>(p, d, dz_stride, n, block, grad_stride);
    }
    o += full ? BLOCKS : 1;
  }
}

// The same where images share a block: grad is [taps][channels][LANES], a sum for each lane.
template <int CHANNELS>
static void pointwise_narrow_weights(
    const real* in, int64_t in_stride, int64_t taps, const real* dz, int64_t n, real* grad) {
  for (int64_t t = 0; t < taps; ++t) {
    for (int64_t v = 0; v < LANES; v += W) {
      vec acc[2][CHANNELS] = {};
      real* row = grad + t * CHANNELS * LANES + v;
      const real* p = in + t * in_stride + v;
      const auto add = [&](auto set, int64_t px) NAS_LAMBDA {
        const vec a = load(p + px * LANES), d = load(dz + px * LANES + v);
        each<CHANNELS>([&](auto i) NAS_LAMBDA {
          constexpr int I = decltype(i)::value, SET = decltype(set)::value;
          acc[SET][I] = fma(channel_of_image<CHANNELS, I>(a), d, acc[SET][I]);
        });
      };
      int64_t px = 0;
      for (; px + 2 <= n; px += 2) {
        add(Int<0>{}, px);
        add(Int<1>{}, px + 1);
      }
      if (px < n) add(Int<0>{}, px);
      each<CHANNELS>([&](auto i) NAS_LAMBDA {
        constexpr int I = decltype(i)::value;
        store(row + I * LANES, load(row + I * LANES) + (acc[0][I] + acc[1][I]));
      });
    }
  }
}
