// Host side of the mixed edge, shared by both passes: what its arguments mean, and its weights as
// the kernels read them. nas_domains/ops/mixed_edge.py holds the formula and the checks for users.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "../../common.h"
#include "../isa.h"
#include "edge.h"

namespace nas::edge {

struct Plan {
  Shape shape;
  std::vector<Branch> branches;
  std::vector<Stage> stages;
  int64_t norms = 0;
  int64_t params = 0;
  std::vector<uint8_t> out_sizes, in_sizes[2];
};

// x [B, C, H, W] of reals of so many bytes.
struct Input {
  int64_t batch, channels, height, width;
  size_t bytes;
};

// Reads the branch codes of nas_domains/ops/mixed_edge_reference.py.
Plan make_plan(const Input& x, IntList codes, int64_t stride);

// The same for a tensor.
Plan make_plan(const Tensor& x, IntList codes, int64_t stride);

// Numbers in each of the weights that the branches take, in their order.
std::vector<int64_t> param_sizes(const Plan& plan);

// Lanes of a vector of `bytes`-wide reals in the instruction set in use.
inline int64_t vector_lanes(size_t bytes) {
  switch (active_isa()) {
    case Isa::avx512:
      return 64 / bytes;
    case Isa::avx2:
      return 32 / bytes;
    default:
      return 16 / bytes;
  }
}

// Calls f(lane) for the lane of channel c in each of `images` images.
template <class F>
void for_lanes(const Shape& s, int64_t c, int64_t images, const F& f) {
  for (int64_t image = 0; image < images; ++image) f(image * s.channels + c);
}

// Calls f(index, out channel, in channel, tap) for all weights of a stage's pointwise convolution,
// as the kernels index them; `flip` exchanges inputs and outputs.
template <class F>
void for_weights(const Shape& s, const Stage& t, bool flip, const F& f) {
  const int64_t C = s.channels, lanes = s.lanes();
  for (int64_t tap = 0; tap < t.taps; ++tap) {
    for (int64_t image = 0; image < s.pack; ++image) {
      for (int64_t to = 0; to < C; ++to) {
        const int64_t b = image * C + to;
        int64_t row;
        if (s.narrow) {
          row = tap * C;
        } else if (flip) {
          row = (tap * s.blocks + b / LANES) * lanes + image * C;
        } else {
          row = (b / LANES * t.taps + tap) * lanes + image * C;
        }
        for (int64_t from = 0; from < C; ++from) {
          f((row + from) * LANES + b % LANES, flip ? from : to, flip ? to : from, tap);
        }
      }
    }
  }
}

// The same for a depthwise convolution: f(index, channel, tap).
template <class F>
void for_window(const Shape& s, const Stage& t, const F& f) {
  const int64_t window = t.kernel * t.kernel;
  for (int64_t c = 0; c < s.channels; ++c) {
    for (int64_t tap = 0; tap < window; ++tap) {
      for_lanes(s, c, s.pack, [&](int64_t lane) {
        f((lane / LANES * window + tap) * LANES + lane % LANES, c, tap);
      });
    }
  }
}

// Calls f(index, other channel, first channel, count) for each row of a separable stage's
// pointwise weights as the kernels index them, where images do not share lanes: of `count` outputs
// from the first on for one input, or the other way round. What for_weights tells one by one,
// without its arithmetic.
template <class F>
void for_rows(const Shape& s, const F& f) {
  for (int64_t block = 0; block < s.blocks; ++block) {
    const int64_t first = block * LANES, count = std::min<int64_t>(LANES, s.channels - first);
    for (int64_t other = 0; other < s.channels; ++other) {
      f((block * s.lanes() + other) * LANES, other, first, count);
    }
  }
}

inline int64_t pointwise_size(const Shape& s, const Stage& t) {
  return s.narrow ? t.taps * s.channels * LANES : t.taps * s.lanes() * s.lanes();
}

inline int64_t depthwise_size(const Shape& s, const Stage& t) {
  return t.separable ? t.kernel * t.kernel * s.lanes() : 0;
}

// Weight tensors that a stage takes.
inline int64_t param_count(const Stage& t) {
  return t.separable ? 2 : t.halves;
}

// Which weight tensor of a stage holds (out, tap), and where; tensor -1 if that weight is zero.
struct Place {
  int64_t tensor, index;
};

inline Place place_of(const Shape& s, const Stage& t, int64_t out, int64_t in, int64_t tap) {
  if (t.separable) return {t.param + 1, out * s.channels + in};
  if (t.halves == 1) return {t.param, (out * s.channels + in) * t.taps + tap};
  // The factorized reduction: each tap makes one half of the outputs.
  const int64_t first = s.channels - s.channels / 2;
  const bool second = out >= first;
  if (second != (tap == 1)) return {-1, 0};
  return {t.param + second, (out - second * first) * s.channels + in};
}

// Groups are worked on in this many parts of neighbours: enough for the threads, but the same
// number for all small numbers of threads, as sums are collected a part and then added in order.
// Asked once a pass, as torch's number of threads may be another within a parallel region.
inline int64_t part_count(const Shape& s) {
  int64_t parts = 8;
  while (parts < static_cast<int64_t>(torch::stable::get_num_threads())) parts *= 2;
  return std::min(parts, s.groups);
}

// The first group of a part, or the number of groups after the last.
inline int64_t part_begin(const Shape& s, int64_t parts, int64_t part) {
  return s.groups * part / parts;
}

// Stages whose weights a thread packs at least: to wake another costs as much as some thousands.
inline int64_t stages_a_thread(const Plan& plan) {
  int64_t most = 1;
  for (const Stage& t : plan.stages) most = std::max(most, pointwise_size(plan.shape, t));
  return std::max<int64_t>(1, 4096 / most);
}

// The weights of all stages as the kernels read them.
template <class R>
struct Weights {
  std::vector<std::vector<R>> depthwise, pointwise, transposed;
  std::vector<const R*> depthwise_at, pointwise_at, transposed_at;

