// Backward pass of the mixed edge over one group of images. Compiled by each_isa.h.

#include "depthwise.inl"
#include "maps.inl"
#include "pointwise.inl"
#include "pools.inl"

static NAS_INLINE void add_lanes(double* to, vec sum) {
  for (int64_t l = 0; l < W; ++l) to[l] += sum[l];
}

static NAS_INLINE double* sums_of(const edge::Args<real>& a, int64_t row, int64_t group) {
  return a.sums + (row * a.shape.groups + group) * a.shape.lanes();
}

// One vector's lanes of a map that is summed with g.
struct Summand {
  const real* at;
  int64_t pixel;  // its pixels lie so far apart
  vec mean;
  double* to;
};

// Adds to each of N summands' totals the sum of g * (map - mean) over the pixels.
template <int N>
static void dots(const real* g, int64_t g_pixel, const Summand* of, int64_t pixels) {
  constexpr int64_t RUN = 256;
  Summand own[N];
  each<N>([&](auto k) NAS_LAMBDA { own[decltype(k)::value] = of[decltype(k)::value]; });
  for (int64_t px = 0; px < pixels;) {
    const int64_t end = px + RUN < pixels ? px + RUN : pixels;
    vec sums[N] = {};
    for (; px < end; ++px) {
      const vec here = load(g + px * g_pixel);
      each<N>([&](auto k) NAS_LAMBDA {
        constexpr int K = decltype(k)::value;
        sums[K] = fma(here, load(own[K].at + px * own[K].pixel) - own[K].mean, sums[K]);
      });
    }
    each<N>([&](auto k)
                NAS_LAMBDA { add_lanes(own[decltype(k)::value].to, sums[decltype(k)::value]); });
  }
}

// The same for any number, as many at a time as there are registers for: g is read once for them.
static NAS_INLINE void dots(
    const real* g, int64_t g_pixel, const Summand* of, int64_t count, int64_t pixels) {
  for (; count >= 4; count -= 4, of += 4) dots<4>(g, g_pixel, of, pixels);
  for (; count >= 2; count -= 2, of += 2) dots<2>(g, g_pixel, of, pixels);
  if (count > 0) dots<1>(g, g_pixel, of, pixels);
}

template <int S>
static void pool_sums(
    const edge::Args<real>& a, int64_t group, View x, View g, int64_t block, int64_t v) {
  const edge::Shape& s = a.shape;
  const int64_t lane = block * LANES + v;
  const real* g_at = g.at + block * g.block + v;
  double* to[2] = {};
  vec centre[2] = {};
  double unused[W];
  to[0] = to[1] = unused;
  double* plain = nullptr;
  for (int64_t k = 0; k < a.branch_count; ++k) {
    const edge::Branch& branch = a.branches[k];
    double* row = sums_of(a, edge::SUM_BRANCH + k, group) + lane;
    if (branch.kind == edge::Kind::avg_pool_plain && a.needs_dw) plain = row;
    const int which = branch.kind == edge::Kind::avg_pool;
    if (!which && branch.kind != edge::Kind::max_pool) continue;
    to[which] = row;
    centre[which] = load(a.mean + branch.norm * s.lanes() + lane);
  }
  for (int64_t h = 0; h < s.out_height; ++h) {
    vec sums[3] = {};
    pool_row<S>(
        x.at + block * x.block + v, x.pixel, s.height, s.width, s.out_width, h,
        [&](int64_t j, vec largest, vec mean, vec) NAS_LAMBDA {
          const vec here = load(g_at + (h * s.out_width + j) * g.pixel);
          sums[0] = fma(here, largest - centre[0], sums[0]);
          sums[1] = fma(here, mean - centre[1], sums[1]);
          sums[2] = fma(here, mean, sums[2]);
        });
    add_lanes(to[0], sums[0]);
    add_lanes(to[1], sums[1]);
    if (plain != nullptr) add_lanes(plain, sums[2]);
  }
}

static inline bool has_pools(const edge::Args<real>& a) {
  for (int64_t k = 0; k < a.branch_count; ++k) {
    const edge::Kind kind = a.branches[k].kind;
    if (kind == edge::Kind::max_pool || kind == edge::Kind::avg_pool ||
        kind == edge::Kind::avg_pool_plain) {
      return true;
    }
  }
  return false;
}

