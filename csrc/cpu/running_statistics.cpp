// CPU kernel of nas_domains/ops/running_statistics.py, which holds the formula.

#include "../common.h"

namespace nas {
namespace {

void update_running_cpu(
    TensorList means, TensorList vars, TensorList counts, Tensor mean, Tensor var, double momentum,
    int64_t values) {
  const size_t N = means.size();
  STD_TORCH_CHECK(
      mean.dim() == 2 && static_cast<size_t>(mean.size(0)) == N && same_shape(mean, var) &&
          vars.size() == N && counts.size() == N && values > 1,
      "update_running needs a mean and a variance for each batch norm, of two values at least.");
  const int64_t C = mean.size(1);
  const ScalarType type = mean.scalar_type();
  mean = contiguous(mean, type);
  var = contiguous(var, type);
  dispatch_real(type, [&](auto real) {
    using R = decltype(real);
    const R weight = static_cast<R>(momentum);
    const R unbiased = static_cast<R>(static_cast<double>(values) / (values - 1));
    const auto move = [&](Tensor running, const R* batch, R factor) {
      STD_TORCH_CHECK(
          running.scalar_type() == type && running.dim() == 1 && running.size(0) == C,
          "update_running needs running statistics of a value a channel, in the dtype of those "
          "of the batch.");
      R* to = mutable_data<R>(running);
      const int64_t stride = running.stride(0);
      for (int64_t c = 0; c < C; ++c) {
        R& here = to[c * stride];
        const R there = batch[c] * factor;
        // From whichever end is nearer, as torch does.
        here = weight < R(0.5) ? here + weight * (there - here)
                               : there - (there - here) * (1 - weight);
      }
    };
    for (size_t n = 0; n < N; ++n) {
      move(means[n], data<R>(mean) + n * C, R(1));
      move(vars[n], data<R>(var) + n * C, unbiased);
      Tensor count = counts[n];
      STD_TORCH_CHECK(
          count.scalar_type() == ScalarType::Long && count.numel() == 1,
          "update_running counts batches in tensors of one int64.");
      *mutable_data<int64_t>(count) += 1;
    }
  });
}

STABLE_TORCH_LIBRARY_IMPL(nas_domains, CPU, m) {
  m.impl("update_running", TORCH_BOX(&update_running_cpu));
}

}  // namespace
}  // namespace nas
