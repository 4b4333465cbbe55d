// Forward pass of the mixed edge over one group of images. Compiled by each_isa.h.

#include "depthwise.inl"
#include "maps.inl"
#include "pointwise.inl"
#include "pools.inl"

// Sums around a shift, in short runs of reals that are added up in double.
struct Collected {
  double sum, square;
};

// Where the statistics of a norm's part lie.
static NAS_INLINE double* statistics_of(const edge::Args<real>& a, int64_t norm, int64_t part) {
  return a.stats + (norm * a.parts + part) * 2 * a.shape.lanes();
}

// Joins the statistics of a lane of one more group to those of its part (Chan et al. 1979).
static NAS_INLINE void join_statistics(
    double* to, int64_t lanes, edge::Part part, int64_t lane, real shift, Collected c, int64_t n) {
  const double mean = c.sum / n, square = c.square - c.sum * mean;
  double &joint_mean = to[lane], &joint_square = to[lanes + lane];
  if (part.before == 0) {
    joint_mean = shift + mean;
    joint_square = square;
    return;
  }
  const double d = shift + mean - joint_mean, share = 1.0 / (part.before + 1);
  joint_mean += d * share;
  joint_square += square + d * d * (part.before * share * n);
}

// Lanes of a group that hold images.
static NAS_INLINE int64_t lanes_held(const edge::Shape& s, int64_t group) {
  return s.pack == 1 ? s.lanes() : images(s, group) * s.channels;
}

// z of a stage from its input u, and the group's share of its statistics. later: as in Ahead.
static void run_stage(
    const edge::Args<real>& a, int64_t stage, int64_t group, edge::Part part, const real* u,
    const real* later, const edge::Scratch<real>& scratch) {
  const edge::Shape& s = a.shape;
  const edge::Stage& t = a.stages[stage];
  real* z = z_of(a, scratch, stage, group);
  const int64_t out_stride = s.out_pixels() * LANES;
  const int64_t stride = s.rows * s.out_width * LANES;
  const int64_t in_blocks = t.taps * s.blocks;
  const int64_t lanes = s.lanes();
  real* shift = scratch.statistics;
  real* sum = shift + lanes;
  real* square = sum + lanes;
  double* totals = scratch.totals;
  for (int64_t l = 0; l < 2 * lanes; ++l) totals[l] = 0;
  for (int64_t l = 0; l < 2 * lanes; ++l) sum[l] = 0;
  int64_t held = 0;
  const real* next = next_z(a, scratch, stage, group);
  const auto multiply = [&](int64_t top, int64_t n, auto statistics, Statistics into) {
    constexpr bool STATISTICS = decltype(statistics)::value;
    real* to = z + top * s.out_width * LANES;
    const bool more = top + s.rows < s.out_height;
    const View after = {more ? to + n * LANES : next, out_stride, LANES};
    const real* rest = later == nullptr ? nullptr : later + top * s.out_width * lanes;
    const Ahead ahead = {{after, {}}, s.blocks, rest};
    if (s.narrow) {
      with_channels(s.channels, [&](auto c) {
        pointwise_narrow<decltype(c)::value, STATISTICS>(
            scratch.gathered, stride, t.taps, a.pointwise[stage], to, n, into, ahead);
      });
    } else {
      pointwise<STATISTICS>(
          scratch.gathered, stride, in_blocks, a.pointwise[stage], to, out_stride, s.blocks, n,
          into, ahead);
    }
  };
  for (int64_t top = 0; top < s.out_height; top += s.rows) {
    const int64_t rows = s.out_height - top < s.rows ? s.out_height - top : s.rows;
    const int64_t n = rows * s.out_width;
    gather(a, stage, u, top, rows, scratch.gathered, stride);
    if (!a.training) {
      multiply(top, n, Int<0>{}, Statistics{});
      continue;
    }
    if (top == 0) {
      // The first pixel is near enough to the mean that squares around it do not cancel.
      multiply(0, 1, Int<0>{}, Statistics{});
      for (int64_t l = 0; l < lanes; ++l) {
        shift[l] = z[l / LANES * out_stride + l % LANES];
      }
    }
    multiply(top, n, Int<1>{}, Statistics{shift, sum, square});
    held += n;
    if (held >= 512 || top + rows == s.out_height) {
      for (int64_t l = 0; l < 2 * lanes; ++l) {
        totals[l] += sum[l];
        sum[l] = 0;
      }
      held = 0;
    }
  }
  if (!a.training) return;
  double* joint = statistics_of(a, t.norm, part.index);
  for (int64_t l = 0; l < lanes_held(s, group); ++l) {
    join_statistics(
        joint, lanes, part, l, shift[l], {totals[l], totals[lanes + l]}, s.out_pixels());
  }
}

