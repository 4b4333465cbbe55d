// Helpers shared by the host side of every op: checks, layouts, dtypes.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/HeaderOnlyArrayRef.h>

#include <cstdint>
#include <vector>

namespace nas {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using TensorList = torch::headeronly::HeaderOnlyArrayRef<Tensor>;
using IntList = torch::headeronly::HeaderOnlyArrayRef<int64_t>;

inline bool same_shape(const Tensor& a, const Tensor& b) {
  if (a.dim() != b.dim()) return false;
  for (int64_t d = 0; d < a.dim(); ++d) {
    if (a.size(d) != b.size(d)) return false;
  }
  return true;
}

// True if the elements of both, which are of one shape, lie in memory in the same order (strides
// of length-1 dims are free).
inline bool same_layout(const Tensor& a, const Tensor& b) {
  for (int64_t d = 0; d < a.dim(); ++d) {
    if (a.size(d) > 1 && a.stride(d) != b.stride(d)) return false;
  }
  return true;
}

// A new tensor of the dtype and device of `like`, made without asking the dispatcher.
inline Tensor new_strided(const Tensor& like, IntList sizes, IntList strides) {
  int32_t dtype, device_type, device_index;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &dtype));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &device_index));
  AtenTensorHandle result;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      sizes.size(), sizes.data(), strides.data(), dtype, device_type, device_index, &result));
  return Tensor(result);
}

// The same in the order of its dimensions.
inline Tensor new_contiguous(const Tensor& like, IntList sizes) {
  std::vector<int64_t> strides(sizes.size());
  int64_t step = 1;
  for (size_t d = sizes.size(); d-- > 0; step *= sizes[d] > 0 ? sizes[d] : 1) strides[d] = step;
  return new_strided(like, sizes, strides);
}

// The same [B, C, H, W], channels innermost in memory.
inline Tensor new_channels_last(const Tensor& like, int64_t B, int64_t C, int64_t H, int64_t W) {
  return new_strided(like, {B, C, H, W}, {H * W * C, 1, W * C, C});
}

// The strides of sizes [., C, sides...] in a memory where the channels are innermost.
inline std::vector<int64_t> innermost_strides(IntList sizes) {
  std::vector<int64_t> strides(sizes.size());
  strides[1] = 1;
  int64_t step = sizes[1];
  for (size_t d = sizes.size() - 1; d >= 2; step *= sizes[d--]) strides[d] = step;
  strides[0] = step;
  return strides;
}

inline std::vector<int64_t> sizes_of(const Tensor& x) {
  std::vector<int64_t> sizes;
  for (int64_t d = 0; d < x.dim(); ++d) sizes.push_back(x.size(d));
  return sizes;
}

// Whether x [., C, sides...] lies so.
inline bool is_innermost(const Tensor& x) {
  const std::vector<int64_t> strides = innermost_strides(sizes_of(x));
  for (int64_t d = 0; d < x.dim(); ++d) {
    if (x.size(d) > 1 && x.stride(d) != strides[d]) return false;
  }
  return true;
}

// x in the dense layout and dtype of `like`; x itself if it has both already. Kernels index what
// this returns by the size of `like`, so another shape is refused here, for every op.
inline Tensor matched(const Tensor& x, const Tensor& like) {
  STD_TORCH_CHECK(same_shape(x, like), "An op needs tensors of one shape.");
  if (x.scalar_type() == like.scalar_type() && same_layout(x, like)) return x;
  Tensor y = torch::stable::empty_like(like);
  torch::stable::copy_(y, x);
  return y;
}

// x of a dtype and contiguous; x itself if it is both already, which asks no dispatcher.
inline Tensor contiguous(const Tensor& x, ScalarType dtype) {
  if (x.scalar_type() == dtype && x.is_contiguous()) return x;
  return torch::stable::contiguous(torch::stable::to(x, dtype));
}

template <typename R>
const R* data(const Tensor& x) {
  const void* begin = x.const_data_ptr();
  STD_TORCH_CHECK(begin != nullptr || x.numel() == 0, "A tensor has no memory.");
  return static_cast<const R*>(begin);
}

template <typename R>
R* mutable_data(Tensor& x) {
  return static_cast<R*>(x.mutable_data_ptr());
}

// Calls f(R{}) with R float or double. A half type is computed in float by the caller's
// conversion.
template <typename F>
auto dispatch_real(ScalarType type, F&& f) {
  STD_TORCH_CHECK(
      type == ScalarType::Float || type == ScalarType::Double,
      "native CPU kernels compute in float32 or float64.");
  return type == ScalarType::Double ? f(double{}) : f(float{});
}

inline bool is_half(ScalarType type) {
  return type == ScalarType::Half || type == ScalarType::BFloat16;
}

// Half types are computed in float.
inline Tensor computed_in(const Tensor& x) {
  return is_half(x.scalar_type()) ? torch::stable::to(x, ScalarType::Float) : x;
}

inline std::vector<Tensor> all_matched(TensorList xs, const Tensor& like) {
  std::vector<Tensor> out;
  out.reserve(xs.size());
  for (const Tensor& x : xs) out.push_back(matched(x, like));
  return out;
}

template <typename R>
std::vector<const R*> pointers(const std::vector<Tensor>& xs) {
  std::vector<const R*> out;
  for (const Tensor& x : xs) out.push_back(data<R>(x));
  return out;
}

}  // namespace nas
