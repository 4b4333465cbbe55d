// Backward kernels of nas_domains/ops/depthwise_bank.py: a block makes dx of its tile, and its
// share of the sums over pixels, which a second kernel adds up in a fixed order.
#pragma once

#include "depthwise_bank.cuh"

namespace nas::bank {

// What the backward pass reads and writes. g and coefficients are null without pools, scale and
// bias without a batch norm before the ReLU; partial is [tiles, rows, C].
template <typename T>
struct Gradients {
  const T* da;
  const T* x;
  const Real<T>* scale;
  const Real<T>* bias;
  const T* g;
  const Real<T>* coefficients;
  T* dx;
  Real<T>* partial;
  int32_t rows;  // of partial: the taps, where their gradient is wanted, then those of dx
  bool needs_dx, needs_dweights;
};

// Adds up N values over the threads of each channel, in a fixed order, into rows of `to`, which
// points to the block's first channel. All threads take part; `scratch` is free afterwards for
// who waits for the others.
template <int CHUNK, int N, typename R>
__device__ __forceinline__ void add_up(
    R (&values)[N], R* scratch, R* to, int channels, int present) {
  const int lane = threadIdx.x % WARP;
#pragma unroll
  for (int i = 0; i < N; ++i) {
#pragma unroll
    for (int other = CHUNK; other < WARP; other *= 2) {
      values[i] += __shfl_xor_sync(0xffffffffu, values[i], other);
    }
    if (lane < CHUNK) scratch[(threadIdx.x / WARP * N + i) * CHUNK + lane] = values[i];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < N * CHUNK; i += THREADS) {
    R sum = 0;
#pragma unroll
    for (int warp = 0; warp < WARPS; ++warp) sum += scratch[warp * N * CHUNK + i];
    if (i % CHUNK < present) to[int64_t(i / CHUNK) * channels + i % CHUNK] = sum;
  }
}

// What a block keeps in shared memory; all but `work` at the thread's own channel.
template <typename T>
struct Tiles {
  static constexpr int CHUNK = chunk_of(sizeof(T));
  Real<T>*work, *dx, *weights;
  T* x;
  int x_rows, x_pitch, dx_pitch, halo;

  __device__ Tiles(unsigned char* memory, const Plan& p) {
    const int c = threadIdx.x % CHUNK;
    work = reinterpret_cast<Real<T>*>(memory);
    dx_pitch = pitch(p.columns, CHUNK, 1);
    dx = work + p.work + c;
    weights = dx + p.images * p.rows * dx_pitch;
    x = reinterpret_cast<T*>(weights - c + MOST_TAPS * CHUNK) + c;
    x_rows = p.rows + 2 * p.halo;
    x_pitch = pitch(p.columns + 2 * p.halo, CHUNK, 1);
    halo = p.halo;
  }
  // x at the first pixel of a row of the tile.
  __device__ const T* x_row(const Row& row) const {
    return x + (row.image * x_rows + row.within + halo) * x_pitch + halo * CHUNK;
  }
};

// Outputs of which a padding's windows hold pixels of the tile.
template <int STRIDE>
__device__ __forceinline__ Region reached_by(const Place& at, const Plan& plan, int padding) {
  const int before = padding / STRIDE;
  return Region(
      at, reached(plan.rows, padding, STRIDE), reached(plan.columns, padding, STRIDE),
      at.row / STRIDE - before, at.column / STRIDE - before, plan.out_height, plan.out_width,
      plan.channels);
}

// Sets dx of the tile to what flows back through both pools and the skip connection.
template <int STRIDE, typename T>
__device__ __forceinline__ void pools_back(
    const Gradients<T>& io, const Tiles<T>& tiles, const Plan& plan, const Place& at,
    const Region& own, int channel, bool exists) {
  using R = Real<T>;
  constexpr int CHUNK = chunk_of(sizeof(T));
  const int c = channel - at.channel;
  const Region to = reached_by<STRIDE>(at, plan, 1);
  const int step = pitch(to.columns, CHUNK, 1), line = to.columns * CHUNK;
  R* of_max = tiles.work + c;
  R* of_mean = of_max + plan.images * to.rows * step;
  auto* index = reinterpret_cast<unsigned char*>(of_mean - c + plan.images * to.rows * step) + c;
  R k[7] = {};
  if (exists) {
#pragma unroll
    for (int i = 0; i < 7; ++i) k[i] = io.coefficients[i * plan.channels + channel];
  }
  // Of a window's upper left pixel in the tile of x, for the first window.
  constexpr int FIRST = POOL_HALO - 1 - 1 / STRIDE * STRIDE;
  for_pixels<CHUNK>(to.all_rows(), to.columns, [&](int n) {
    const Row row = to.at(n);
    const int top = row.within * STRIDE + FIRST;
    const T* first = tiles.x + (row.image * tiles.x_rows + top) * tiles.x_pitch;
    const bool has_own = STRIDE == 1 && row.within >= 1 && row.within <= plan.rows;
    R* dx = tiles.dx + (row.image * plan.rows + row.within - 1) * tiles.dx_pitch - CHUNK;
    return [=, &to, &tiles, &plan, &k, g_row = io.g + row.offset + channel](int column) {
      R max_share = 0, mean_share = 0, skip = 0;
      int place = 9;
      if (exists && row.exists && to.has_column(column)) {
        const R g = to_real(g_row[to.along(column)]);
        const int left = column * STRIDE + FIRST;
        const Window<R> window(
            first + left * CHUNK, tiles.x_pitch, CHUNK, at.row + top - POOL_HALO,
            at.column + left - POOL_HALO, plan.height, plan.width);
        max_share = k[0] * g + k[1] * window.largest + k[2];
        mean_share = (k[3] * g + k[4] * window.mean + k[5]) * window.share;
        place = window.index;
        skip = k[6] * g;
      }
      of_max[n * step + column * CHUNK] = max_share;
      of_mean[n * step + column * CHUNK] = mean_share;
      index[n * line + column * CHUNK] = place;
      if (has_own && column >= 1 && column <= plan.columns) dx[column * CHUNK] = skip;
    };
  });
  __syncthreads();
  for_pixels<CHUNK>(own.all_rows(), own.columns, [&](int n) {
    const Row row = own.at(n);
    // The windows that see the pixel at their place (i, j), from the first window of the tile.
    int reals[3], places[3];
    bool sees[3];
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      const int down = row.within + 1 - i;
      sees[i] = STRIDE == 1 || down % 2 == 0;
      const int r = row.image * to.rows + down / STRIDE + 1 / STRIDE;
      reals[i] = r * step;
      places[i] = r * line;
    }
    return [=, &tiles](int column) {
      R& dx = tiles.dx[n * tiles.dx_pitch + column * CHUNK];
      R sum = STRIDE == 1 ? dx : 0;
#pragma unroll
      for (int i = 0; i < 3; ++i) {
        if (!sees[i]) continue;
#pragma unroll
        for (int j = 0; j < 3; ++j) {
          const int along = column + 1 - j;
          if (STRIDE == 2 && along % 2 != 0) continue;
          const int k = (along / STRIDE + 1 / STRIDE) * CHUNK;
          const R routed = of_max[reals[i] + k];
          sum += of_mean[reals[i] + k] + (index[places[i] + k] == 3 * i + j ? routed : R(0));
        }
      }
      dx = sum;
    };
  });
}

