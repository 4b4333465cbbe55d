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
// given by of_mean(column, mean), to all in its window. memory: [3][out_width][W].
template <int S, class Max, class Mean>
static NAS_INLINE void pool_back_row(
    const real* x, int64_t pixel, int64_t height, int64_t width, int64_t out_width, int64_t h,
    const Max& of_max, const Mean& of_mean, real* dx, real* memory) {
  real *maxima = memory, *routed = maxima + out_width * W, *spread = routed + out_width * W;
  pool_row<S>(
      x, pixel, height, width, out_width, h,
      [&](int64_t j, vec largest, vec mean, vec reciprocal) NAS_LAMBDA {
        store(maxima + j * W, largest);
        store(routed + j * W, of_max(j, largest));
        store(spread + j * W, of_mean(j, mean) * reciprocal);
      });
  for (int r = 0; r < 3; ++r) {
    const int64_t row = h * S + r - 1;
    if (row < 0 || row >= height) continue;
    const real* in = x + row * width * pixel;
    real* out = dx + row * width * LANES;
    const auto flush = [&](int64_t column, vec sum) NAS_LAMBDA {
      store(out + column * LANES, load(out + column * LANES) + sum);
    };
    // Collected for the columns left of, at and right of the window's centre.
    vec left = {}, centre = {}, right;
    for (int64_t j = 0; j < out_width; ++j) {
      const int64_t column = j * S;
      const vec largest = load(maxima + j * W), share = load(spread + j * W);
      vec g = load(routed + j * W);
      const auto route = [&](int64_t at, vec& to) NAS_LAMBDA {
        const mask equal = load(in + at * pixel) == largest;
        to += where(equal, g);
        g = where(~equal, g);
      };
      left += share;
      centre += share;
      right = share;
      if (j > 0) {
        route(column - 1, left);
        flush(column - 1, left);
      }
      route(column, centre);
      if (column + 1 < width) route(column + 1, right);
      store(routed + j * W, g);
      if constexpr (S == 1) {
        left = centre;
        centre = right;
      } else {
        flush(column, centre);
        left = right;
        centre = vec{};
      }
    }
    const int64_t last = out_width * S - 1;
    if (last < width) flush(last, left);
  }
}