// Statistics of the two pools, whose batch norms are rows `largest` and `mean` (or -1).
template <int S>
static void pool_statistics(
    const edge::Args<real>& a, int64_t group, edge::Part part, View x, int64_t largest,
    int64_t mean) {
  const edge::Shape& s = a.shape;
  const int64_t lanes = s.lanes(), held = lanes_held(s, group);
  for (int64_t b = 0; b < s.blocks; ++b) {
    for (int64_t v = 0; v < LANES; v += W) {
      const real* in = x.at + b * x.block + v;
      vec shift_max = {}, shift_mean = {};
      double total[4][W] = {};
      for (int64_t h = 0; h < s.out_height;) {
        vec sums[4] = {};
        const int64_t end = rows_of_run(s, h);
        for (; h < end; ++h) {
          pool_row<S>(
              in, x.pixel, s.height, s.width, s.out_width, h,
              [&](int64_t j, vec m, vec e, vec) NAS_LAMBDA {
                if (h == 0 && j == 0) {
                  shift_max = m;
                  shift_mean = e;
                }
                const vec dm = m - shift_max, de = e - shift_mean;
                sums[0] += dm;
                sums[1] = fma(dm, dm, sums[1]);
                sums[2] += de;
                sums[3] = fma(de, de, sums[3]);
              });
        }
        for (int k = 0; k < 4; ++k) add_lanes(total[k], sums[k]);
      }
      const int64_t first = b * LANES + v;
      const auto join = [&](int64_t norm, vec shift, const double* sum, const double* square) {
        if (norm < 0) return;
        double* joint = statistics_of(a, norm, part.index);
        for (int64_t l = 0; l < W && first + l < held; ++l) {
          join_statistics(
              joint, lanes, part, first + l, shift[l], {sum[l], square[l]}, s.out_pixels());
        }
      };
      join(largest, shift_max, total[0], total[1]);
      join(mean, shift_mean, total[2], total[3]);
    }
  }
}

// The row of a branch's batch norm, or -1.
static inline int64_t norm_of(const edge::Args<real>& a, edge::Kind kind) {
  for (int64_t k = 0; k < a.branch_count; ++k) {
    if (a.branches[k].kind == kind) return a.branches[k].norm;
  }
  return -1;
}

// All stages that read x, and the statistics of the pools.
static inline void edge_first_kernel(
    const edge::Args<real>& a, int64_t group, edge::Part part,
    const edge::Scratch<real>& scratch) {
  const edge::Shape& s = a.shape;
  const View x = view_of(s, group, s.pixels(), a.x, scratch.x);
  const int64_t largest = norm_of(a, edge::Kind::max_pool);
  const int64_t mean = norm_of(a, edge::Kind::avg_pool);
  if (a.training && (largest >= 0 || mean >= 0)) {
    s.stride == 1 ? pool_statistics<1>(a, group, part, x, largest, mean)
                  : pool_statistics<2>(a, group, part, x, largest, mean);
  }
  if (a.stage_count > 0) relu_map(s, x, s.pixels(), scratch.u);
  // The next group's x.
  const real* later =
      group + 1 == s.groups ? nullptr : a.x + (group + 1) * s.pack * s.pixels() * s.channels;
  for (int64_t i = next_stage(a, -1, true); i >= 0;) {
    const int64_t next = next_stage(a, i, true);
    run_stage(a, i, group, part, scratch.u, next < 0 ? later : nullptr, scratch);
    i = next;
  }
}

// All stages that read the stage before.
static inline void edge_second_kernel(
    const edge::Args<real>& a, int64_t group, edge::Part part,
    const edge::Scratch<real>& scratch) {
  const edge::Shape& s = a.shape;
  const bool last = group == s.groups - 1;
  for (int64_t i = next_stage(a, -1, false); i >= 0; i = next_stage(a, i, false)) {
    const int64_t row = a.stages[i - 1].norm * s.lanes();
    normed_relu(
        s, z_of(a, scratch, i - 1, group), a.scale.of(last) + row, a.bias.of(last) + row,
        scratch.u);
    // The input of the next stage.
    const real* later = next_z(a, scratch, i, group, 1);
    run_stage(a, i, group, part, scratch.u, later, scratch);
  }
}

// sum + factors[k] * maps[k] at one place, over CONVOLUTIONS maps, or `count` where that is 0.
template <int CONVOLUTIONS>
static NAS_INLINE vec
add_maps(const real* const* maps, const vec* factors, int64_t count, int64_t place, vec sum) {
  vec even = sum, odd = {};
  if constexpr (CONVOLUTIONS > 0) {
    each<CONVOLUTIONS>([&](auto k) NAS_LAMBDA {
      constexpr int K = decltype(k)::value;
      vec& to = K % 2 ? odd : even;
      to = fma(factors[K], load(maps[K] + place), to);
    });
  } else {
    for (int64_t k = 0; k < count; ++k) even = fma(factors[k], load(maps[k] + place), even);
  }
  return even + odd;
}