// Sums of g, and of g times what each branch gives.
static inline void edge_sums_kernel(
    const edge::Args<real>& a, int64_t group, const edge::Scratch<real>& scratch) {
  const edge::Shape& s = a.shape;
  const int64_t pixels = s.out_pixels();
  const View g = view_of(s, group, pixels, a.g, scratch.g);
  const View x = view_of(s, group, s.pixels(), a.x, scratch.x);
  const bool pools = has_pools(a);
  for (int64_t b = 0; b < s.blocks; ++b) {
    for (int64_t v = 0; v < LANES; v += W) {
      const int64_t lane = b * LANES + v, base = b * pixels * LANES + v;
      const real* g_at = g.at + b * g.block + v;
      double* total = sums_of(a, edge::SUM_G, group) + lane;
      for (int64_t px = 0; px < pixels;) {
        const int64_t end = px + 256 < pixels ? px + 256 : pixels;
        vec sum = {};
        for (; px < end; ++px) sum += load(g_at + px * g.pixel);
        add_lanes(total, sum);
      }
      if (pools) {
        s.stride == 1 ? pool_sums<1>(a, group, x, g, b, v) : pool_sums<2>(a, group, x, g, b, v);
      }
      Summand summands[edge::MAX_BRANCHES];
      int64_t count = 0;
      for (int64_t k = 0; k < a.branch_count; ++k) {
        const edge::Branch& branch = a.branches[k];
        double* to = sums_of(a, edge::SUM_BRANCH + k, group) + lane;
        if (branch.kind == edge::Kind::skip && a.needs_dw) {
          summands[count++] = {x.at + b * x.block + v, x.pixel, vec{}, to};
        }
        if (branch.kind == edge::Kind::convolution) {
          const vec mean = load(a.mean + branch.norm * s.lanes() + lane);
          const real* z = z_of(a, scratch, branch.stage, group) + base;
          summands[count++] = {z, LANES, mean, to};
        }
      }
      dots(g_at, g.pixel, summands, count, pixels);
    }
  }
}

// Adds rows of the gradient of what a dense stage gathered to that of its input.
static void scatter(
    const edge::Shape& s, const edge::Stage& t, const real* back, int64_t stride, int64_t top,
    int64_t rows, real* dx) {
  for (int64_t b = 0; b < s.blocks; ++b) {
    for (int64_t tap = 0; tap < t.taps; ++tap) {
      for (int64_t h = 0; h < rows; ++h) {
        const int64_t row = (top + h) * t.stride + t.rows[tap];
        if (row < 0 || row >= s.height) continue;
        const real* from = back + (tap * s.blocks + b) * stride + h * s.out_width * LANES;
        real* to = dx + (b * s.pixels() + row * s.width) * LANES;
        for (int64_t j = 0; j < s.out_width; ++j) {
          const int64_t column = j * t.stride + t.cols[tap];
          if (column < 0 || column >= s.width) continue;
          for (int64_t v = 0; v < LANES; v += W) {
            real* cell = to + column * LANES + v;
            store(cell, load(cell) + load(from + j * LANES + v));
          }
        }
      }
    }
  }
}

// What flows back through a stage's pointwise convolution: `to` [taps * blocks][n pixels].
static void pointwise_back(
    const edge::Args<real>& a, int64_t stage, const real* dz, int64_t stride, int64_t n, real* to,
    int64_t to_stride) {
  const edge::Shape& s = a.shape;
  const edge::Stage& t = a.stages[stage];
  if (!s.narrow) {
    pointwise<false>(
        dz, stride, s.blocks, a.transposed[stage], to, to_stride, t.taps * s.blocks, n, {});
    return;
  }
  with_channels(s.channels, [&](auto c) {
    constexpr int CHANNELS = decltype(c)::value;
    for (int64_t tap = 0; tap < t.taps; ++tap) {
      pointwise_narrow<CHANNELS, false>(
          dz, stride, 1, a.transposed[stage] + tap * CHANNELS * LANES, to + tap * to_stride, n,
          {});
    }
  });
}

