// Geometry of the depthwise bank's kernels: what a block takes, and the launch. Plain C++, so that
// the tests launch what the host functions launch.
#pragma once

#include <algorithm>
#include <cstdint>

#ifdef __CUDACC__
#define NAS_EVERYWHERE __host__ __device__
#else
#define NAS_EVERYWHERE
#endif

namespace nas::bank {

constexpr int THREADS = 256, WARP = 32, WARPS = THREADS / WARP;
constexpr int STRIP = 4;  // neighbours in a row that a thread takes together
constexpr int MOST_BRANCHES = 16, MOST_TAPS = 25;
constexpr int POOL_HALO = 2;  // a pixel's pool windows reach two pixels further
constexpr int64_t MOST_SHARED = 96 * 1024;

// The convolutions of a bank; weight[i] points to [C, 1, kernel, kernel].
struct Branches {
  const void* weight[MOST_BRANCHES];
  int32_t kernel[MOST_BRANCHES];
  int32_t dilation[MOST_BRANCHES];
  int32_t count;
  int32_t taps;  // of all
};

inline void add(Branches& all, const void* weight, int kernel, int dilation) {
  all.weight[all.count] = weight;
  all.kernel[all.count] = kernel;
  all.dilation[all.count] = dilation;
  all.count += 1;
  all.taps += kernel * kernel;
}

// A block takes `images` images, of each `rows` x `columns` pixels (outputs in the forward pass,
// inputs in the backward pass), and `chunk` channels.
struct Plan {
  int64_t batch, groups;
  int64_t shared;  // bytes of dynamic shared memory
  int64_t work;    // elements of the part of it that the steps of the backward pass use in turn
  int32_t channels, height, width, out_height, out_width;
  int32_t images, rows, columns, chunk;
  int32_t tiles_down, tiles_across, chunks;
  int32_t halo;  // pixels of x that the block reads on each side of its own