  // params: where each of them begins.
  Weights(const Plan& plan, const std::vector<const R*>& params, bool backward) {
    const size_t n = plan.stages.size();
    depthwise.resize(n);
    pointwise.resize(n);
    transposed.resize(n);
    torch::stable::parallel_for(0, n, stages_a_thread(plan), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) pack(plan, params, i, backward);
    });
    for (size_t i = 0; i < n; ++i) {
      depthwise_at.push_back(depthwise[i].data());
      pointwise_at.push_back(pointwise[i].data());
      transposed_at.push_back(transposed[i].data());
    }
  }

 private:
  void pack(const Plan& plan, const std::vector<const R*>& from, size_t i, bool backward) {
    const Shape& s = plan.shape;
    const Stage& t = plan.stages[i];
    depthwise[i].assign(depthwise_size(s, t), R(0));
    if (t.separable) {
      const int64_t window = t.kernel * t.kernel;
      for_window(s, t, [&](int64_t at, int64_t c, int64_t tap) {
        depthwise[i][at] = from[t.param][c * window + tap];
      });
    }
    std::vector<R>& to = backward ? transposed[i] : pointwise[i];
    to.assign(pointwise_size(s, t), R(0));
    if (t.separable && s.pack == 1) {
      const R* w = from[t.param + 1];
      const int64_t C = s.channels;
      for_rows(s, [&](int64_t row, int64_t other, int64_t first, int64_t count) {
        for (int64_t lane = 0; lane < count; ++lane) {
          to[row + lane] = backward ? w[other * C + first + lane] : w[(first + lane) * C + other];
        }
      });
      return;
    }
    for_weights(s, t, backward, [&](int64_t at, int64_t out, int64_t in, int64_t tap) {
      const Place place = place_of(s, t, out, in, tap);
      if (place.tensor >= 0) to[at] = from[place.tensor][place.index];
    });
  }
};

// A value a channel in all lanes, and a second copy without the images that the last group lacks.
template <class R>
struct LaneTable {
  std::vector<R> full, last;

  explicit LaneTable(int64_t rows, const Shape& s)
      : full(rows * s.lanes(), R(0)), last(rows * s.lanes(), R(0)), shape_(s) {}

  void set(int64_t row, int64_t channel, double value) {
    const int64_t base = row * shape_.lanes();
    for_lanes(shape_, channel, shape_.pack, [&](int64_t lane) { full[base + lane] = R(value); });
    for_lanes(shape_, channel, shape_.pack - shape_.missing(), [&](int64_t lane) {
      last[base + lane] = R(value);
    });
  }

  Lanewise<R> view() const { return {full.data(), last.data()}; }

 private:
  const Shape& shape_;
};

// Fills what both passes tell the kernels.
template <class R>
Args<R> make_args(
    const Plan& plan, const Weights<R>& weights, const R* x, const R* w, bool training) {
  Args<R> a{};
  a.shape = plan.shape;
  a.parts = part_count(plan.shape);
  a.stages = plan.stages.data();
  a.stage_count = plan.stages.size();
  a.branches = plan.branches.data();
  a.branch_count = plan.branches.size();
  a.training = training;
  a.out_tiling = {plan.out_sizes.data(), static_cast<int64_t>(plan.out_sizes.size())};
  for (int i = 0; i < 2; ++i) {
    a.in_tiling[i] = {plan.in_sizes[i].data(), static_cast<int64_t>(plan.in_sizes[i].size())};
  }
  a.x = x;
  a.w = w;
  a.depthwise = weights.depthwise_at.data();
  a.pointwise = weights.pointwise_at.data();
  a.transposed = weights.transposed_at.data();
  return a;
}

// x [B, C, H, W] of the dtype of `like`, its channels innermost in memory.
Tensor channels_last(const Tensor& x, const Tensor& like);

// The params in the dtype of x, each contiguous and of the size that its branch takes.
std::vector<Tensor> checked_params(const Plan& plan, TensorList params, const Tensor& x);

}  // namespace nas::edge
