// Forward kernel of nas_domains/ops/depthwise_bank.py: one pass over x makes all maps from one
// tile in shared memory.
#pragma once

#include "depthwise_bank.cuh"

namespace nas::bank {

// One convolution of the tile; tile, weights and out at the thread's own channel.
template <int STRIDE, int K, int D, typename T>
__device__ __forceinline__ void convolve(
    const Real<T>* tile, int pitch, int tile_rows, int halo, const Real<T>* weights,
    const Region& to, bool channel_exists, T* out) {
  using R = Real<T>;
  constexpr int CHUNK = chunk_of(sizeof(T)), P = D * (K / 2);
  constexpr int COLUMNS = (STRIP - 1) * STRIDE + 2 * P + 1;
  R taps[K * K];
#pragma unroll
  for (int i = 0; i < K * K; ++i) taps[i] = weights[i];
  for_strips<CHUNK, 1>(to.all_rows(), to.columns, [&](int n, int column) {
    const Row row = to.at(n);
    const int top = row.image * tile_rows + row.within * STRIDE + halo - P;
    const R* from = tile + top * pitch + (column * STRIDE + halo - P) * CHUNK;
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
    if (!channel_exists || !row.exists) return;
    T* pixel = out + row.offset + to.along(column);
#pragma unroll
    for (int j = 0; j < STRIP; ++j) {
      if (to.has_column(column + j)) pixel[j * to.channels] = from_real<T>(sums[j]);
    }
  });
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
  const Region from(
      at, (plan.rows - 1) * STRIDE + 1 + 2 * halo, (plan.columns - 1) * STRIDE + 1 + 2 * halo,
      at.row * STRIDE - halo, at.column * STRIDE - halo, plan.height, plan.width, plan.channels);
  const Region to(
      at, plan.rows, plan.columns, at.row, at.column, plan.out_height, plan.out_width,
      plan.channels);
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
  load_tile<CHUNK>(tile, step, x + channel, from, exists, [&](T value) {
    return pools ? to_real(value) : affine(to_real(value));
  });
  __syncthreads();

  tile += c;
  const int64_t map = plan.batch * plan.out_height * plan.out_width * plan.channels;
  if (pools) {
    for_pixels<CHUNK>(to.all_rows(), to.columns, [&](int n) {
      const Row row = to.at(n);
      const int top = row.within * STRIDE + halo - 1;
      const R* first = tile + (row.image * from.rows + top) * step;
      return [=, &to, &from, &plan](int column) {
        if (!exists || !row.exists || !to.has_column(column)) return;
        const int left = column * STRIDE + halo - 1;
        const Window<R> window(
            first + left * CHUNK, step, CHUNK, from.row + top, from.column + left, plan.height,
            plan.width);
        T* out = p + row.offset + to.along(column) + channel;
        out[0] = from_real<T>(window.largest);
        out[map] = from_real<T>(window.mean);
      };
    });
    __syncthreads();
    for_pixels<CHUNK>(from.all_rows(), from.columns, [&](int n) {
      const bool inside = from.at(n).exists;
      return [=, &from, &affine](int column) {
        R& value = tile[n * step + column * CHUNK];
        if (inside && from.has_column(column)) value = affine(value);
      };
    });
    __syncthreads();
  }

  for (int i = 0, room = 0; i < branches.count; ++i) {
    with_window(branches.kernel[i], branches.dilation[i], [&](auto kernel, auto dilation) {
      constexpr int K = decltype(kernel)::value, D = decltype(dilation)::value;
      const R* own = weights + room * CHUNK + c * K * K;
      convolve<STRIDE, K, D>(tile, step, from.rows, halo, own, to, exists, d + i * map + channel);
    });
    room += branches.kernel[i] * branches.kernel[i];
  }
}

}  // namespace nas::bank
