// Device code that the CUDA kernels share. Does not include torch, so that it compiles quickly.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace nas {

template <typename T>
struct RealOf {
  using type = float;
};
template <>
struct RealOf<double> {
  using type = double;
};
// What a kernel computes in.
template <typename T>
using Real = typename RealOf<T>::type;

__device__ inline float to_real(float x) {
  return x;
}
__device__ inline double to_real(double x) {
  return x;
}
__device__ inline float to_real(__half x) {
  return __half2float(x);
}
__device__ inline float to_real(__nv_bfloat16 x) {
  return __bfloat162float(x);
}

template <typename T>
__device__ T from_real(Real<T> x) {
  if constexpr (sizeof(T) == sizeof(x)) {
    return x;
  } else if constexpr (__is_same(T, __half)) {
    return __float2half_rn(x);
  } else {
    return __float2bfloat16_rn(x);
  }
}

}  // namespace nas
