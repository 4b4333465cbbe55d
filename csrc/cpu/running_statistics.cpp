// CPU kernel of nas_domains/ops/running_statistics.py, which holds the formula.

#include "running_statistics.h"

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
    Running<R> run{{}, {}, {}, C, momentum, values};
    const auto begin = [&](Tensor running) {
      STD_TORCH_CHECK(
          running.scalar_type() == type && running.dim() == 1 && running.size(0) == C,
          "update_running needs running statistics of a value a channel, in the dtype of those "
          "of the batch.");
      run.strides.push_back(running.stride(0));
      return mutable_data<R>(running);
    };
    for (size_t n = 0; n < N; ++n) {
      run.means.push_back(begin(means[n]));
      run.vars.push_back(begin(vars[n]));
      Tensor count = counts[n];
      STD_TORCH_CHECK(
          count.scalar_type() == ScalarType::Long && count.numel() == 1,
          "update_running counts batches in tensors of one int64.");
      run.counts.push_back(mutable_data<int64_t>(count));
    }
    move_running<R>(run, data<R>(mean), data<R>(var));
  });
}

STABLE_TORCH_LIBRARY_IMPL(nas_domains, CPU, m) {
  m.impl("update_running", TORCH_BOX(&update_running_cpu));
}

}  // namespace
}  // namespace nas
