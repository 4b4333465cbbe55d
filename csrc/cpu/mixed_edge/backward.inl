// Backward pass of the mixed edge over one group of images. Compiled by each_isa.h.

#include "depthwise.inl"
#include "maps.inl"
#include "pointwise.inl"
#include "pools.inl"
#include "sums.inl"

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
    int64_t to_stride, const Ahead& ahead) {
  const edge::Shape& s = a.shape;
  const edge::Stage& t = a.stages[stage];
  if (!s.narrow) {
    pointwise<false>(
        dz, stride, s.blocks, a.transposed[stage], to, to_stride, t.taps * s.blocks, n, {}, ahead);
    return;
  }
  with_channels(s.channels, [&](auto c) {
    constexpr int CHANNELS = decltype(c)::value;
    for (int64_t tap = 0; tap < t.taps; ++tap) {
      pointwise_narrow<CHANNELS, false>(
          dz, stride, 1, a.transposed[stage] + tap * CHANNELS * LANES, to + tap * to_stride, n, {},
          tap == 0 ? ahead : Ahead{});
    }
  });
}

// Backward of one stage of one group: adds to the gradients of its weights where wanted. What
// flows back to its input u, where `back` says that it is wanted, is added to dx for a dense
// stage; for a separable one scratch.da then holds what input_back goes on with. g: gradient of
// its normalised output.
static void stage_back(
    const edge::Args<real>& a, int64_t stage, int64_t group, View g, const real* u, bool back,
    real* dx, const edge::Grads<real>& grads, const edge::Scratch<real>& scratch) {
  const edge::Shape& s = a.shape;
  const edge::Stage& t = a.stages[stage];
  const bool params = a.needs_params[stage];
  const int64_t height = t.first ? s.height : s.out_height;
  const int64_t width = t.first ? s.width : s.out_width;
  const int64_t out_stride = s.out_pixels() * LANES;
  const int64_t stride = s.rows * s.out_width * LANES;
  const real* z = z_of(a, scratch, stage, group);
  const real* gradient = a.gradient.of(group == s.groups - 1) + t.norm * 3 * s.lanes();
  const real* next = next_z(a, scratch, stage, group);
  for (int64_t top = 0; top < s.out_height; top += s.rows) {
    const int64_t rows = s.out_height - top < s.rows ? s.out_height - top : s.rows;
    const int64_t n = rows * s.out_width, after = (top + rows) * s.out_width;
    // What the next rows read, or at the last ones the next stage.
    const bool more = top + rows < s.out_height;
    const View g_after = {more ? g.at + after * g.pixel : nullptr, g.block, g.pixel};
    const View z_after = {more ? z + after * LANES : next, out_stride, LANES};
    const Ahead ahead = {{z_after, g_after}, s.blocks, nullptr};
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
    // First what fetches ahead, so that the rest gives it time.
    if (t.separable && (params || back)) {
      pointwise_back(
          a, stage, scratch.dz, stride, n, scratch.da + top * s.out_width * LANES, out_stride,
          ahead);
    } else if (back) {
      pointwise_back(a, stage, scratch.dz, stride, n, scratch.back, stride, ahead);
      scatter(s, t, scratch.back, stride, top, rows, dx);
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
  }
  if (!t.separable || !params) return;
  const int64_t window = t.kernel * t.kernel * LANES;
  with_window(t, [&](auto k, auto d, auto st) {
    for (int64_t b = 0; b < s.blocks; ++b) {
      depthwise_weights<decltype(k)::value, decltype(d)::value, decltype(st)::value>(
          scratch.da + b * out_stride, s.out_height, s.out_width, u + b * height * width * LANES,
          height, width, grads.depthwise[stage] + b * window, a.out_tiling);
    }
  });
}

// The rest of the way back to a separable stage's input, row by row: adds to the row that
// begin(block, row) gives, then calls end(block, row).
template <class Begin, class End>
static NAS_INLINE void input_back(
    const edge::Args<real>& a, int64_t stage, const edge::Scratch<real>& scratch,
    const Begin& begin, const End& end) {
  const edge::Shape& s = a.shape;
  const edge::Stage& t = a.stages[stage];
  const int64_t height = t.first ? s.height : s.out_height;
  const int64_t window = t.kernel * t.kernel * LANES;
  const Tiling* tilings = t.first ? a.in_tiling : &a.out_tiling;
  with_window(t, [&](auto k, auto d, auto st) {
    for (int64_t b = 0; b < s.blocks; ++b) {
      for (int64_t row = 0; row < height; ++row) {
        depthwise_back_row<decltype(k)::value, decltype(d)::value, decltype(st)::value>(
            scratch.da + b * s.out_pixels() * LANES, s.out_height, s.out_width, row,
            a.depthwise[stage] + b * window, begin(b, row), tilings);
        end(b, row);
      }
    }
  });
}

static NAS_INLINE void clear(real* map, int64_t n) {
  for (int64_t i = 0; i < n; i += W) store(map + i, vec{});
}

// All stages that read the stage before, down to the gradient of that stage's normalised output.
static inline void edge_back_second_kernel(
    const edge::Args<real>& a, int64_t group, edge::Part part, const edge::Grads<real>& grads,
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
    stage_back(a, i, group, g, scratch.u, slot >= 0, nullptr, grads, scratch);
    if (slot < 0) continue;
    real* du = a.du + (slot * s.groups + group) * s.out_map();
    double* sum = sums_of(a, edge::sum_between(a.branch_count, slot), part);
    double* product = sums_of(a, edge::sum_between(a.branch_count, slot) + 1, part);
    vec sums[2][VECTORS] = {};
    input_back(
        a, i, scratch,
        [&](int64_t, int64_t) NAS_LAMBDA {
          clear(scratch.back, s.out_width * LANES);
          return scratch.back;
        },
        // Through the ReLU, with its sums.
        [&](int64_t b, int64_t row) NAS_LAMBDA {
          const int64_t base = b * pixels * LANES + row * s.out_width * LANES;
          const bool full = (row + 1) % rows_of_run(s, 0) == 0 || row + 1 == s.out_height;
          each<VECTORS>([&](auto k) NAS_LAMBDA {
            constexpr int K = decltype(k)::value;
            vec own[2] = {sums[0][K], sums[1][K]};
            for (int64_t px = 0; px < s.out_width;) {
              const int64_t end = px + RUN < s.out_width ? px + RUN : s.out_width;
              for (; px < end; ++px) {
                const int64_t at = px * LANES + K * W;
                const vec u = load(scratch.u + base + at);
                const vec d = where((mask)(u > vec{}), load(scratch.back + at));
                own[0] += d;
                own[1] = fma(d, u, own[1]);
                store(du + base + at, d);
                __builtin_prefetch(du + base + at + 2 * s.out_width * LANES, 1);
              }
              if (!full && end == s.out_width) break;
              add_lanes(sum + b * LANES + K * W, own[0]);
              add_lanes(product + b * LANES + K * W, own[1]);
              own[0] = own[1] = vec{};
            }
            sums[0][K] = own[0];
            sums[1][K] = own[1];
          });
        });
  }
}

