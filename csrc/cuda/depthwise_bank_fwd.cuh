// Forward kernel of nas_domains/ops/depthwise_bank.py: one pass over x makes all maps from one
// tile in shared memory.
#pragma once

#include "depthwise_bank.cuh"

namespace nas::bank {

// One convolution of the tile; `weights` holds the thread's own channel's, `out` points to it.
template <int STRIDE, int K, int D, typename T>
__device__ __forceinline__ void convolve(
    const Real<T>* tile, int pitch, int tile_rows, const Real<T>* weights, const Plan& plan,
    const Place& at, bool channel_exists, T* out) {
  using R = Real<T>;
  constexpr int CHUNK = chunk_of(sizeof(T)), P = D * (K / 2);
  constexpr int COLUMNS = (STRIP - 1) * STRIDE + 2 * P + 1;
  R taps[K * K];
#pragma unroll
  for (int i = 0; i < K * K; ++i) taps[i] = weights[i];
  const Region to = {at.images, plan.rows,       plan.columns,   at.row,
                     at.column, plan.out_height, plan.out_width, plan.channels};
  const int rows = to.all_rows(), items = rows * (plan.columns / STRIP);
  for (int item = threadIdx.x / CHUNK; item < items; item += THREADS / CHUNK) {
    const int row = item % rows, column = item / rows * STRIP;
    const int top = to.image(row) * tile_rows + row % plan.rows * STRIDE + plan.halo - P;
    const R* from = tile + top * pitch + (column * STRIDE + plan.halo - P) * CHUNK;
    R sums[STRIP] = {};
#pragma unroll
    for (int r = 0; r < K; ++r) {
      R values[COLUMNS];
#pragma unroll
      for (int i = 0; i < COLUMNS; ++i) values[i] = from[r * D * pitch + i * CHUNK];
#pragma unroll
      for (int t = 0; t < K; ++t) {
#pragma unroll
        for (int j = 0; j < STRIP; ++j) {
          sums[j] = fma(taps[r * K + t], values[j * STRIDE + t * D], sums[j]);
        }
      }
    }
    T* pixel = out + to.offset(at.image, row, column);
#pragma unroll
    for (int j = 0; j < STRIP; ++j) {
      if (channel_exists && to.inside(row, column + j)) {
        pixel[int64_t(j) * plan.channels] = from_real<T>(sums[j]);
      }
    }
  }
}

template <typename T, int STRIDE>
__global__ void __launch_bounds__(THREADS, sizeof(T) == 8 ? 1 : 3) depthwise_bank_fwd(
    const T* __restrict__ x, const Real<T>* __restrict__ scale, const Real<T>* __restrict__ bias,
    const Branches branches, const Plan plan, bool pools, T* __restrict__ d, T* __restrict__ p) {
  using R = Real<T>;
  constexpr int CHUNK = chunk_of(sizeof(T));
  extern __shared__ __align__(16) unsigned char memory[];
  const Place at(plan);
  const int halo = plan.halo, c = threadIdx.x % CHUNK, channel = at.channel + c;
  const bool exists = channel < plan.channels;
  const Region from = {
      at.images,
      (plan.rows - 1) * STRIDE + 1 + 2 * halo,
      (plan.columns - 1) * STRIDE + 1 + 2 * halo,
      at.row * STRIDE - halo,
      at.column * STRIDE - halo,
      plan.height,
      plan.width,
      plan.channels};
  const int step = pitch(from.columns, CHUNK, STRIDE);
  R* tile = reinterpret_cast<R*>(memory);
  R* weights = tile + plan.images * from.rows * step;
  const int present = min(CHUNK, plan.channels - at.channel);
  for (int i = 0, room = 0; i < branches.count; ++i) {
    const int taps = branches.kernel[i] * branches.kernel[i];
    const T* w = static_cast<const T*>(branches.weight[i]) + int64_t(at.channel) * taps;
    load_weights<T>(weights + room * CHUNK, w, present * taps, CHUNK * taps);
    room += taps;
  }
  const Affine<R> affine(scale, bias, channel, exists);
  load_tile<CHUNK>(tile, step, x + channel, at.image, from, exists, [&](T value) {
    return pools ? to_real(value) : affine(to_real(value));
  });
  __syncthreads();

  const int64_t map = plan.batch * plan.out_height * plan.out_width * plan.channels;
  if (pools) {
    const Region to = {at.images, plan.rows,       plan.columns,   at.row,
                       at.column, plan.out_height, plan.out_width, plan.channels};
    for_pixels<CHUNK>(to.all_rows(), plan.columns, [&](int row, int column) {
      if (!exists || !to.inside(row, column)) return;
      const int top = row % plan.rows * STRIDE + halo - 1, left = column * STRIDE + halo - 1;
      const Window<R> window(
          tile + (to.image(row) * from.rows + top) * step + left * CHUNK + c, step, CHUNK,
          from.row + top, from.column + left, plan.height, plan.width);
      T* out = p + to.offset(at.image, row, column) + channel;
      out[0] = from_real<T>(window.largest);
      out[map] = from_real<T>(window.mean);
    });
    __syncthreads();
    for_pixels<CHUNK>(from.all_rows(), from.columns, [&](int row, int column) {
      if (!from.inside(row, column)) return;
      R& value = tile[row * step + column * CHUNK + c];
      value = affine(value);
    });
    __syncthreads();
  }

  for (int i = 0, room = 0; i < branches.count; ++i) {
    with_window(branches.kernel[i], branches.dilation[i], [&](auto kernel, auto dilation) {
      constexpr int K = decltype(kernel)::value, D = decltype(dilation)::value;
      convolve<STRIDE, K, D>(
          tile + c, step, from.rows, weights + room * CHUNK + c * K * K, plan, at, exists,
          d + i * map + channel);
    });
    room += branches.kernel[i] * branches.kernel[i];
  }
}

}  // namespace nas::bank
