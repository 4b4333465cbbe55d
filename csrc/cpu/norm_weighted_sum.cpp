// CPU kernels of nas_domains/ops/norm_weighted_sum.py and instance_weighted_sum.py, which hold the
// formulas and the checks for users.

#include "norm_weighted_sum.h"

#include <optional>
#include <tuple>

#include "../common.h"
#include "maps.h"

#define NAS_KERNEL_FILE "norm_weighted_sum.inl"
#include "each_isa.h"
#include "norm_weighted_sum_host.h"

namespace nas {
namespace {

void check(TensorList xs, const Tensor& w, const std::vector<bool>& normed) {
  const int64_t K = xs.size();
  STD_TORCH_CHECK(
      K > 0 && xs[0].dim() >= 2, "norm_weighted_sum needs at least one tensor [B, C, ...].");
  STD_TORCH_CHECK(
      w.dim() >= 1 && w.dim() <= 2 && w.size(0) == K &&
          (w.dim() == 1 || w.size(1) == xs[0].size(1)) && static_cast<int64_t>(normed.size()) == K,
      "norm_weighted_sum needs one weight and one flag for each tensor.");
}

Tensor as_real(const Tensor& x, const Tensor& like) {
  return contiguous(x, like.scalar_type());
}

Tensor statistics(const Tensor& x, int64_t N, const Tensor& like) {
  STD_TORCH_CHECK(
      x.dim() == 2 && x.size(0) == N && x.size(1) == like.size(1),
      "norm_weighted_sum needs one mean and variance for each normed tensor and channel.");
  return as_real(x, like);
}

std::tuple<Tensor, Tensor, Tensor> norm_weighted_sum_fwd_cpu(
    TensorList xs, Tensor w, std::vector<bool> normed, std::optional<Tensor> given_mean,
    std::optional<Tensor> given_var, double eps) {
  check(xs, w, normed);
  const int64_t K = xs.size();
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
    const auto x = pointers<R>(inputs);
    if (training) {
      std::vector<const R*> measured;
      for (int64_t k = 0; k < K; ++k) {
        if (normed[k]) measured.push_back(x[k]);
      }
      measure<R>(tiling, measured, mutable_data<R>(mean), mutable_data<R>(var));
    }
    weighted<R>(
        tiling, x, Weights<R>(w), normed, data<R>(mean), data<R>(var), eps, nullptr,
        mutable_data<R>(y));
  });
  return {torch::stable::to(y, result.scalar_type()), mean, var};
}

// x_k is read only where dw is wanted or, in training, dx_k of a normed branch is.
std::tuple<std::vector<Tensor>, Tensor> norm_weighted_sum_bwd_cpu(
    Tensor g, TensorList xs, Tensor w, std::vector<bool> normed, Tensor mean, Tensor var,
    double eps, bool training, IntList needs_dx, bool needs_dw) {
  check(xs, w, normed);
  const int64_t K = xs.size();
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
    const auto x = pointers<R>(inputs);
    std::vector<R*> dx;
    for (Tensor& result : results) dx.push_back(mutable_data<R>(result));
    std::vector<double> products(needs_dw ? K * C : 0);
    const GradientRun<R> run = {data<R>(g),   x,   wanted,   normed,  data<R>(mean),
                                data<R>(var), eps, training, needs_dx};
    weighted_gradient<R>(
        tiling, run, Weights<R>(weight), dx, needs_dw ? products.data() : nullptr, nullptr);
    for (int64_t k = 0; needs_dw && k < K; ++k) {
      double total = 0;
      for (int64_t c = 0; c < C; ++c) {
        total += products[k * C + c];
        if (by_channel) mutable_data<R>(dw)[k * C + c] = static_cast<R>(products[k * C + c]);
      }
      if (!by_channel) mutable_data<R>(dw)[k] = static_cast<R>(total);
    }
  });
  for (Tensor& dx : results) dx = torch::stable::to(dx, result_type);
  return {results, torch::stable::to(dw, w.scalar_type())};
}

// Whether the samples of x lie one after the other.
bool samples_in_order(const Tensor& x) {
  return x.size(0) < 2 || x.numel() == 0 || x.stride(0) == x.numel() / x.size(0);
}

void check_instances(
    TensorList xs, const Tensor& w, const std::vector<bool>& normed, const Tensor& like) {
  check(xs, w, normed);
  STD_TORCH_CHECK(
      w.dim() == 2 && samples_in_order(like),
      "instance_weighted_sum needs weights [K, C] and tensors whose samples lie in order.");
}

template <typename R>
std::vector<const R*> further(const std::vector<const R*>& x, int64_t by) {
  std::vector<const R*> moved;
  for (const R* p : x) moved.push_back(p + by);
  return moved;
}