// Adds to dx of the tile what flows back through one convolution, whose da (at the thread's own
// channel) is a tile too, and adds the gradients of its taps to `grads`.
template <int STRIDE, int K, int D, typename T>
__device__ __forceinline__ void convolve_back(
    const Tiles<T>& tiles, const Region& own, const Affine<Real<T>>& affine, const Real<T>* da,
    int da_rows, int step, const Real<T>* weights, bool needs_dx, bool needs_dweights,
    Real<T> (&grads)[K * K]) {
  using R = Real<T>;
  constexpr int CHUNK = chunk_of(sizeof(T)), P = D * (K / 2);
  constexpr int COLUMNS = reached(STRIP, P, STRIDE);
  for_strips<CHUNK, STRIDE>(own.all_rows(), own.columns, [&](int n, int column) {
    const Row row = own.at(n);
    const T* pixel = tiles.x_row(row) + column * CHUNK;
    const R* first = da + row.image * da_rows * step + column / STRIDE * CHUNK;
    R u[STRIP], sums[STRIP] = {};
#pragma unroll
    for (int j = 0; j < STRIP; ++j) {
      const bool exists = row.exists && own.has_column(column + j);
      u[j] = exists ? affine(to_real(pixel[j * CHUNK])) : R(0);
    }
#pragma unroll
    for (int t = 0; t < K; ++t) {
      const int down = row.within + P - t * D;
      if (STRIDE == 2 && down % 2 != 0) continue;
      const R* from = first + (down / STRIDE + P / STRIDE) * step;
      // Taps from shared memory for each strip: all of them at once are too many registers.
      R taps[K], values[COLUMNS];
#pragma unroll
      for (int i = 0; i < K; ++i) taps[i] = weights[t * K + i];
#pragma unroll
      for (int i = 0; i < COLUMNS; ++i) values[i] = from[i * CHUNK];
      const auto for_taps = [&](const auto& f) {
#pragma unroll
        for (int s = 0; s < K; ++s) {
#pragma unroll
          for (int j = 0; j < STRIP; ++j) {
            const int along = j + P - s * D;
            if (along % STRIDE == 0) f(s, j, values[along / STRIDE + P / STRIDE]);
          }
        }
      };
      if (needs_dx) for_taps([&](int s, int j, R v) { sums[j] = fma(taps[s], v, sums[j]); });
      if (needs_dweights) {
        for_taps([&](int s, int j, R v) { grads[t * K + s] = fma(u[j], v, grads[t * K + s]); });
      }
    }
    if (!needs_dx) return;
    R* dx = tiles.dx + n * tiles.dx_pitch + column * CHUNK;
#pragma unroll
    for (int j = 0; j < STRIP; ++j) dx[j * CHUNK] += u[j] <= 0 ? R(0) : sums[j];
  });
}

