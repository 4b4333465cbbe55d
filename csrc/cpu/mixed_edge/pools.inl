// 3x3 pools of maps and their gradients. Windows are clipped to the image; a mean counts what is
// in it.

constexpr real LOWEST = -__builtin_inff();
constexpr real RECIPROCALS[10] = {0, 1,           real(1) / 2, real(1) / 3, real(1) / 4,
                                  0, real(1) / 6, 0,           0,           real(1) / 9};

// Calls f(column, largest, mean, 1 / count) for each output column of row h; x at one vector's
// lanes, its pixels `pixel` apart.
template <int S, class F>
static NAS_INLINE void pool_row(
    const real* x, int64_t pixel, int64_t height, int64_t width, int64_t out_width, int64_t h,
    const F& f) {
  const bool above = h * S > 0, below = h * S + 1 < height;
  const real* middle = x + h * S * width * pixel;
  const real* top = above ? middle - width * pixel : middle;
  const real* bottom = below ? middle + width * pixel : middle;
  const mask has_top = mask{} - above, has_bottom = mask{} - below;
  const int rows = 1 + above + below;
  const auto column = [&](int64_t c, vec& largest, vec& sum) NAS_LAMBDA {
    const vec a = load(top + c * pixel), b = load(middle + c * pixel);
    const vec d = load(bottom + c * pixel);
    largest = max(max(d, b), a);
    sum = where(has_top, a) + b + where(has_bottom, d);
  };
  const vec lowest = splat(LOWEST);
  vec left_max = lowest, left_sum = {}, max_here, sum_here;
  column(0, max_here, sum_here);
  for (int64_t j = 0; j < out_width; ++j) {
    const bool right = j * S + 1 < width;
    vec right_max = lowest, right_sum = {};
    if (right) column(j * S + 1, right_max, right_sum);
    const vec reciprocal = splat(RECIPROCALS[rows * (1 + (j > 0) + right)]);
    const vec sum = left_sum + sum_here + right_sum;
    const vec largest = max(max(left_max, max_here), right_max);
    // A NaN in the window makes the sum NaN, and is then the largest, as in torch.
    f(j, sum == sum ? largest : sum, sum * reciprocal, reciprocal);
    if constexpr (S == 1) {
      left_max = max_here;
      left_sum = sum_here;
      max_here = right_max;
      sum_here = right_sum;
    } else {
      left_max = right_max;
      left_sum = right_sum;
      if (j + 1 < out_width) column(2 * j + 2, max_here, sum_here);
    }
  }
}

// Adds to dx what flows back from output row h: the gradient of each maximum, given by
// of_max(column, largest), to the first element in scan order that equals it; that of each mean,
// given by of_mean(column, mean), to all in its window.
template <int S, class Max, class Mean>
static NAS_INLINE void pool_back_row(
    const real* x, int64_t pixel, int64_t height, int64_t width, int64_t out_width, int64_t h,
    const Max& of_max, const Mean& of_mean, real* dx) {
  const int64_t row = h * S;
  const bool present[3] = {row > 0, true, row + 1 < height};
  // What is collected for the columns left of, at and right of the window's centre.
  vec routed[3][3] = {}, spread[3] = {};
  const auto flush = [&](int64_t column, int side) NAS_LAMBDA {
    if (column < 0 || column >= width) return;
    each<3>([&](auto r) NAS_LAMBDA {
      constexpr int R = decltype(r)::value;
      if (!present[R]) return;
      real* cell = dx + ((row + R - 1) * width + column) * LANES;
      store(cell, load(cell) + (routed[side][R] + spread[side]));
    });
  };
  pool_row<S>(
      x, pixel, height, width, out_width, h,
      [&](int64_t j, vec largest, vec mean, vec reciprocal) NAS_LAMBDA {
        const vec g = of_max(j, largest);
        mask open = mask{} - 1;
        each<9>([&](auto at) NAS_LAMBDA {
          constexpr int R = decltype(at)::value / 3, C = decltype(at)::value % 3;
          const int64_t column = j * S + C - 1;
          if (!present[R] || column < 0 || column >= width) return;
          const vec v = load(x + ((row + R - 1) * width + column) * pixel);
          const mask here = (mask)(v == largest) & open;
          routed[C][R] += where(here, g);
          open &= ~here;
        });
        const vec share = of_mean(j, mean) * reciprocal;
        each<3>([&](auto c) NAS_LAMBDA { spread[decltype(c)::value] += share; });
        // Columns that no later window touches are done.
        each<S>([&](auto c) NAS_LAMBDA {
          constexpr int C = decltype(c)::value;
          flush(j * S + C - 1, C);
        });
        each<3>([&](auto c) NAS_LAMBDA {
          constexpr int C = decltype(c)::value;
          each<3>([&](auto r) NAS_LAMBDA {
            constexpr int R = decltype(r)::value;
            if constexpr (C + S < 3) {
              routed[C][R] = routed[C + S][R];
            } else {
              routed[C][R] = vec{};
            }
          });
          if constexpr (C + S < 3) {
            spread[C] = spread[C + S];
          } else {
            spread[C] = vec{};
          }
        });
      });
  each<3 - S>([&](auto c) NAS_LAMBDA {
    constexpr int C = decltype(c)::value;
    flush(out_width * S + C - 1, C);
  });
}
