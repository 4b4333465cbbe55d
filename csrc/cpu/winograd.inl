// Convolutions by Winograd's F(2, 3) along each side of 3: where a tile's inputs and the kernel
// are transformed to points, a convolution is a product of matrices a point. Compiled by
// each_isa.h.

#include "product.inl"
#include "winograd_transform.inl"

// The first n lanes, zero behind.
static NAS_INLINE vec load_some(const real* p, int64_t n) {
  if (n >= W) return load(p);
  vec v = {};
  for (int64_t l = 0; l < n; ++l) v[l] = p[l];
  return v;
}

static NAS_INLINE void store_some(real* p, vec v, int64_t n) {
  if (n >= W) {
    store(p, v);
    return;
  }
  for (int64_t l = 0; l < n; ++l) p[l] = v[l];
}

// Walks over tiles, the last axis fastest.
struct Walk {
  const Tiles& tiles;
  int64_t step[Tiles::kAxes];  // reals from one voxel to the next
  int64_t at[Tiles::kAxes];

  NAS_INLINE Walk(const Tiles& t, int64_t channels, int64_t index) : tiles(t) {
    int64_t stride = channels;
    for (int a = Tiles::kAxes - 1; a >= 0; --a) {
      step[a] = stride;
      stride *= t.size[a];
      at[a] = index % t.along(a);
      index /= t.along(a);
    }
  }

  NAS_INLINE void next() {
    for (int a = Tiles::kAxes - 1; a >= 0; --a) {
      if (++at[a] < tiles.along(a)) return;
      at[a] = 0;
    }
  }

  // The tile's LENGTH^N voxels of a map, from FIRST before its first output on; `outside` for
  // those that the map does not have.
  template <int N, int LENGTH, int FIRST, class Real>
  NAS_INLINE void voxels(Real* map, Real* outside, Real** found) const {
    int64_t first[N] = {}, side[N] = {}, apart[N] = {};
    bool inner = true;
    int n = 0;
    for (int a = 0; a < Tiles::kAxes; ++a) {
      const int64_t place = tiles.wide[a] ? 2 * at[a] - FIRST : at[a];
      map += place * step[a];
      if (!tiles.wide[a]) continue;
      inner = inner && place >= 0 && place + LENGTH <= tiles.size[a];
      first[n] = place;
      side[n] = tiles.size[a];
      apart[n++] = step[a];
    }
    each<power(LENGTH, N)>([&](auto index) NAS_LAMBDA {
      constexpr int I = decltype(index)::value;
      // Along the last axis, the one before it, and the first of three.
      constexpr int STEPS[3] = {I % LENGTH, I / LENGTH % LENGTH, I / LENGTH / LENGTH};
      int64_t sum = 0;
      bool all = true;
      each<N>([&](auto axis) NAS_LAMBDA {
        constexpr int M = N - 1 - decltype(axis)::value, S = STEPS[decltype(axis)::value];
        sum += S * apart[M];
        all = all && first[M] + S >= 0 && first[M] + S < side[M];
      });
      found[I] = inner || all ? map + sum : outside;
    });
  }
};

// Points of some tiles' voxels of a map, none below `floor`: those of channels [c, c + W) of tile
// t to place(t, c) and `apart` reals on for each, zero from `c1` to `end`.
template <int N, class Map, int FIRST, class Place>
static NAS_INLINE void points_of(
    const Tiles& tiles, int64_t first, int64_t count, const real* map, int64_t channels,
    int64_t c0, int64_t c1, int64_t end, real floor, const real* zeros, const Place& place,
    int64_t apart) {
  const vec least = splat(floor);
  Walk walk(tiles, channels, first);
  for (int64_t t = 0; t < count; ++t, walk.next()) {
    const real* from[power(Map::IN, N)];
    walk.voxels<N, Map::IN, FIRST>(map, zeros, from);
    for (int64_t c = c0; c < end; c += W) {
      real* to = place(t, c);
      transformed<N, Map>(
          [&](int i) NAS_LAMBDA { return max(least, load_some(from[i] + c, c1 - c)); },
          [&](int o, vec value) NAS_LAMBDA { store(to + o * apart, value); });
    }
  }
}

// All rows of a product with a packed panel, of which `left` columns are looked at; beyond them
// nothing is defined.
template <bool ADD>
static NAS_INLINE void panel_of(
    int64_t rows, const real* a, int64_t a_row, int64_t a_col, const real* b, int64_t depth,
    real* c, int64_t c_row, int64_t left) {
  if (left <= 0) return;
  for (int64_t i = 0; i < rows;) {
    const real* from = a + i * a_row;
    real* to = c + i * c_row;
    i += left <= W ? product_rows<ADD, true>(rows - i, from, a_row, a_col, b, depth, to, c_row, W)
                   : product_rows<ADD>(rows - i, from, a_row, a_col, b, depth, to, c_row, NR);
  }
}