template <typename T, int STRIDE>
__global__ void __launch_bounds__(THREADS, sizeof(T) == 8 ? 1 : 2)
    depthwise_bank_bwd(const Gradients<T> io, const Branches branches, const Plan plan) {
  using R = Real<T>;
  constexpr int CHUNK = chunk_of(sizeof(T));
  extern __shared__ __align__(16) unsigned char memory[];
  const Place at(plan);
  const Tiles<T> tiles(memory, plan);
  const int c = threadIdx.x % CHUNK, channel = at.channel + c;
  const bool exists = channel < plan.channels;
  const int present = min(CHUNK, plan.channels - at.channel);
  const Affine<R> affine(io.scale, io.bias, channel, exists);
  const Region own(
      at, plan.rows, plan.columns, at.row, at.column, plan.height, plan.width, plan.channels);
  const Region from(
      at, tiles.x_rows, plan.columns + 2 * plan.halo, at.row - plan.halo, at.column - plan.halo,
      plan.height, plan.width, plan.channels);
  load_tile<CHUNK>(
      tiles.x - c, tiles.x_pitch, io.x + channel, from, exists, [](T x) { return x; });
  if (io.g != nullptr && io.needs_dx) {
    __syncthreads();
    pools_back<STRIDE>(io, tiles, plan, at, own, channel, exists);
  } else {
    for_pixels<CHUNK>(own.all_rows(), own.columns, [&](int n) {
      return [=, &tiles](int column) { tiles.dx[n * tiles.dx_pitch + column * CHUNK] = 0; };
    });
  }

  R* partial = io.partial + at.tile * io.rows * plan.channels + at.channel;
  const int64_t map = plan.batch * plan.out_height * plan.out_width * plan.channels;
  for (int i = 0, first = 0; i < branches.count; ++i) {
    const int taps = branches.kernel[i] * branches.kernel[i];
    const Region to =
        reached_by<STRIDE>(at, plan, padding_of(branches.kernel[i], branches.dilation[i]));
    const int step = pitch(to.columns, CHUNK, 1);
    const T* w = static_cast<const T*>(branches.weight[i]) + int64_t(at.channel) * taps;
    __syncthreads();
    load_weights<T>(tiles.weights - c, w, present * taps, CHUNK * taps);
    load_tile<CHUNK>(
        tiles.work, step, io.da + i * map + channel, to, exists, [](T x) { return to_real(x); });
    __syncthreads();
    with_window(branches.kernel[i], branches.dilation[i], [&](auto kernel, auto dilation) {
      constexpr int K = decltype(kernel)::value, D = decltype(dilation)::value;
      R grads[K * K] = {};
      convolve_back<STRIDE, K, D>(
          tiles, own, affine, tiles.work + c, to.rows, step, tiles.weights - c + c * K * K,
          io.needs_dx, io.needs_dweights, grads);
      if (io.needs_dweights) {
        __syncthreads();
        R* rows = partial + int64_t(first) * plan.channels;
        add_up<CHUNK>(grads, tiles.work, rows, plan.channels, present);
      }
    });
    first += taps;
  }
  if (!io.needs_dx) return;

  __syncthreads();
  R sums[2] = {};
  for_pixels<CHUNK>(own.all_rows(), own.columns, [&](int n) {
    const Row row = own.at(n);
    return [=, &own, &tiles, &affine, &sums, to = io.dx + row.offset + channel](int column) {
      if (!exists || !row.exists || !own.has_column(column)) return;
      const R dx = tiles.dx[n * tiles.dx_pitch + column * CHUNK];
      to[own.along(column)] = from_real<T>(dx);
      sums[0] += dx;
      sums[1] += dx * affine(to_real(tiles.x_row(row)[column * CHUNK]));
    };
  });
  if (io.scale != nullptr) {
    R* rows = partial + int64_t(io.rows - 2) * plan.channels;
    add_up<CHUNK>(sums, tiles.work, rows, plan.channels, present);
  }
}

// Adds up the partial sums [count, columns] of all tiles: the first `taps` columns of them into
// dweights, the others into sums. A block takes a column for each lane.
template <typename R>
__global__ void __launch_bounds__(THREADS) depthwise_bank_sum(
    const R* __restrict__ partial, int64_t count, int64_t columns, int64_t taps,
    R* __restrict__ dweights, R* __restrict__ sums) {
  __shared__ R rows[WARPS][WARP];
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  const int64_t column = int64_t(blockIdx.x) * WARP + lane;
  R sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (int64_t i = warp; i < count; i += WARPS) sum += partial[i * columns + column];
  }
  rows[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || column >= columns) return;
#pragma unroll
  for (int i = 1; i < WARPS; ++i) sum += rows[i][lane];
  (column < taps ? dweights[column] : sums[column - taps]) = sum;
}

}  // namespace nas::bank