// Backward of one stage of one group: adds to the gradients of its weights where wanted, and to
// dx, the gradient of its input u, where that is not null. g: gradient of its normalised output.
static void stage_back(
    const edge::Args<real>& a, int64_t stage, int64_t group, View g, const real* u, real* dx,
    const edge::Grads<real>& grads, const edge::Scratch<real>& scratch) {
  const edge::Shape& s = a.shape;
  const edge::Stage& t = a.stages[stage];
  const bool params = a.needs_params[stage];
  const int64_t height = t.first ? s.height : s.out_height;
  const int64_t width = t.first ? s.width : s.out_width;
  const int64_t out_stride = s.out_pixels() * LANES;
  const int64_t stride = s.rows * s.out_width * LANES;
  const real* z = z_of(a, scratch, stage, group);
  const real* gradient = a.gradient.of(group == s.groups - 1) + t.norm * 3 * s.lanes();
  for (int64_t top = 0; top < s.out_height; top += s.rows) {
    const int64_t rows = s.out_height - top < s.rows ? s.out_height - top : s.rows;
    const int64_t n = rows * s.out_width;
    for (int64_t b = 0; b < s.blocks; ++b) {
      for (int64_t v = 0; v < LANES; v += W) {
        const int64_t lane = b * LANES + v;
        const int64_t at = b * out_stride + top * s.out_width * LANES + v;
        const vec c0 = load(gradient + lane), c1 = load(gradient + s.lanes() + lane);
        const vec c2 = load(gradient + 2 * s.lanes() + lane);
        const real* from = g.at + b * g.block + top * s.out_width * g.pixel + v;
        real* to = scratch.dz + b * stride + v;
        for (int64_t px = 0; px < n; ++px) {
          const vec scaled = fma(c1, load(z + at + px * LANES), c2);
          store(to + px * LANES, fma(c0, load(from + px * g.pixel), scaled));
        }
      }
    }
    if (params) {
      gather(a, stage, u, top, rows, scratch.gathered, stride);
      if (s.narrow) {
        with_channels(s.channels, [&](auto c) {
          pointwise_narrow_weights<decltype(c)::value>(
              scratch.gathered, stride, t.taps, scratch.dz, n, grads.pointwise[stage]);
        });
      } else {
        pointwise_weights(
            scratch.gathered, stride, t.taps * s.blocks, scratch.dz, stride, s.blocks, n,
            grads.pointwise[stage]);
      }
    }
    if (t.separable && (params || dx != nullptr)) {
      pointwise_back(
          a, stage, scratch.dz, stride, n, scratch.da + top * s.out_width * LANES, out_stride);
    } else if (dx != nullptr) {
      pointwise_back(a, stage, scratch.dz, stride, n, scratch.back, stride);
      scatter(s, t, scratch.back, stride, top, rows, dx);
    }
  }
  if (!t.separable) return;
  const int64_t window = t.kernel * t.kernel * LANES;
  with_window(t, [&](auto k, auto d, auto st) {
    constexpr int K = decltype(k)::value, D = decltype(d)::value, S = decltype(st)::value;
    for (int64_t b = 0; b < s.blocks; ++b) {
      const real* da = scratch.da + b * out_stride;
      const real* in = u + b * height * width * LANES;
      if (params) {
        depthwise_weights<K, D, S>(
            da, s.out_height, s.out_width, in, height, width, grads.depthwise[stage] + b * window,
            a.out_tiling);
      }
      if (dx == nullptr) continue;
      const Tiling* tilings = t.first ? a.in_tiling : &a.out_tiling;
      for (int64_t row = 0; row < height; ++row) {
        depthwise_back_row<K, D, S>(
            da, s.out_height, s.out_width, row, a.depthwise[stage] + b * window,
            dx + (b * height + row) * width * LANES, tilings);
      }
    }
  });
}

static NAS_INLINE void clear(real* map, int64_t n) {
  for (int64_t i = 0; i < n; i += W) store(map + i, vec{});
}

// All stages that read the stage before, down to the gradient of that stage's normalised output.
static inline void edge_back_second_kernel(
    const edge::Args<real>& a, int64_t group, const edge::Grads<real>& grads,
    const edge::Scratch<real>& scratch) {
  const edge::Shape& s = a.shape;
  const int64_t lanes = s.lanes(), pixels = s.out_pixels();
  const bool last = group == s.groups - 1;
  const View g = view_of(s, group, pixels, a.g, scratch.g);
  for (int64_t i = 0; i < a.stage_count; ++i) {
    if (a.stages[i].first || !a.needs_branch[a.stages[i].branch]) continue;
    const int64_t slot = a.du_slot[i - 1];
    const int64_t row = a.stages[i - 1].norm * lanes;
    normed_relu(
        s, z_of(a, scratch, i - 1, group), a.scale.of(last) + row, a.bias.of(last) + row,
        scratch.u);
    if (slot < 0) {
      stage_back(a, i, group, g, scratch.u, nullptr, grads, scratch);
      continue;
    }
    clear(scratch.dx, s.out_map());
    stage_back(a, i, group, g, scratch.u, scratch.dx, grads, scratch);
    real* du = a.du + (slot * s.groups + group) * s.out_map();
    double* sum = sums_of(a, edge::sum_between(a.branch_count, slot), group);
    double* product = sums_of(a, edge::sum_between(a.branch_count, slot) + 1, group);
    for (int64_t b = 0; b < s.blocks; ++b) {
      for (int64_t v = 0; v < LANES; v += W) {
        const int64_t base = b * pixels * LANES + v;
        for (int64_t px = 0; px < pixels;) {
          const int64_t end = px + 256 < pixels ? px + 256 : pixels;
          vec sums[2] = {};
          for (; px < end; ++px) {
            const vec u = load(scratch.u + base + px * LANES);
            const vec d = where((mask)(u > vec{}), load(scratch.dx + base + px * LANES));
            sums[0] += d;
            sums[1] = fma(d, u, sums[1]);
            store(du + base + px * LANES, d);
          }
          add_lanes(sum + b * LANES + v, sums[0]);
          add_lanes(product + b * LANES + v, sums[1]);
        }
      }
    }
  }
}

