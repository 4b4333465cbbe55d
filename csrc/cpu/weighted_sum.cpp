// CPU kernels of nas_domains/ops/weighted_sum.py, which holds the formula and the checks for
// users.

#include <algorithm>
#include <tuple>

#include "../common.h"

#define NAS_KERNEL_FILE "weighted_sum.inl"
#include "each_isa.h"

namespace nas {
namespace {

// A block is the unit of work and of dw's summation: fixed, so that bits do not depend on threads.
constexpr int64_t kBlock = 4096;

template <typename R>
using FwdFn = void (*)(const R* const*, const R*, R*, int64_t, int64_t, int64_t);
template <typename R>
using BwdFn =
    void (*)(const R*, const R* const*, const R*, R* const*, double*, int64_t, int64_t, int64_t);

// Calls f(block, begin, end) for every block of n elements, on torch's threads.
template <typename F>
void for_each_block(int64_t n, const F& f) {
  torch::stable::parallel_for(0, (n + kBlock - 1) / kBlock, 4, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) f(b, b * kBlock, std::min(n, (b + 1) * kBlock));
  });
}

Tensor weights(const Tensor& w, int64_t K, const Tensor& like) {
  STD_TORCH_CHECK(
      w.dim() == 1 && w.size(0) == K, "weighted_sum needs one weight for each tensor.");
  return contiguous(w, like.scalar_type());
}

Tensor weighted_sum_fwd_cpu(TensorList xs, Tensor w) {
  const int64_t K = xs.size();
  STD_TORCH_CHECK(K > 0, "weighted_sum needs at least one tensor.");
  Tensor result = torch::stable::empty_like(xs[0]);
  Tensor out = is_half(result.scalar_type()) ? computed_in(result) : result;
  const std::vector<Tensor> inputs = all_matched(xs, out);
  w = weights(w, K, out);
  dispatch_real(out.scalar_type(), [&](auto real) {
    using R = decltype(real);
    const auto kernel = NAS_SELECT_ISA(FwdFn<R>, weighted_sum_fwd_kernel);
    const auto x = pointers<R>(inputs);
    const R* weight = data<R>(w);
    R* y = mutable_data<R>(out);
    for_each_block(out.numel(), [&](int64_t, int64_t begin, int64_t end) {
      kernel(x.data(), weight, y, K, begin, end);
    });
  });
  return torch::stable::to(out, result.scalar_type());
}

// xs is empty if dw is not wanted; needs_dx lists the k whose dx_k is.
std::tuple<std::vector<Tensor>, Tensor> weighted_sum_bwd_cpu(
    Tensor g, TensorList xs, Tensor w, IntList needs_dx) {
  const int64_t K = w.numel();
  const ScalarType result_type = g.scalar_type();
  const bool needs_dw = xs.size() > 0;
  STD_TORCH_CHECK(
      !needs_dw || static_cast<int64_t>(xs.size()) == K,
      "weighted_sum_bwd needs one weight for each tensor.");
  const Tensor like = computed_in(torch::stable::empty_like(needs_dw ? xs[0] : g));
  g = matched(g, like);
  const std::vector<Tensor> inputs = all_matched(xs, like);
  const Tensor weight = weights(w, K, like);
  std::vector<Tensor> results;
  for (size_t i = 0; i < needs_dx.size(); ++i) results.push_back(torch::stable::empty_like(like));
  Tensor dw = torch::stable::new_empty(w, {needs_dw ? K : 0}, like.scalar_type());

  const int64_t n = like.numel();
  dispatch_real(like.scalar_type(), [&](auto real) {
    using R = decltype(real);
    const auto kernel = NAS_SELECT_ISA(BwdFn<R>, weighted_sum_bwd_kernel);
    const auto x = pointers<R>(inputs);
    std::vector<R*> dx(K, nullptr);
    for (size_t i = 0; i < results.size(); ++i) {
      STD_TORCH_CHECK(
          needs_dx[i] >= 0 && needs_dx[i] < K && (n == 0 || dx[needs_dx[i]] == nullptr),
          "weighted_sum_bwd: needs_dx names no tensor, or one twice.");
      dx[needs_dx[i]] = mutable_data<R>(results[i]);
    }
    std::vector<double> shares(needs_dw ? K * ((n + kBlock - 1) / kBlock) : 0);
    for_each_block(n, [&](int64_t block, int64_t begin, int64_t end) {
      double* share = needs_dw ? shares.data() + block * K : nullptr;
      kernel(
          data<R>(g), needs_dw ? x.data() : nullptr, data<R>(weight), dx.data(), share, K, begin,
          end);
    });
    if (!needs_dw) return;
    for (int64_t k = 0; k < K; ++k) {
      double sum = 0;
      for (size_t at = k; at < shares.size(); at += K) sum += shares[at];
      mutable_data<R>(dw)[k] = static_cast<R>(sum);
    }
  });
  for (Tensor& dx : results) dx = torch::stable::to(dx, result_type);
  return {results, torch::stable::to(dw, w.scalar_type())};
}

STABLE_TORCH_LIBRARY_IMPL(nas_domains, CPU, m) {
  m.impl("weighted_sum_fwd", TORCH_BOX(&weighted_sum_fwd_cpu));
  m.impl("weighted_sum_bwd", TORCH_BOX(&weighted_sum_bwd_cpu));
}

}  // namespace
}  // namespace nas