template <int N>
static inline void winograd_block(
    const Tiles& tiles, int64_t first, int64_t count, const real* x, int64_t c_in, real floor,
    const real* weights, const real* gate, bool add, real* y, int64_t c_out, real* memory) {
  constexpr int POINTS = power(4, N), GIVEN = power(2, N);
  const int64_t in_row = (c_in + W - 1) / W * W, out_row = whole_panels(c_out);
  const int64_t in_step = point_stride(count, in_row), out_step = point_stride(count, out_row);
  real* zeros = memory;
  real* v = zeros + whole_panels(c_in);
  real* m = v + POINTS * in_step;
  for (int64_t c = 0; c < in_row; ++c) zeros[c] = 0;
  points_of<N, OfInput, 1>(
      tiles, first, count, x, c_in, 0, c_in, c_in, floor, zeros,
      [&](int64_t t, int64_t c) NAS_LAMBDA { return v + t * in_row + c; }, in_step);
  for (int p = 0; p < POINTS; ++p) {
    for (int64_t j = 0; j < out_row; j += NR) {
      const real* right = weights + (j / NR * POINTS + p) * point_stride(c_in, NR);
      panel_of<false>(
          count, v + p * in_step, in_row, 1, right, c_in, m + p * out_step + j, out_row,
          c_out - j);
    }
  }
  Walk walk(tiles, c_out, first);
  for (int64_t t = 0; t < count; ++t, walk.next()) {
    real* to[GIVEN];
    walk.voxels<N, 2, 0>(y, static_cast<real*>(nullptr), to);
    for (int64_t c = 0; c < c_out; c += W) {
      const real* from = m + t * out_row + c;
      transformed<N, ToOutput>(
          [&](int i) NAS_LAMBDA { return load(from + i * out_step); },
          [&](int o, vec value) NAS_LAMBDA {
            if (to[o] == nullptr) return;
            const int64_t left = c_out - c;
            if (add) value += load_some(to[o] + c, left);
            if (gate != nullptr) {
              value = where(load_some(gate + (to[o] - y) + c, left) > vec{}, value);
            }
            store_some(to[o] + c, value, left);
          });
    }
  }
}

// y[., c_out] of tiles [first, first + count) of the convolution of max(x, floor)[., c_in]; added
// to what y has if `add`, and then zero where `gate`, if given, is not above zero.
static inline void winograd_kernel(
    const Tiles& tiles, int64_t first, int64_t count, const real* x, int64_t c_in, real floor,
    const real* weights, const real* gate, bool add, real* y, int64_t c_out, real* memory) {
  switch (tiles.axes()) {
    case 1:
      return winograd_block<1>(
          tiles, first, count, x, c_in, floor, weights, gate, add, y, c_out, memory);
    case 2:
      return winograd_block<2>(
          tiles, first, count, x, c_in, floor, weights, gate, add, y, c_out, memory);
    default:
      return winograd_block<3>(
          tiles, first, count, x, c_in, floor, weights, gate, add, y, c_out, memory);
  }
}

// Taps of the kernels w[columns][TAPS][depth], for W of each from k and l on: [tap][k][l].
template <int TAPS>
static NAS_INLINE void taps_of(
    const real* w, int64_t depth, int64_t columns, int64_t k, int64_t l,
    real (&taps)[TAPS][W][W]) {
  const real* from = w + l * TAPS * depth + k;
  if (k + W <= depth && l + W <= columns) {
    for (int i = 0; i < TAPS; ++i) {
      vec rows[W];
      for (int c = 0; c < W; ++c) rows[c] = load(from + (c * TAPS + i) * depth);
      transpose(rows);
      for (int r = 0; r < W; ++r) store(taps[i][r], rows[r]);
    }
    return;
  }
  for (int i = 0; i < TAPS; ++i) {
    for (int r = 0; r < W; ++r) {
      for (int c = 0; c < W; ++c) {
        const bool inside = k + r < depth && l + c < columns;
        taps[i][r][c] = inside ? from[(c * TAPS + i) * depth + r] : 0;
      }
    }
  }
}

// Points of W columns of kernels from l on.
template <int N>
static inline void winograd_weights(
    const real* w, bool back, int64_t depth, int64_t columns, int64_t l, real* packed) {
  constexpr int TAPS = power(3, N);
  const int64_t point = point_stride(depth, NR);
  real* to = packed + l / NR * power(4, N) * point + l % NR;
  for (int64_t k = 0; k < depth; k += W) {
    real taps[TAPS][W][W];
    if (!back) taps_of<TAPS>(w, depth, columns, k, l, taps);
    for (int64_t r = 0; r < W && k + r < depth; ++r) {
      const real* from = w + (k + r) * TAPS * columns + l;
      transformed<N, OfKernel>(
          [&](int i) NAS_LAMBDA {
            return back ? load_some(from + (TAPS - 1 - i) * columns, columns - l)
                        : load(taps[i][r]);
          },
          [&](int o, vec value) NAS_LAMBDA { store(to + (k + r) * NR + o * point, value); });
    }
  }
}

