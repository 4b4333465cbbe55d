// CPU kernels of nas_domains/ops/norm_weighted_sum.py, which holds the formula and the checks for
// users.

#include "norm_weighted_sum.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <tuple>

#include "../common.h"

#define NAS_KERNEL_FILE "norm_weighted_sum.inl"
#include "each_isa.h"

namespace nas {
namespace {

// Elements of a tile: fixed, so that bits do not depend on threads. Those of two float tensors
// stay in the second cache.
constexpr int64_t kTile = 16384;
// Lanes that every kernel takes side by side, and the channels from which leftovers are few.
constexpr int64_t kLanes = 16, kManyChannels = 64;

template <typename R>
using MomentsFn =
    void (*)(const NormLayout&, const NormTile&, const R*, double*, double*, double*);
template <typename R>
using FwdFn =
    void (*)(const NormLayout&, const NormTile&, const R* const*, const R*, const R*, R*, int64_t);
template <typename R>
using SumsFn = void (*)(
    const NormLayout&, const NormTile&, const R*, const R* const*, const R* const*, int64_t,
    double*, double*, int64_t);
template <typename R>
using BwdFn = void (*)(
    const NormLayout&, const NormTile&, const R*, const R*, const R*, const R*, const R*, const R*,
    R*);

// The layout of the dense tensor x, in whatever order its dims lie in memory.
NormLayout layout_of(const Tensor& x) {
  NormLayout at = {1, x.size(1), 1, 1, 0};
  for (int64_t d = 0; d < x.dim(); ++d) {
    if (d == 1 || x.size(d) == 1) continue;
    // A single channel lies anywhere; as the fastest dim it can be cut into tiles.
    (at.C > 1 && x.stride(d) < x.stride(1) ? at.inner : at.outer) *= x.size(d);
  }
  if (at.inner == 1 && at.C < kManyChannels) at.fold = kLanes / std::gcd(at.C, kLanes);
  at.period = at.fold * at.C;
  return at;
}

// The cut of a tensor into tiles. A group is a range of `outer`, in one or several tiles.
struct Tiling {
  NormLayout at;
  int64_t group = 0, channels = 0, groups = 0, slices = 0;

  explicit Tiling(const Tensor& x) : at(layout_of(x)) {
    if (x.numel() == 0) return;
    // Tiles of narrow channels and many rows, so that runs are full.
    const int64_t pieces = std::min(pieces_of_run(at.inner), at.outer);
    channels = at.inner == 1 ? at.C : std::clamp<int64_t>(kTile / (at.inner * pieces), 1, at.C);
    group = at.inner == 1 ? std::max<int64_t>(1, kTile / at.period) * at.fold
                          : std::max<int64_t>(1, kTile / (channels * at.inner));
    groups = (at.outer + group - 1) / group;
    slices = (at.C + channels - 1) / channels;
  }

  int64_t count() const { return groups * slices; }
  double values() const { return static_cast<double>(at.outer) * at.inner; }
  int64_t group_of(int64_t tile) const { return tile / slices; }
  double values_of(int64_t g) const {
    return static_cast<double>(std::min(group, at.outer - g * group)) * at.inner;
  }

  NormTile tile(int64_t i) const {
    const int64_t o = group_of(i) * group, c = i % slices * channels;
    return {o, std::min(o + group, at.outer), c, std::min(c + channels, at.C)};
  }

  // Calls f(item, tile, scratch) for `times` times every tile, on torch's threads, with room for
  // `room` doubles.
  template <typename F>
  void for_each(int64_t times, int64_t room, const F& f) const {
    torch::stable::parallel_for(0, times * count(), 1, [&](int64_t begin, int64_t end) {
      std::vector<double> scratch(room);
      for (int64_t i = begin; i < end; ++i) f(i / count(), i % count(), scratch.data());
    });
  }
};

// One coefficient for each branch and lane: set for a channel, read by the kernels.
template <typename R>
struct Coefficients {
  const NormLayout& at;
  std::vector<R> values;