// Takes the gradient of the convolutions' input through their ReLU, and adds that of the skip
// connection.
static void relu_and_skip_back(const edge::Args<real>& a, View g, const real* u, real* dx) {
  const edge::Shape& s = a.shape;
  const real* skip = nullptr;
  for (int64_t k = 0; k < a.branch_count; ++k) {
    if (a.branches[k].kind == edge::Kind::skip) skip = a.w + k;
  }
  const bool convolutions = a.stage_count > 0;
  if (!convolutions && skip == nullptr) return;
  for (int64_t b = 0; b < s.blocks; ++b) {
    for (int64_t px = 0; px < s.pixels(); ++px) {
      for (int64_t v = 0; v < LANES; v += W) {
        const int64_t at = (b * s.pixels() + px) * LANES + v;
        vec d = load(dx + at);
        if (convolutions) d = where((mask)(load(u + at) > vec{}), d);
        if (skip != nullptr) d = fma(splat(*skip), load(g.at + b * g.block + px * g.pixel + v), d);
        store(dx + at, d);
      }
    }
  }
}

// Adds what flows back through the pools.
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
    const edge::Args<real>& a, int64_t group, edge::Part, const edge::Grads<real>& grads,
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
    stage_back(a, i, group, dout, scratch.u, dx != nullptr, dx, grads, scratch);
    if (dx == nullptr || !a.stages[i].separable) continue;
    input_back(
        a, i, scratch,
        [&](int64_t b, int64_t row)
            NAS_LAMBDA { return dx + (b * s.height + row) * s.width * LANES; },
        [](int64_t, int64_t) NAS_LAMBDA {});
  }
  if (dx == nullptr) return;
  relu_and_skip_back(a, g, scratch.u, dx);
  s.stride == 1 ? window_back<1>(a, group, x, g, dx, scratch.windows)
                : window_back<2>(a, group, x, g, dx, scratch.windows);
  if (!direct) from_map(s, group, s.pixels(), dx, a.dx);
}