  NAS_EVERYWHERE int64_t tiles() const { return groups * tiles_down * tiles_across; }
  int64_t blocks() const { return tiles() * chunks; }
};

NAS_EVERYWHERE constexpr int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Elements from one row of a tile of `columns` pixels in shared memory to the next. A warp takes a
// chunk of each of several rows, `stride` rows apart: they fall into different banks, of which
// there are 32, and 16 for float64, whose chunk is 4.
NAS_EVERYWHERE constexpr int pitch(int columns, int chunk, int stride) {
  const int banks = (chunk == 4 ? 16 : 32) / stride, wanted = chunk / stride % banks;
  const int length = columns * chunk;
  return length + (wanted - length % banks + banks) % banks;
}

// Rows (or columns) of outputs whose windows of a padding hold one of `count` pixels, the first
// of which is even where the stride is 2; and how many of them precede the first pixel's own.
NAS_EVERYWHERE constexpr int reached(int count, int padding, int stride) {
  return (count - 1 + padding) / stride + padding / stride + 1;
}

// Channels that a block takes: one sector of 32 bytes of a pixel.
NAS_EVERYWHERE constexpr int chunk_of(int element_bytes) {
  return 32 / element_bytes;
}

NAS_EVERYWHERE constexpr int padding_of(int kernel, int dilation) {
  return dilation * (kernel / 2);
}

// Bytes of dynamic shared memory; the kernels lay it out in this order.
inline int64_t fwd_shared(const Plan& p, const Branches& b, int stride, int real_bytes) {
  const int64_t rows = p.images * ((p.rows - 1) * stride + 1 + 2 * p.halo);
  const int columns = (p.columns - 1) * stride + 1 + 2 * p.halo;
  return (rows * pitch(columns, p.chunk, stride) + b.taps * p.chunk) * real_bytes;
}

inline int64_t bwd_work(const Plan& p, const Branches& b, int stride, int real_bytes) {
  int64_t work = WARPS * MOST_TAPS * p.chunk;  // sums of the warps
  if (p.halo > 0) {
    const int64_t rows = p.images * reached(p.rows, 1, stride);
    const int columns = reached(p.columns, 1, stride);
    // Two gradients and a byte for each window of the pools.
    work = std::max(
        work,
        2 * rows * pitch(columns, p.chunk, 1) + divide_up(rows * columns * p.chunk, real_bytes));
  }
  for (int i = 0; i < b.count; ++i) {
    const int padding = padding_of(b.kernel[i], b.dilation[i]);
    const int64_t rows = p.images * reached(p.rows, padding, stride);
    work = std::max(work, rows * pitch(reached(p.columns, padding, stride), p.chunk, 1));
  }
  return work;
}

inline int64_t bwd_shared(
    const Plan& p, const Branches& b, int stride, int element_bytes, int real_bytes) {
  const int64_t x = p.images * (p.rows + 2 * p.halo) * pitch(p.columns + 2 * p.halo, p.chunk, 1);
  const int64_t dx = p.images * p.rows * pitch(p.columns, p.chunk, 1);
  const int64_t reals = bwd_work(p, b, stride, real_bytes) + dx + MOST_TAPS * p.chunk;
  return reals * real_bytes + x * element_bytes;
}

// Cuts height x width pixels into tiles of one size: of at most `most` pixels, columns a multiple
// of a strip, rows of `step`.
inline void cut(Plan& p, int height, int width, int most, int step) {
  const int widest = most >= 512 ? 32 : 16;
  p.tiles_across = divide_up(width, widest);
  p.columns = divide_up(divide_up(width, p.tiles_across), STRIP) * STRIP;
  const int highest = std::clamp(most / p.columns / step * step, step, 32);
  p.tiles_down = divide_up(height, highest);
  p.rows = divide_up(divide_up(height, p.tiles_down), step) * step;
}

// Chooses tiles of at most `most` pixels that fit into shared memory; several small images to a
// block, so that all threads work and what is read and written once a block weighs little.
template <typename Shared>
void fit(Plan& p, int height, int width, int most, int step, const Shared& shared) {
  p.images = 1;
  cut(p, height, width, most, step);
  while (shared(p) > MOST_SHARED && most > 32) cut(p, height, width, most /= 2, step);
  if (p.tiles_down * p.tiles_across == 1) {
    p.images = std::clamp<int64_t>(128 / (p.rows * p.columns), 1, p.batch);
    while (p.images > 1 && shared(p) > MOST_SHARED / 2) p.images /= 2;
  }
  p.groups = divide_up(p.batch, p.images);
  p.shared = shared(p);
}

inline Plan plan_of(
    int64_t batch, int channels, int height, int width, int stride, int element_bytes) {
  Plan p = {};
  p.batch = batch;
  p.channels = channels;
  p.height = height;
  p.width = width;
  p.out_height = divide_up(height, stride);
  p.out_width = divide_up(width, stride);
  p.chunk = chunk_of(element_bytes);
  p.chunks = divide_up(channels, p.chunk);
  return p;
}

constexpr int real_bytes_of(int element_bytes) {
  return element_bytes == 8 ? 8 : 4;
}

inline Plan plan_fwd(
    int64_t batch, int channels, int height, int width, int stride, int element_bytes,
    const Branches& branches, bool pools) {
  Plan p = plan_of(batch, channels, height, width, stride, element_bytes);
  const int real_bytes = real_bytes_of(element_bytes);
  p.halo = pools ? 1 : 0;
  for (int i = 0; i < branches.count; ++i) {
    p.halo = std::max(p.halo, padding_of(branches.kernel[i], branches.dilation[i]));
  }
  fit(p, p.out_height, p.out_width, 16384 / (p.chunk * real_bytes) / stride, 1,
      [&](const Plan& q) { return fwd_shared(q, branches, stride, real_bytes); });
  return p;
}

inline Plan plan_bwd(
    int64_t batch, int channels, int height, int width, int stride, int element_bytes,
    const Branches& branches, bool pools) {
  Plan p = plan_of(batch, channels, height, width, stride, element_bytes);
  const int real_bytes = real_bytes_of(element_bytes);
  p.halo = pools ? POOL_HALO : 0;
  fit(p, height, width, 16384 / (p.chunk * real_bytes), stride,
      [&](const Plan& q) { return bwd_shared(q, branches, stride, element_bytes, real_bytes); });
  p.work = bwd_work(p, branches, stride, real_bytes);
  return p;
}

// Blocks that add up the sums of all tiles.
constexpr int64_t sum_blocks(int64_t columns) {
  return divide_up(columns, WARP);
}

}  // namespace nas::bank