// Points of kernels, columns [j, j + 32): packed[panel][point][depth][NR], zero behind the last.
// The kernels are w[columns][taps][depth] or, to go back, w[depth][taps][columns], taps reversed.
static inline void winograd_weights_kernel(
    int axes, const real* w, bool back, int64_t depth, int64_t columns, int64_t j, real* packed) {
  for (int64_t l = j; l < j + 32; l += W) {
    if (axes == 1) winograd_weights<1>(w, back, depth, columns, l, packed);
    if (axes == 2) winograd_weights<2>(w, back, depth, columns, l, packed);
    if (axes == 3) winograd_weights<3>(w, back, depth, columns, l, packed);
  }
}

template <int N>
static inline void winograd_sums(
    const Tiles& tiles, int64_t first, int64_t count, const real* x, int64_t c_in, real floor,
    const real* g, int64_t c_out, int64_t c0, int64_t c1, real* sums, real* memory) {
  constexpr int POINTS = power(4, N);
  const int64_t in_row = whole_panels(c_in), out_row = (c1 - c0 + W - 1) / W * W;
  const int64_t in_step = point_stride(count, in_row), out_step = point_stride(count, out_row);
  const int64_t widest = in_row > c1 ? in_row : whole_panels(c1);
  real* zeros = memory;
  real* v = zeros + widest;
  real* u = v + POINTS * in_step;
  for (int64_t c = 0; c < widest; ++c) zeros[c] = 0;
  points_of<N, OfInput, 1>(
      tiles, first, count, x, c_in, 0, c_in, in_row, floor, zeros,
      [&](int64_t t, int64_t c) NAS_LAMBDA { return v + c / NR * NR * count + t * NR + c % NR; },
      in_step);
  points_of<N, OfGradient, 0>(
      tiles, first, count, g, c_out, c0, c1, c1, -std::numeric_limits<real>::infinity(), zeros,
      [&](int64_t t, int64_t c) NAS_LAMBDA { return u + t * out_row + c - c0; }, out_step);
  for (int p = 0; p < POINTS; ++p) {
    for (int64_t j = 0; j < in_row; j += NR) {
      const real* right = v + p * in_step + j * count;
      panel_of<true>(
          c1 - c0, u + p * out_step, 1, out_row, right, count,
          sums + p * point_stride(c_out, in_row) + c0 * in_row + j, in_row, c_in - j);
    }
  }
}

// Adds to sums[point][c_out][c_in in whole panels] what tiles [first, first + count) give to the
// rows [c0, c1) of the gradient of the kernel.
static inline void winograd_sums_kernel(
    const Tiles& tiles, int64_t first, int64_t count, const real* x, int64_t c_in, real floor,
    const real* g, int64_t c_out, int64_t c0, int64_t c1, real* sums, real* memory) {
  switch (tiles.axes()) {
    case 1:
      return winograd_sums<1>(tiles, first, count, x, c_in, floor, g, c_out, c0, c1, sums, memory);
    case 2:
      return winograd_sums<2>(tiles, first, count, x, c_in, floor, g, c_out, c0, c1, sums, memory);
    default:
      return winograd_sums<3>(tiles, first, count, x, c_in, floor, g, c_out, c0, c1, sums, memory);
  }
}

template <int N>
static inline void winograd_gradient(
    const real* sums, int64_t parts, int64_t c_in, int64_t c_out, int64_t c, real* dw) {
  constexpr int TAPS = power(3, N);
  const int64_t row = whole_panels(c_in), point = point_stride(c_out, row);
  for (int64_t j = 0; j < c_in; j += W) {
    transformed<N, ToKernel>(
        [&](int i) NAS_LAMBDA {
          const real* from = sums + i * point + c * row + j;
          vec sum = load(from);
          for (int64_t p = 1; p < parts; ++p) sum += load(from + p * power(4, N) * point);
          return sum;
        },
        [&](int o, vec value)
            NAS_LAMBDA { store_some(dw + (c * TAPS + o) * c_in + j, value, c_in - j); });
  }
}

// dw[c_out][taps][c_in] of one output channel, from the sums of all parts.
static inline void winograd_gradient_kernel(
    int axes, const real* sums, int64_t parts, int64_t c_in, int64_t c_out, int64_t c, real* dw) {
  if (axes == 1) winograd_gradient<1>(sums, parts, c_in, c_out, c, dw);
  if (axes == 2) winograd_gradient<2>(sums, parts, c_in, c_out, c, dw);
  if (axes == 3) winograd_gradient<3>(sums, parts, c_in, c_out, c, dw);
}
