// What the forward and the backward kernel of the depthwise bank share: the place of a block, the
// way from global to shared memory, windows of the pools.
#pragma once

#include "common.cuh"
#include "depthwise_bank.h"

namespace nas::bank {

// Where a block works. Blocks of one tile and neighbouring chunks follow each other, as they share
// lines of memory.
struct Place {
  int64_t tile, image;  // the first image
  int images, row, column, channel;

  __device__ explicit Place(const Plan& p) {
    channel = blockIdx.x % p.chunks * p.chunk;
    tile = blockIdx.x / p.chunks;
    const int64_t group = tile / (p.tiles_down * p.tiles_across);
    const int within = tile % (p.tiles_down * p.tiles_across);
    image = group * p.images;
    images = p.batch - image < p.images ? p.batch - image : p.images;
    row = within / p.tiles_across * p.rows;
    column = within % p.tiles_across * p.columns;
  }
};

// Rows of a map [B, height, width, channels], of several images one below the other.
struct Region {
  int images, rows, columns, row, column;  // row and column: the first, may lie outside
  int height, width, channels;

  __device__ int all_rows() const { return images * rows; }
  __device__ int image(int at) const { return at / rows; }
  __device__ int y(int at) const { return row + at % rows; }
  __device__ int x(int at) const { return column + at; }
  __device__ bool inside(int at, int along) const {
    return y(at) >= 0 && y(at) < height && x(along) >= 0 && x(along) < width;
  }
  __device__ int64_t offset(int64_t first_image, int at, int along) const {
    return (((first_image + image(at)) * height + y(at)) * width + x(along)) * channels;
  }
};

// Calls f(row, column) for each pixel, once for each channel of the chunk: channels are the
// fastest over threads, a warp takes a row.
template <int CHUNK, int UNROLL = 1, typename F>
__device__ __forceinline__ void for_pixels(int rows, int columns, const F& f) {
  const int first = threadIdx.x % WARP / CHUNK;
  for (int row = threadIdx.x / WARP; row < rows; row += WARPS) {
#pragma unroll UNROLL
    for (int column = first; column < columns; column += WARP / CHUNK) f(row, column);
  }
}

// Fills a tile with f(value), and with zeros outside of the image and of the channels. `map`
// points to the thread's own channel.
template <int CHUNK, typename T, typename S, typename F>
__device__ __forceinline__ void load_tile(
    S* tile, int pitch, const T* __restrict__ map, int64_t image, const Region& region,
    bool channel_exists, const F& f) {
  const int c = threadIdx.x % CHUNK;
  for_pixels<CHUNK, 4>(region.all_rows(), region.columns, [&](int row, int column) {
    const bool exists = channel_exists && region.inside(row, column);
    S value = S(0.0f);
    if (exists) value = f(map[region.offset(image, row, column)]);
    tile[row * pitch + column * CHUNK + c] = value;
  });
}

// Copies `count` values in their order, followed by zeros up to `room`.
template <typename T>
__device__ __forceinline__ void load_weights(
    Real<T>* to, const T* __restrict__ from, int count, int room) {
  for (int i = threadIdx.x; i < room; i += THREADS) to[i] = i < count ? to_real(from[i]) : 0;
}

// Calls f(kernel, dilation) with the two as types.
template <int N>
struct Int {
  static constexpr int value = N;
};
template <typename F>
__device__ __forceinline__ void with_window(int kernel, int dilation, const F& f) {
  if (kernel == 3) {
    dilation == 1 ? f(Int<3>{}, Int<1>{}) : f(Int<3>{}, Int<2>{});
  } else {
    dilation == 1 ? f(Int<5>{}, Int<1>{}) : f(Int<5>{}, Int<2>{});
  }
}

// ReLU as in torch: of a NaN a NaN.
template <typename R>
__device__ __forceinline__ R relu(R x) {
  return x <= 0 ? R(0) : x;
}

// The ReLU's input as the convolutions see it; both passes round alike.
template <typename R>
struct Affine {
  R scale = 1, bias = 0;
  bool given = false;

  __device__ Affine(const R* scales, const R* biases, int channel, bool exists) {
    given = scales != nullptr;
    if (given && exists) {
      scale = scales[channel];
      bias = biases[channel];
    }
  }
  __device__ R operator()(R x) const { return relu(given ? fma(scale, x, bias) : x); }
};

// What the 3x3 pools see in one window, clipped to the image.
template <typename R>
struct Window {
  R largest, mean;
  int index;  // of the largest: the first in scan order that equals it, the last NaN, as in torch
  R share;    // 1 / number of pixels

  // `from` points to its upper left pixel, which is pixel (y, x) of the image.
  template <typename T>
  __device__ __forceinline__
  Window(const T* from, int pitch, int chunk, int y, int x, int height, int width) {
    largest = -INFINITY;
    index = -1;
    R sum = 0;
#pragma unroll
    for (int i = 0; i < 9; ++i) {
      const int row = y + i / 3, column = x + i % 3;
      if (row < 0 || row >= height || column < 0 || column >= width) continue;
      const R value = to_real(from[i / 3 * pitch + i % 3 * chunk]);
      sum += value;
      if (index < 0 || value > largest || value != value) {
        largest = value;
        index = i;
      }
    }
    const int rows = 3 - (y < 0) - (y + 2 >= height), columns = 3 - (x < 0) - (x + 2 >= width);
    share = R(1) / (rows * columns);
    mean = sum * share;
  }
};

}  // namespace nas::bank
