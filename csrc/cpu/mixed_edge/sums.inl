// Sums of the gradient of y, and of it times what each branch gives. Included by backward.inl.

static NAS_INLINE double* sums_of(const edge::Args<real>& a, int64_t row, edge::Part part) {
  return a.sums + (row * a.parts + part.index) * a.shape.lanes();
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

// What one vector's lanes of g are summed with.
struct Summands {
  double *of_g, *of_x, *of_max, *of_mean, *of_plain_mean;
  vec mean_of_max, mean_of_mean;
  Summand maps[edge::MAX_BRANCHES];
  int64_t count;
};

// Adds to all totals but those of maps beyond MAPS, in one pass over g.
template <int S, int MAPS>
static void sums_with_pools(
    const edge::Shape& s, const real* x, int64_t x_pixel, const real* g, int64_t g_pixel,
    const Summands& of) {
  Summand own[MAPS + 1];
  each<MAPS>([&](auto k) NAS_LAMBDA { own[decltype(k)::value] = of.maps[decltype(k)::value]; });
  const vec mean_of_max = of.mean_of_max, mean_of_mean = of.mean_of_mean;
  for (int64_t h = 0; h < s.out_height;) {
    vec sums[5] = {}, of_maps[MAPS + 1] = {};
    const int64_t end = rows_of_run(s, h);
    for (; h < end; ++h) {
      const int64_t row = h * s.out_width;
      pool_row<S>(
          x, x_pixel, s.height, s.width, s.out_width, h,
          [&](int64_t j, vec largest, vec mean, vec) NAS_LAMBDA {
            const int64_t px = row + j;
            const vec here = load(g + px * g_pixel);
            sums[0] += here;
            if constexpr (S == 1) sums[1] = fma(here, load(x + px * x_pixel), sums[1]);
            sums[2] = fma(here, largest - mean_of_max, sums[2]);
            sums[3] = fma(here, mean - mean_of_mean, sums[3]);
            sums[4] = fma(here, mean, sums[4]);
            each<MAPS>([&](auto k) NAS_LAMBDA {
              constexpr int K = decltype(k)::value;
              const vec z = load(own[K].at + px * own[K].pixel);
              of_maps[K] = fma(here, z - own[K].mean, of_maps[K]);
            });
          });
    }
    double* const to[5] = {of.of_g, of.of_x, of.of_max, of.of_mean, of.of_plain_mean};
    each<5>([&](auto k) NAS_LAMBDA {
      constexpr int K = decltype(k)::value;
      if (to[K] != nullptr) add_lanes(to[K], sums[K]);
    });
    each<MAPS>([&](auto k) NAS_LAMBDA {
      add_lanes(own[decltype(k)::value].to, of_maps[decltype(k)::value]);
    });
  }
}

// Sums of g, and of g times what each branch gives.
static inline void edge_sums_kernel(
    const edge::Args<real>& a, int64_t group, edge::Part part,
    const edge::Scratch<real>& scratch) {
  const edge::Shape& s = a.shape;
  const int64_t pixels = s.out_pixels();
  const View g = view_of(s, group, pixels, a.g, scratch.g);
  const View x = view_of(s, group, s.pixels(), a.x, scratch.x);
  const bool pools = has_pools(a);
  for (int64_t b = 0; b < s.blocks; ++b) {
    for (int64_t v = 0; v < LANES; v += W) {
      const int64_t lane = b * LANES + v, base = b * pixels * LANES + v;
      const real *g_at = g.at + b * g.block + v, *x_at = x.at + b * x.block + v;
      Summands of{};
      of.of_g = sums_of(a, edge::SUM_G, part) + lane;
      for (int64_t k = 0; k < a.branch_count; ++k) {
        const edge::Branch& branch = a.branches[k];
        double* to = sums_of(a, edge::SUM_BRANCH + k, part) + lane;
        const vec mean = branch.norm >= 0 ? load(a.mean + branch.norm * s.lanes() + lane) : vec{};
        switch (branch.kind) {
          case edge::Kind::skip:
            if (a.needs_dw) of.of_x = to;
            break;
          case edge::Kind::max_pool:
            of.of_max = to;
            of.mean_of_max = mean;
            break;
          case edge::Kind::avg_pool:
            of.of_mean = to;
            of.mean_of_mean = mean;
            break;
          case edge::Kind::avg_pool_plain:
            if (a.needs_dw) of.of_plain_mean = to;
            break;
          case edge::Kind::convolution:
            of.maps[of.count++] = {z_of(a, scratch, branch.stage, group) + base, LANES, mean, to};
            break;
          case edge::Kind::none:
            break;
        }
      }
      int64_t done = 0;
      // A pass that makes the pools adds up whole rows: wide ones would lose too much.
      const bool together = pools && s.out_width <= RUN;
      if (pools) {
        Summands with_pools = of;
        if (!together) with_pools.of_g = with_pools.of_x = nullptr;
        // DARTS has four maps, NAS-Bench-201 two.
        done = !together ? 0 : of.count >= 4 ? 4 : of.count >= 2 ? 2 : 0;
        const auto run = [&](auto stride) NAS_LAMBDA {
          constexpr int S = decltype(stride)::value;
          done == 4   ? sums_with_pools<S, 4>(s, x_at, x.pixel, g_at, g.pixel, with_pools)
          : done == 2 ? sums_with_pools<S, 2>(s, x_at, x.pixel, g_at, g.pixel, with_pools)
                      : sums_with_pools<S, 0>(s, x_at, x.pixel, g_at, g.pixel, with_pools);
        };
        s.stride == 1 ? run(Int<1>{}) : run(Int<2>{});
      }
      if (!together) {
        for (int64_t px = 0; px < pixels;) {
          const int64_t end = px + RUN < pixels ? px + RUN : pixels;
          vec sum = {};
          for (; px < end; ++px) sum += load(g_at + px * g.pixel);
          add_lanes(of.of_g, sum);
        }
        if (of.of_x != nullptr) of.maps[of.count++] = {x_at, x.pixel, vec{}, of.of_x};
      }
      dots(g_at, g.pixel, of.maps + done, of.count - done, pixels);
    }
  }
}