// Adds what flows back through the pools and the skip connection.
template <int S>
static void window_back(
    const edge::Args<real>& a, int64_t group, View x, View g, real* dx_map, real* memory) {
  const edge::Shape& s = a.shape;
  const int64_t lanes = s.lanes();
  const real* gradient = a.gradient.of(group == s.groups - 1);
  for (int64_t b = 0; b < s.blocks; ++b) {
    for (int64_t v = 0; v < LANES; v += W) {
      const real* g_at = g.at + b * g.block + v;
      const real* x_at = x.at + b * x.block + v;
      real* dx = dx_map + b * s.pixels() * LANES + v;
      vec of_max[3] = {}, of_mean[3] = {};
      for (int64_t k = 0; k < a.branch_count; ++k) {
        const edge::Branch& branch = a.branches[k];
        vec* of = branch.kind == edge::Kind::max_pool   ? of_max
                  : branch.kind == edge::Kind::avg_pool ? of_mean
                                                        : nullptr;
        for (int i = 0; i < 3 && of != nullptr; ++i) {
          of[i] += load(gradient + (branch.norm * 3 + i) * lanes + b * LANES + v);
        }
        if (branch.kind == edge::Kind::avg_pool_plain) of_mean[0] += splat(a.w[k]);
        if (branch.kind == edge::Kind::skip) {
          for (int64_t px = 0; px < s.pixels(); ++px) {
            const vec here = load(g_at + px * g.pixel);
            store(dx + px * LANES, fma(splat(a.w[k]), here, load(dx + px * LANES)));
          }
        }
      }
      if (!has_pools(a)) continue;
      for (int64_t h = 0; h < s.out_height; ++h) {
        const real* row = g_at + h * s.out_width * g.pixel;
        pool_back_row<S>(
            x_at, x.pixel, s.height, s.width, s.out_width, h,
            [&](int64_t j, vec largest) NAS_LAMBDA {
              return fma(of_max[0], load(row + j * g.pixel), fma(of_max[1], largest, of_max[2]));
            },
            [&](int64_t j, vec mean) NAS_LAMBDA {
              return fma(of_mean[0], load(row + j * g.pixel), fma(of_mean[1], mean, of_mean[2]));
            },
            dx, memory);
      }
    }
  }
}

// All stages that read x, the pools and the skip connection.
static inline void edge_back_first_kernel(
    const edge::Args<real>& a, int64_t group, const edge::Grads<real>& grads,
    const edge::Scratch<real>& scratch) {
  const edge::Shape& s = a.shape;
  const View g = view_of(s, group, s.out_pixels(), a.g, scratch.g);
  const View x = view_of(s, group, s.pixels(), a.x, scratch.x);
  // The map of an image of LANES channels is the tensor's own memory.
  const bool direct = s.channels == LANES;
  real* dx = a.dx == nullptr ? nullptr : direct ? a.dx + group * s.map() : scratch.dx;
  if (dx != nullptr) clear(dx, s.map());
  if (a.stage_count > 0) relu_map(s, x, s.pixels(), scratch.u);
  for (int64_t i = 0; i < a.stage_count; ++i) {
    if (!a.stages[i].first || (dx == nullptr && !a.needs_params[i])) continue;
    const int64_t slot = a.du_slot[i];
    View dout = g;
    if (slot >= 0) {
      dout = view_of_map(a.du + (slot * s.groups + group) * s.out_map(), s.out_pixels());
    }
    stage_back(a, i, group, dout, scratch.u, dx, grads, scratch);
  }
  if (dx == nullptr) return;
  if (a.stage_count > 0) {
    for (int64_t i = 0; i < s.map(); i += W) {
      store(dx + i, where((mask)(load(scratch.u + i) > vec{}), load(dx + i)));
    }
  }
  s.stride == 1 ? window_back<1>(a, group, x, g, dx, scratch.windows)
                : window_back<2>(a, group, x, g, dx, scratch.windows);
  if (!direct) from_map(s, group, s.pixels(), dx, a.dx);
}