  Coefficients(const NormLayout& layout, int64_t rows)
      : at(layout), values(rows * layout.period) {}
  void set(int64_t row, int64_t c, double value) {
    for (int64_t f = 0; f < at.fold; ++f) {
      values[row * at.period + f * at.C + c] = static_cast<R>(value);
    }
  }
  const R* row(int64_t k) const { return values.data() + k * at.period; }
};

// Row of each branch in mean and var, -1 for a branch that is not normed.
std::vector<int64_t> rows_of(const std::vector<bool>& normed) {
  std::vector<int64_t> rows;
  int64_t next = 0;
  for (const bool on : normed) rows.push_back(on ? next++ : -1);
  return rows;
}

void check(TensorList xs, const Tensor& w, const std::vector<bool>& normed) {
  const int64_t K = xs.size();
  STD_TORCH_CHECK(
      K > 0 && xs[0].dim() >= 2, "norm_weighted_sum needs at least one tensor [B, C, ...].");
  STD_TORCH_CHECK(
      w.dim() >= 1 && w.dim() <= 2 && w.size(0) == K &&
          (w.dim() == 1 || w.size(1) == xs[0].size(1)) && static_cast<int64_t>(normed.size()) == K,
      "norm_weighted_sum needs one weight and one flag for each tensor.");
}

// Weights [K] or [K, C], dense.
template <typename R>
struct Weights {
  const R* values;
  int64_t of_k, of_c;

  explicit Weights(const Tensor& w)
      : values(data<R>(w)), of_k(w.dim() == 2 ? w.size(1) : 1), of_c(w.dim() == 2 ? 1 : 0) {}
  R operator()(int64_t k, int64_t c) const { return values[k * of_k + c * of_c]; }
};

Tensor as_real(const Tensor& x, const Tensor& like) {
  return contiguous(x, like.scalar_type());
}

Tensor statistics(const Tensor& x, int64_t N, const Tensor& like) {
  STD_TORCH_CHECK(
      x.dim() == 2 && x.size(0) == N && x.size(1) == like.size(1),
      "norm_weighted_sum needs one mean and variance for each normed tensor and channel.");
  return as_real(x, like);
}

// Mean and biased variance of each channel of the normed xs, [N, C].
template <typename R>
void measure(const Tiling& tiling, const std::vector<const R*>& xs, R* mean, R* var) {
  const auto kernel = NAS_SELECT_ISA(MomentsFn<R>, norm_moments_kernel);
  const int64_t N = xs.size(), C = tiling.at.C, groups = tiling.groups;
  std::vector<double> means(N * groups * C), squares(N * groups * C);
  tiling.for_each(N, 2 * tiling.at.period, [&](int64_t n, int64_t tile, double* scratch) {
    const int64_t share = (n * groups + tiling.group_of(tile)) * C;
    kernel(
        tiling.at, tiling.tile(tile), xs[n], scratch, means.data() + share,
        squares.data() + share);
  });
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t c = 0; c < C; ++c) {
      Moments all = {};
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t i = (n * groups + g) * C + c;
        merge(all, tiling.values_of(g), means[i], squares[i]);
      }
      mean[n * C + c] = static_cast<R>(all.mean);
      var[n * C + c] = static_cast<R>(all.m2 / tiling.values());
    }
  }
}

