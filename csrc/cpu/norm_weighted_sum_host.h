// The host side of norm_weighted_sum and instance_weighted_sum, on pointers. Included after
// each_isa.h, by one file.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "../common.h"
#include "norm_weighted_sum.h"

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
using FwdFn = void (*)(
    const NormLayout&, const NormTile&, const R* const*, const R*, const R*, const R*, R*,
    int64_t);
template <typename R>
using SumsFn = void (*)(
    const NormLayout&, const NormTile&, const R*, const R* const*, const R* const*, int64_t,
    double*, double*, int64_t);
template <typename R>
using BwdFn = void (*)(
    const NormLayout&, const NormTile&, const R*, const R*, const R*, const R*, const R*, const R*,
    R*);

// The layout of the dense tensor x, in whatever order its dims lie in memory; of one sample, if
// samples are `apart`, which lie one after the other.
inline NormLayout layout_of(const Tensor& x, bool apart) {
  NormLayout at = {1, x.size(1), 1, 1, 0};
  for (int64_t d = apart ? 1 : 0; d < x.dim(); ++d) {
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

  explicit Tiling(const Tensor& x, bool apart = false) : at(layout_of(x, apart)) {
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
inline std::vector<int64_t> rows_of(const std::vector<bool>& normed) {
  std::vector<int64_t> rows;
  int64_t next = 0;
  for (const bool on : normed) rows.push_back(on ? next++ : -1);
  return rows;
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

// y = sum_k w_k (x_k - mean_k) / sqrt(var_k + eps) of the normed x_k, w_k x_k of others, and bias
// [C], if given.
template <typename R>
void weighted(
    const Tiling& tiling, const std::vector<const R*>& x, const Weights<R>& weights,
    const std::vector<bool>& normed, const R* mean, const R* var, double eps, const R* bias,
    R* y) {
  const auto kernel = NAS_SELECT_ISA(FwdFn<R>, norm_weighted_sum_fwd_kernel);
  const int64_t K = x.size(), C = tiling.at.C;
  const std::vector<int64_t> rows = rows_of(normed);
  Coefficients<R> shift(tiling.at, K), scale(tiling.at, K), begin(tiling.at, 1);
  for (int64_t c = 0; c < C && bias != nullptr; ++c) begin.set(0, c, bias[c]);
  for (int64_t k = 0; k < K; ++k) {
    for (int64_t c = 0; c < C; ++c) {
      const int64_t i = rows[k] * C + c;
      shift.set(k, c, normed[k] ? mean[i] : 0);
      scale.set(k, c, weights(k, c) / (normed[k] ? std::sqrt(var[i] + eps) : 1));
    }
  }
  tiling.for_each(1, 0, [&](int64_t, int64_t tile, double*) {
    kernel(tiling.at, tiling.tile(tile), x.data(), begin.row(0), shift.row(0), scale.row(0), y, K);
  });
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
      const Coefficients<R>& shift, const std::vector<bool>& wanted, bool of_g)
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
    if (S == 1 && !of_g) return;
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

// What the gradient of `weighted` is asked for, and of what.
template <typename R>
struct GradientRun {
  const R* g;
  const std::vector<const R*>& x;  // any where `wanted` is not set
  const std::vector<bool>& wanted;
  const std::vector<bool>& normed;
  const R* mean;
  const R* var;
  double eps;
  bool training;
  IntList needs_dx;
};

// dx_k of those needed to dx, in their order; where dw is given, adds to dw[k][c] <g, x_k> and to
// dbias[c], where that is given, the sum of g.
template <typename R>
void weighted_gradient(
    const Tiling& tiling, const GradientRun<R>& run, const Weights<R>& weights,
    const std::vector<R*>& dx, double* dw, double* dbias) {
  const auto kernel = NAS_SELECT_ISA(BwdFn<R>, norm_weighted_sum_bwd_kernel);
  const int64_t K = run.x.size(), C = tiling.at.C;
  const std::vector<int64_t> rows = rows_of(run.normed);
  const auto inverse = [&](int64_t k, int64_t c) {
    return run.normed[k] ? 1 / std::sqrt(run.var[rows[k] * C + c] + run.eps) : 1.0;
  };
  Coefficients<R> shift(tiling.at, K);
  for (int64_t k = 0; k < K; ++k) {
    for (int64_t c = 0; c < C && run.normed[k]; ++c) shift.set(k, c, run.mean[rows[k] * C + c]);
  }
  const GradientSums<R> sums(tiling, run.g, run.x, shift, run.wanted, dbias != nullptr);
  for (int64_t k = 0; dw != nullptr && k < K; ++k) {
    for (int64_t c = 0; c < C; ++c) dw[k * C + c] += inverse(k, c) * sums.of_x(k, c);
  }
  for (int64_t c = 0; dbias != nullptr && c < C; ++c) dbias[c] += sums.of_g(c);
  Coefficients<R> a(tiling.at, K), b(tiling.at, K), d(tiling.at, K);
  for (const int64_t k : run.needs_dx) {
    for (int64_t c = 0; c < C; ++c) {
      const double r = inverse(k, c), scale = weights(k, c) * r;
      a.set(k, c, scale);
      if (!run.training || !run.normed[k]) continue;
      b.set(k, c, -scale * r * r * sums.of_x(k, c) / tiling.values());
      d.set(k, c, -scale * sums.of_g(c) / tiling.values());
    }
  }
  tiling.for_each(1, 0, [&](int64_t, int64_t tile, double*) {
    for (size_t i = 0; i < dx.size(); ++i) {
      const int64_t k = run.needs_dx[i];
      kernel(
          tiling.at, tiling.tile(tile), run.g, run.training && run.normed[k] ? run.x[k] : nullptr,
          shift.row(k), a.row(k), b.row(k), d.row(k), dx[i]);
    }
  });
}

}  // namespace
}  // namespace nas