std::tuple<Tensor, Tensor, Tensor> instance_weighted_sum_fwd_cpu(
    TensorList xs, Tensor w, Tensor bias, std::vector<bool> normed, double eps) {
  STD_TORCH_CHECK(xs.size() > 0, "instance_weighted_sum needs at least one tensor.");
  const Tensor result = new_map_like(xs[0]);
  check_instances(xs, w, normed, result);
  Tensor y = computed_in(result);
  const std::vector<Tensor> inputs = all_matched(xs, y);
  w = as_real(w, y);
  bias = as_real(bias, y);
  const int64_t B = y.size(0), C = y.size(1);
  STD_TORCH_CHECK(bias.numel() == C, "instance_weighted_sum needs a bias for each channel.");
  const int64_t N = std::count(normed.begin(), normed.end(), true);
  Tensor mean = torch::stable::new_empty(y, {B, N, C});
  Tensor var = torch::stable::new_empty(y, {B, N, C});
  if (y.numel() == 0) return {result, mean, var};
  const Tiling tiling(y, true);
  STD_TORCH_CHECK(
      N == 0 || tiling.values() > 1,
      "instance_weighted_sum needs more than 1 value per channel of a sample.");
  const int64_t size = y.numel() / B;
  dispatch_real(y.scalar_type(), [&](auto real) {
    using R = decltype(real);
    const auto x = pointers<R>(inputs);
    for (int64_t b = 0; b < B; ++b) {
      const std::vector<const R*> own = further<R>(x, b * size);
      std::vector<const R*> measured;
      for (size_t k = 0; k < own.size(); ++k) {
        if (normed[k]) measured.push_back(own[k]);
      }
      R *means = mutable_data<R>(mean) + b * N * C, *vars = mutable_data<R>(var) + b * N * C;
      measure<R>(tiling, measured, means, vars);
      weighted<R>(
          tiling, own, Weights<R>(w), normed, means, vars, eps, data<R>(bias),
          mutable_data<R>(y) + b * size);
    }
  });
  return {torch::stable::to(y, result.scalar_type()), mean, var};
}

std::tuple<std::vector<Tensor>, Tensor, Tensor> instance_weighted_sum_bwd_cpu(
    Tensor g, TensorList xs, Tensor w, std::vector<bool> normed, Tensor mean, Tensor var,
    double eps, IntList needs_dx) {
  STD_TORCH_CHECK(xs.size() > 0, "instance_weighted_sum needs at least one tensor.");
  const ScalarType result_type = g.scalar_type();
  // Read for its sizes and strides alone.
  const bool dense = xs[0].is_contiguous() || (xs[0].dim() > 2 && is_innermost(xs[0]));
  const Tensor like = computed_in(dense ? xs[0] : torch::stable::empty_like(xs[0]));
  check_instances(xs, w, normed, like);
  g = matched(g, like);
  const std::vector<Tensor> inputs = all_matched(xs, like);
  const Tensor weight = as_real(w, like);
  const int64_t B = like.size(0), C = like.size(1), K = xs.size();
  const int64_t N = std::count(normed.begin(), normed.end(), true);
  mean = as_real(mean, like);
  var = as_real(var, like);
  STD_TORCH_CHECK(
      mean.numel() == B * N * C && var.numel() == B * N * C,
      "instance_weighted_sum needs one mean and variance for each sample, normed tensor and "
      "channel.");
  std::vector<Tensor> results;
  for (const int64_t k : needs_dx) {
    STD_TORCH_CHECK(k >= 0 && k < K, "instance_weighted_sum_bwd: needs_dx names no tensor.");
    results.push_back(new_map_like(like));
  }
  Tensor dw = torch::stable::new_empty(like, {K, C}), dbias = torch::stable::new_empty(like, {C});
  const std::vector<bool> wanted(K, true);
  dispatch_real(like.scalar_type(), [&](auto real) {
    using R = decltype(real);
    std::vector<double> products(K * C), sums(C);
    const auto x = pointers<R>(inputs);
    const int64_t size = like.numel() / std::max<int64_t>(B, 1);
    const Tiling tiling(like, true);
    for (int64_t b = 0; b < B && size > 0; ++b) {
      const std::vector<const R*> own = further<R>(x, b * size);
      std::vector<R*> dx;
      for (Tensor& result : results) dx.push_back(mutable_data<R>(result) + b * size);
      const GradientRun<R> run = {
          data<R>(g) + b * size,    own, wanted, normed,  data<R>(mean) + b * N * C,
          data<R>(var) + b * N * C, eps, true,   needs_dx};
      weighted_gradient<R>(tiling, run, Weights<R>(weight), dx, products.data(), sums.data());
    }
    std::copy(products.begin(), products.end(), mutable_data<R>(dw));
    std::copy(sums.begin(), sums.end(), mutable_data<R>(dbias));
  });
  for (Tensor& dx : results) dx = torch::stable::to(dx, result_type);
  return {results, torch::stable::to(dw, w.scalar_type()), dbias};
}

STABLE_TORCH_LIBRARY_IMPL(nas_domains, CPU, m) {
  m.impl("norm_weighted_sum_fwd", TORCH_BOX(&norm_weighted_sum_fwd_cpu));
  m.impl("norm_weighted_sum_bwd", TORCH_BOX(&norm_weighted_sum_bwd_cpu));
  m.impl("instance_weighted_sum_fwd", TORCH_BOX(&instance_weighted_sum_fwd_cpu));
  m.impl("instance_weighted_sum_bwd", TORCH_BOX(&instance_weighted_sum_bwd_cpu));
}

}  // namespace
}  // namespace nas