std::tuple<Tensor, Tensor, Tensor> norm_weighted_sum_fwd_cpu(
    TensorList xs, Tensor w, std::vector<bool> normed, std::optional<Tensor> given_mean,
    std::optional<Tensor> given_var, double eps) {
  check(xs, w, normed);
  const int64_t K = xs.size();
  const std::vector<int64_t> rows = rows_of(normed);
  const int64_t N = std::count(normed.begin(), normed.end(), true);
  const Tensor result = torch::stable::empty_like(xs[0]);
  Tensor y = computed_in(result);
  const std::vector<Tensor> inputs = all_matched(xs, y);
  w = as_real(w, y);
  const int64_t C = y.size(1);
  const bool training = !given_mean.has_value();
  Tensor mean = torch::stable::new_empty(y, {N, C}), var = torch::stable::new_empty(y, {N, C});
  if (!training) {
    STD_TORCH_CHECK(given_var.has_value(), "norm_weighted_sum needs a variance with its mean.");
    torch::stable::copy_(mean, statistics(*given_mean, N, y));
    torch::stable::copy_(var, statistics(*given_var, N, y));
  }
  const Tiling tiling(y);
  STD_TORCH_CHECK(
      !training || N == 0 || C == 0 || tiling.values() > 1,
      "norm_weighted_sum needs more than 1 value per channel to train.");

  dispatch_real(y.scalar_type(), [&](auto real) {
    using R = decltype(real);
    const auto kernel = NAS_SELECT_ISA(FwdFn<R>, norm_weighted_sum_fwd_kernel);
    const auto x = pointers<R>(inputs);
    if (training) {
      std::vector<const R*> measured;
      for (int64_t k = 0; k < K; ++k) {
        if (normed[k]) measured.push_back(x[k]);
      }
      measure<R>(tiling, measured, mutable_data<R>(mean), mutable_data<R>(var));
    }
    Coefficients<R> shift(tiling.at, K), scale(tiling.at, K);
    const Weights<R> weights(w);
    for (int64_t k = 0; k < K; ++k) {
      for (int64_t c = 0; c < C; ++c) {
        const int64_t i = rows[k] * C + c;
        shift.set(k, c, normed[k] ? data<R>(mean)[i] : 0);
        scale.set(k, c, weights(k, c) / (normed[k] ? std::sqrt(data<R>(var)[i] + eps) : 1));
      }
    }
    tiling.for_each(1, 0, [&](int64_t, int64_t tile, double*) {
      kernel(
          tiling.at, tiling.tile(tile), x.data(), shift.row(0), scale.row(0), mutable_data<R>(y),
          K);
    });
  });
  return {torch::stable::to(y, result.scalar_type()), mean, var};
}

// What the second pass of the gradient needs: sums over each channel of g (x_k - mean_k), for the
// k that `wanted` names, and of g.
template <typename R>
struct GradientSums {
  int64_t C;
  std::vector<int64_t> row;  // of each k
  std::vector<double> values;

  GradientSums(
      const Tiling& tiling, const R* g, const std::vector<const R*>& x,
      const Coefficients<R>& shift, const std::vector<bool>& wanted)
      : C(tiling.at.C), row(x.size(), -1) {
    const auto kernel = NAS_SELECT_ISA(SumsFn<R>, norm_weighted_sum_sums_kernel);
    std::vector<const R*> xs = {nullptr}, shifts = {shift.row(0)};
    for (size_t k = 0; k < x.size(); ++k) {
      if (!wanted[k]) continue;
      row[k] = xs.size();
      xs.push_back(x[k]);
      shifts.push_back(shift.row(k));
    }
    const int64_t S = xs.size();
    values.assign(S * C, 0);
    if (S == 1) return;
    std::vector<double> shares(S * tiling.groups * C);
    tiling.for_each(1, S * tiling.at.period, [&](int64_t, int64_t tile, double* scratch) {
      kernel(
          tiling.at, tiling.tile(tile), g, xs.data(), shifts.data(), S, scratch,
          shares.data() + tiling.group_of(tile) * C, tiling.groups * C);
    });
    for (int64_t s = 0; s < S; ++s) {
      for (int64_t i = 0; i < tiling.groups * C; ++i) {
        values[s * C + i % C] += shares[s * tiling.groups * C + i];
      }
    }
  }

  double of_g(int64_t c) const { return values[c]; }
  double of_x(int64_t k, int64_t c) const { return values[row[k] * C + c]; }
};

