// CUDA host function of depthwise_bank_bwd; nas_domains/ops/depthwise_bank.py holds the formula.

#include "depthwise_bank_bwd.cuh"

#include <tuple>

#include "depthwise_bank_host.h"

namespace nas::bank {
namespace {

std::tuple<Tensor, Tensor, Tensor> depthwise_bank_bwd_cuda(
    Tensor da, Tensor x, OptionalTensor scale, OptionalTensor bias, TensorList weights,
    IntList dilations, int64_t stride, OptionalTensor g, OptionalTensor coefficients,
    bool needs_dx, bool needs_dweights) {
  const Arguments in(x, scale, bias, weights, dilations, stride);
  const ScalarType type = in.x.scalar_type();
  const int64_t B = in.x.size(0), C = in.x.size(1), n = in.branches.count;
  STD_TORCH_CHECK(
      has_shape(da, {n, B, in.out_height, in.out_width, C}) && da.device() == in.x.device() &&
          da.scalar_type() == type,
      "depthwise_bank needs da [n, B, Ho, Wo, C] of the dtype and on the device of x.");
  STD_TORCH_CHECK(
      g.has_value() == coefficients.has_value(),
      "depthwise_bank needs both of g and coefficients, or neither.");
  if (g) {
    STD_TORCH_CHECK(
        has_shape(*g, {B, C, in.out_height, in.out_width}) && g->device() == in.x.device() &&
            g->scalar_type() == type,
        "depthwise_bank needs g [B, C, Ho, Wo] of the dtype and on the device of x.");
    g = channels_last(*g);
    coefficients = in.per_channel(*coefficients, {3, 3, C});
  }
  da = contiguous(da, type);

  const torch::stable::accelerator::DeviceGuard guard(in.x.get_device_index());
  const int64_t taps = needs_dweights ? in.branches.taps : 0,
                sums_rows = needs_dx && scale ? 2 : 0;
  Tensor dx = needs_dx ? torch::stable::empty(
                             {B, C, in.x.size(2), in.x.size(3)}, type, std::nullopt, in.x.device(),
                             std::nullopt, torch::headeronly::MemoryFormat::ChannelsLast)
                       : torch::stable::new_empty(in.x, {0});
  Tensor dweights = torch::stable::new_empty(in.x, {taps, C}, in.real());
  Tensor sums = torch::stable::new_empty(in.x, {sums_rows, C}, in.real());
  const int64_t rows = taps + sums_rows;
  if (!needs_dx && rows == 0) return {dx, dweights, sums};
  const Plan plan = in.plan(plan_bwd, g.has_value() && needs_dx);
  Tensor partial = torch::stable::new_empty(in.x, {plan.tiles(), rows, C}, in.real());
  with_type(type, [&](auto one) {
    using T = decltype(one);
    using R = Real<T>;
    const Gradients<T> io = {
        data<T>(da),
        data<T>(in.x),
        data_or_null<R>(in.scale),
        data_or_null<R>(in.bias),
        data_or_null<T>(g),
        data_or_null<R>(coefficients),
        mutable_data<T>(dx),
        mutable_data<R>(partial),
        static_cast<int32_t>(rows),
        needs_dx,
        needs_dweights};
    launch(
        in.x, stride == 1 ? depthwise_bank_bwd<T, 1> : depthwise_bank_bwd<T, 2>, plan.blocks(),
        plan.shared, io, in.branches, plan);
    if (rows == 0) return;
    launch(
        in.x, depthwise_bank_sum<R>, sum_blocks(rows * C), 0, data<R>(partial), plan.tiles(),
        rows * C, taps * C, mutable_data<R>(dweights), mutable_data<R>(sums));
  });
  return {dx, dweights, sums};
}

STABLE_TORCH_LIBRARY_IMPL(nas_domains, CUDA, m) {
  m.impl("depthwise_bank_bwd", TORCH_BOX(&depthwise_bank_bwd_cuda));
}

}  // namespace
}  // namespace nas::bank
