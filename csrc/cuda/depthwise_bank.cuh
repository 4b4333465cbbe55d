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

// One row of a region: where it lies, and whether in the image.
struct Row {
  int image, within;  // image of the block, row of the region in it
  int y;
  bool exists;
  int64_t offset;  // of the row's first element in the map
};

// Rows of a map [B, height, width, channels], of several images one below the other.
struct Region {
  int64_t image;
  int images, rows, columns, row, column;  // row and column: the first, may lie outside
  int height, width, channels;

  __device__ Region(
      const Place& at, int rows, int columns, int row, int column, int height, int width,
      int channels)
      : image(at.image),
        images(at.images),
        rows(rows),
        columns(columns),
        row(row),
        column(column),
        height(height),
        width(width),
        channels(channels) {}

  __device__ int all_rows() const { return images * rows; }
  __device__ Row at(int n) const {
    Row r;
    r.image = images == 1 ? 0 : n / rows;
    r.within = n - r.image * rows;
    r.y = row + r.within;
    r.exists = unsigned(r.y) < unsigned(height);
    r.offset = ((image + r.image) * height + r.y) * width * channels;
    return r;
  }
  __device__ bool has_column(int n) const { return unsigned(column + n) < unsigned(width); }
  // From a row's first element to a pixel; the host function checks that rows are short enough.
  __device__ int along(int n) const { return (column + n) * channels; }
};

// Calls f(row)(column) for each pixel, once for each channel of the chunk: channels are the
// fastest over threads, a warp takes a row.
template <int CHUNK, int UNROLL = 1, typename F>
__device__ __forceinline__ void for_pixels(int rows, int columns, const F& f) {
  const int first = threadIdx.x % WARP / CHUNK;
  for (int row = threadIdx.x / WARP; row < rows; row += WARPS) {
    const auto pixel = f(row);
#pragma unroll UNROLL
    for (int column = first; column < columns; column += WARP / CHUNK) pixel(column);
  }
}

// Calls f(row, column) for each strip of a tile, once for each channel: a warp takes neighbouring
// rows, of one parity where PARITIES is 2 and rows is even.
template <int CHUNK, int PARITIES, typename F>
__device__ __forceinline__ void for_strips(int rows, int columns, const F& f) {
  constexpr int STEP = THREADS / CHUNK;
  int nth = threadIdx.x / CHUNK % rows, column = threadIdx.x / CHUNK / rows * STRIP;
  const int half = rows / PARITIES;
  while (column < columns) {
    f(PARITIES == 1 || nth < half ? nth * PARITIES : (nth - half) * 2 + 1, column);
    for (nth += STEP; nth >= rows; nth -= rows) column += STRIP;
  }
}

// Fills a tile with f(value), and with zeros outside of the image and of the channels. `map`
// points to the thread's own channel.
template <int CHUNK, typename T, typename S, typename F>
__device__ __forceinline__ void load_tile(
    S* tile, int pitch, const T* __restrict__ map, const Region& region, bool channel_exists,
    const F& f) {
  S* own = tile + threadIdx.x % CHUNK;
  for_pixels<CHUNK, 4>(region.all_rows(), region.columns, [&](int n) {
    const Row row = region.at(n);
    const T* from = map + row.offset;
    const bool exists = channel_exists && row.exists;
    return [=, to = own + n * pitch, &region, &f](int column) {
      S value = from_real<S>(0);
      if (exists && region.has_column(column)) value = f(from[region.along(column)]);
      to[column * CHUNK] = value;
    };
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
    const bool whole = y >= 0 && x >= 0 && y + 2 < height && x + 2 < width;
    R sum = NAN;
    if (whole) {
      sum = largest = to_real(from[0]);
      index = 0;
#pragma unroll
      for (int i = 1; i < 9; ++i) {
        const R value = to_real(from[i / 3 * pitch + i % 3 * chunk]);
        sum += value;
        if (value > largest) {
          largest = value;
          index = i;
        }
      }
      share = R(1) / 9;
    }
    // Clipped, or with a NaN in it.
    if (sum != sum) {
      largest = -INFINITY;
      index = -1;
      sum = 0;
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
    }
    mean = sum * share;
  }
};

}  // namespace nas::bank