// x_k is read only where dw is wanted or, in training, dx_k of a normed branch is.
std::tuple<std::vector<Tensor>, Tensor> norm_weighted_sum_bwd_cpu(
    Tensor g, TensorList xs, Tensor w, std::vector<bool> normed, Tensor mean, Tensor var,
    double eps, bool training, IntList needs_dx, bool needs_dw) {
  check(xs, w, normed);
  const int64_t K = xs.size();
  const std::vector<int64_t> rows = rows_of(normed);
  const int64_t N = std::count(normed.begin(), normed.end(), true);
  const ScalarType result_type = g.scalar_type();
  const Tensor like = computed_in(torch::stable::empty_like(xs[0]));
  g = matched(g, like);
  std::vector<bool> wanted(K, needs_dw);
  for (const int64_t k : needs_dx) {
    STD_TORCH_CHECK(k >= 0 && k < K, "norm_weighted_sum_bwd: needs_dx names no tensor.");
    if (training && normed[k]) wanted[k] = true;
  }
  std::vector<Tensor> inputs;
  for (int64_t k = 0; k < K; ++k) inputs.push_back(wanted[k] ? matched(xs[k], like) : g);
  mean = statistics(mean, N, like);
  var = statistics(var, N, like);
  const Tensor weight = as_real(w, like);
  std::vector<Tensor> results;
  for (size_t i = 0; i < needs_dx.size(); ++i) results.push_back(torch::stable::empty_like(like));
  const int64_t C = like.size(1);
  const bool by_channel = weight.dim() == 2;
  Tensor dw = !needs_dw    ? torch::stable::new_empty(like, {0})
              : by_channel ? torch::stable::new_empty(like, {K, C})
                           : torch::stable::new_empty(like, {K});

  const Tiling tiling(like);
  dispatch_real(like.scalar_type(), [&](auto real) {
    using R = decltype(real);
    const auto kernel = NAS_SELECT_ISA(BwdFn<R>, norm_weighted_sum_bwd_kernel);
    const auto x = pointers<R>(inputs);
    const R* gradient = data<R>(g);
    const Weights<R> weights(weight);
    const auto inverse = [&](int64_t k, int64_t c) {
      return normed[k] ? 1 / std::sqrt(data<R>(var)[rows[k] * C + c] + eps) : 1.0;
    };
    Coefficients<R> shift(tiling.at, K);
    for (int64_t k = 0; k < K; ++k) {
      for (int64_t c = 0; c < C && normed[k]; ++c) shift.set(k, c, data<R>(mean)[rows[k] * C + c]);
    }
    const GradientSums<R> sums(tiling, gradient, x, shift, wanted);
    for (int64_t k = 0; needs_dw && k < K; ++k) {
      double total = 0;
      for (int64_t c = 0; c < C; ++c) {
        const double own = inverse(k, c) * sums.of_x(k, c);
        total += own;
        if (by_channel) mutable_data<R>(dw)[k * C + c] = static_cast<R>(own);
      }
      if (!by_channel) mutable_data<R>(dw)[k] = static_cast<R>(total);
    }
    Coefficients<R> a(tiling.at, K), b(tiling.at, K), d(tiling.at, K);
    std::vector<R*> dx;
    for (size_t i = 0; i < needs_dx.size(); ++i) {
      const int64_t k = needs_dx[i];
      dx.push_back(mutable_data<R>(results[i]));
      for (int64_t c = 0; c < C; ++c) {
        const double r = inverse(k, c), scale = weights(k, c) * r;
        a.set(k, c, scale);
        if (!training || !normed[k]) continue;
        b.set(k, c, -scale * r * r * sums.of_x(k, c) / tiling.values());
        d.set(k, c, -scale * sums.of_g(c) / tiling.values());
      }
    }
    tiling.for_each(1, 0, [&](int64_t, int64_t tile, double*) {
      for (size_t i = 0; i < dx.size(); ++i) {
        const int64_t k = needs_dx[i];
        kernel(
            tiling.at, tiling.tile(tile), gradient, training && normed[k] ? x[k] : nullptr,
            shift.row(k), a.row(k), b.row(k), d.row(k), dx[i]);
      }
    });
  });
  for (Tensor& dx : results) dx = torch::stable::to(dx, result_type);
  return {results, torch::stable::to(dw, w.scalar_type())};
}

STABLE_TORCH_LIBRARY_IMPL(nas_domains, CPU, m) {
  m.impl("norm_weighted_sum_fwd", TORCH_BOX(&norm_weighted_sum_fwd_cpu));
  m.impl("norm_weighted_sum_bwd", TORCH_BOX(&norm_weighted_sum_bwd_cpu));
}

}  // namespace
}  // namespace nas
