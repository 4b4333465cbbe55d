// What the host functions of the depthwise bank share: checks of arguments, types, launches.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>

#include <initializer_list>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "../common.h"
#include "depthwise_bank.h"

namespace nas::bank {

using OptionalTensor = std::optional<Tensor>;

inline bool has_shape(const Tensor& x, std::initializer_list<int64_t> shape) {
  if (x.dim() != static_cast<int64_t>(shape.size())) return false;
  int64_t d = 0;
  for (const int64_t side : shape) {
    if (x.size(d++) != side) return false;
  }
  return true;
}

inline Tensor channels_last(const Tensor& x) {
  return torch::stable::contiguous(x, torch::headeronly::MemoryFormat::ChannelsLast);
}

// The arguments that both passes take, checked and laid out as the kernels read them.
struct Arguments {
  Tensor x;
  OptionalTensor scale, bias;
  std::vector<Tensor> weights;
  Branches branches = {};
  int64_t stride, out_height, out_width;

  Arguments(
      const Tensor& input, const OptionalTensor& scales, const OptionalTensor& biases,
      TensorList kernels, IntList dilations, int64_t step)
      : x(input), stride(step) {
    STD_TORCH_CHECK(
        x.dim() == 4 && x.numel() > 0, "depthwise_bank needs x [B, C, H, W] with no empty side.");
    STD_TORCH_CHECK(
        x.size(1) * x.size(3) <= std::numeric_limits<int32_t>::max() &&
            x.size(2) <= std::numeric_limits<int32_t>::max() / 4,
        "depthwise_bank needs rows of x of fewer than 2^31 values.");
    STD_TORCH_CHECK(stride == 1 || stride == 2, "depthwise_bank needs a stride of 1 or 2.");
    STD_TORCH_CHECK(
        kernels.size() == dilations.size() && kernels.size() <= MOST_BRANCHES,
        "depthwise_bank needs one dilation for each of at most 16 weights.");
    STD_TORCH_CHECK(
        scales.has_value() == biases.has_value(),
        "depthwise_bank needs both of scale and bias, or neither.");
    out_height = divide_up(x.size(2), stride);
    out_width = divide_up(x.size(3), stride);
    x = channels_last(x);
    if (scales) {
      scale = per_channel(*scales, {x.size(1)});
      bias = per_channel(*biases, {x.size(1)});
    }
    for (size_t i = 0; i < kernels.size(); ++i) add_branch(kernels[i], dilations[i]);
  }

  ScalarType real() const {
    return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  }

  // A tensor of the computing dtype, contiguous.
  Tensor per_channel(const Tensor& given, std::initializer_list<int64_t> shape) const {
    STD_TORCH_CHECK(
        has_shape(given, shape) && given.device() == x.device(),
        "depthwise_bank needs scale, bias [C] and coefficients [3, 3, C] on the device of x.");
    return contiguous(given, real());
  }

  template <typename Make>
  Plan plan(Make make, bool pools) const {
    const Plan made = make(
        x.size(0), x.size(1), x.size(2), x.size(3), stride, x.element_size(), branches, pools);
    STD_TORCH_CHECK(
        made.blocks() <= std::numeric_limits<int32_t>::max(),
        "depthwise_bank needs a smaller batch: its kernel would take more than 2^31 blocks.");
    return made;
  }

 private:
  void add_branch(const Tensor& weight, int64_t dilation) {
    const int64_t kernel = weight.dim() == 4 ? weight.size(3) : 0;
    STD_TORCH_CHECK(
        (kernel == 3 || kernel == 5) && has_shape(weight, {x.size(1), 1, kernel, kernel}) &&
            weight.device() == x.device(),
        "depthwise_bank needs weights [C, 1, k, k] with k 3 or 5 on the device of x.");
    STD_TORCH_CHECK(dilation == 1 || dilation == 2, "depthwise_bank needs dilations of 1 or 2.");
    weights.push_back(contiguous(weight, x.scalar_type()));
    add(branches, weights.back().const_data_ptr(), kernel, dilation);
  }
};

// Calls f(T{}) with the C++ type of a dtype.
template <typename F>
void with_type(ScalarType type, F&& f) {
  switch (type) {
    case ScalarType::Float:
      return f(float{});
    case ScalarType::Double:
      return f(double{});
    case ScalarType::Half:
      return f(__half{});
    case ScalarType::BFloat16:
      return f(__nv_bfloat16{});
    default:
      STD_TORCH_CHECK(
          false, "depthwise_bank needs float32, float64, float16 or bfloat16 on a GPU.");
  }
}

template <typename R>
const R* data_or_null(const OptionalTensor& x) {
  return x ? data<R>(*x) : nullptr;
}

template <typename... Parameters, typename... Values>
void launch(
    const Tensor& x, void (*kernel)(Parameters...), int64_t blocks, int64_t shared,
    Values... values) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(x.get_device_index(), &stream));
  STD_CUDA_CHECK(cudaFuncSetAttribute(
      reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
      static_cast<int>(shared)));
  kernel<<<static_cast<unsigned>(blocks), THREADS, shared, static_cast<cudaStream_t>(stream)>>>(
      values...);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

}  // namespace nas::bank