// y from x and the outputs of all branches: block b and pixel px at y + b * y_block + px *
// y_pixel. CONVOLUTIONS: their number, or 0 for any.
template <int S, int CONVOLUTIONS>
static void combine(
    const edge::Args<real>& a, int64_t group, const edge::Scratch<real>& scratch, View x, real* y,
    int64_t y_block, int64_t y_pixel) {
  const edge::Shape& s = a.shape;
  const int64_t lanes = s.lanes();
  const real *of_max = nullptr, *of_x = nullptr;
  int64_t means = 0, convolutions = 0;
  const real *of_mean[2], *factors[edge::MAX_BRANCHES], *maps[edge::MAX_BRANCHES];
  for (int64_t k = 0; k < a.branch_count; ++k) {
    const real* factor = a.factors + k * lanes;
    switch (a.branches[k].kind) {
      case edge::Kind::max_pool:
        of_max = factor;
        break;
      case edge::Kind::avg_pool:
      case edge::Kind::avg_pool_plain:
        of_mean[means++] = factor;
        break;
      case edge::Kind::skip:
        of_x = factor;
        break;
      case edge::Kind::convolution:
        factors[convolutions] = factor;
        maps[convolutions++] = z_of(a, scratch, a.branches[k].stage, group);
        break;
      case edge::Kind::none:
        break;
    }
  }
  for (int64_t b = 0; b < s.blocks; ++b) {
    for (int64_t v = 0; v < LANES; v += W) {
      const int64_t lane = b * LANES + v, base = b * s.out_pixels() * LANES + v;
      const vec constant = load(a.factors + a.branch_count * lanes + lane);
      const vec fm = of_max != nullptr ? load(of_max + lane) : vec{};
      const vec fx = of_x != nullptr ? load(of_x + lane) : vec{};
      vec fa = {};
      for (int64_t k = 0; k < means; ++k) fa += load(of_mean[k] + lane);
      const real* in = x.at + b * x.block + v;
      real* out = y + b * y_block + v;
      vec own_factors[edge::MAX_BRANCHES];
      const real* own_maps[edge::MAX_BRANCHES];
      for (int64_t k = 0; k < convolutions; ++k) {
        own_factors[k] = load(factors[k] + lane);
        own_maps[k] = maps[k] + base;
      }
      const auto emit = [&](int64_t px, vec sum) NAS_LAMBDA {
        store(
            out + px * y_pixel,
            add_maps<CONVOLUTIONS>(own_maps, own_factors, convolutions, px * LANES, sum));
      };
      for (int64_t h = 0; h < s.out_height; ++h) {
        const int64_t row = h * s.out_width;
        const auto with_x = [&](int64_t px, vec sum) NAS_LAMBDA {
          return of_x == nullptr ? sum : fma(fx, load(in + px * x.pixel), sum);
        };
        if (of_max != nullptr || means > 0) {
          pool_row<S>(
              in, x.pixel, s.height, s.width, s.out_width, h,
              [&](int64_t j, vec largest, vec mean, vec) NAS_LAMBDA {
                vec sum = constant;
                if (of_max != nullptr) sum = fma(fm, largest, sum);
                if (means > 0) sum = fma(fa, mean, sum);
                emit(row + j, with_x(row + j, sum));
              });
        } else {
          for (int64_t j = 0; j < s.out_width; ++j) emit(row + j, with_x(row + j, constant));
        }
      }
    }
  }
}

static inline void edge_combine_kernel(
    const edge::Args<real>& a, int64_t group, edge::Part, const edge::Scratch<real>& scratch) {
  const edge::Shape& s = a.shape;
  const View x = view_of(s, group, s.pixels(), a.x, scratch.x);
  const bool direct = in_blocks(s);
  real* y = direct ? a.y + group * s.out_map() : scratch.g;
  const int64_t block = direct ? LANES : s.out_pixels() * LANES;
  const int64_t pixel = direct ? s.channels : LANES;
  int64_t convolutions = 0;
  for (int64_t k = 0; k < a.branch_count; ++k) {
    convolutions += a.branches[k].kind == edge::Kind::convolution;
  }
  const auto run = [&](auto stride) NAS_LAMBDA {
    constexpr int S = decltype(stride)::value;
    // DARTS has four at stride 1, NAS-Bench-201 two.
    convolutions == 4   ? combine<S, 4>(a, group, scratch, x, y, block, pixel)
    : convolutions == 2 ? combine<S, 2>(a, group, scratch, x, y, block, pixel)
                        : combine<S, 0>(a, group, scratch, x, y, block, pixel);
  };
  s.stride == 1 ? run(Int<1>{}) : run(Int<2>{});
  if (!direct) from_map(s, group, s.out_pixels(), y, a.y);
}
