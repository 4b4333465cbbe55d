// CUDA host function of depthwise_bank_fwd; nas_domains/ops/depthwise_bank.py holds the formula.

#include "depthwise_bank_fwd.cuh"

#include <tuple>

#include "depthwise_bank_host.h"

namespace nas::bank {
namespace {

std::tuple<Tensor, Tensor> depthwise_bank_fwd_cuda(
    Tensor x, OptionalTensor scale, OptionalTensor bias, TensorList weights, IntList dilations,
    int64_t stride, bool pools) {
  const Arguments in(x, scale, bias, weights, dilations, stride);
  const int64_t B = in.x.size(0), C = in.x.size(1), n = in.branches.count;
  const torch::stable::accelerator::DeviceGuard guard(in.x.get_device_index());
  Tensor d = torch::stable::new_empty(in.x, {n, B, in.out_height, in.out_width, C});
  Tensor p = torch::stable::new_empty(in.x, {pools ? 2 : 0, B, in.out_height, in.out_width, C});
  if (n == 0 && !pools) return {d, p};
  const Plan plan = in.plan(plan_fwd, pools);
  with_type(in.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    launch(
        in.x, stride == 1 ? depthwise_bank_fwd<T, 1> : depthwise_bank_fwd<T, 2>, plan.blocks(),
        plan.shared, data<T>(in.x), data_or_null<Real<T>>(in.scale),
        data_or_null<Real<T>>(in.bias), in.branches, plan, pools, mutable_data<T>(d),
        mutable_data<T>(p));
  });
  return {d, p};
}

STABLE_TORCH_LIBRARY_IMPL(nas_domains, CUDA, m) {
  m.impl("depthwise_bank_fwd", TORCH_BOX(&depthwise_bank_fwd_cuda));
}

}  // namespace
}  // namespace nas::bank
