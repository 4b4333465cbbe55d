// CPU kernels of nas_domains/ops/winograd.py, which holds the formula and the checks for users.

#include "winograd.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "../common.h"
#include "buffer.h"
#include "maps.h"

#define NAS_KERNEL_FILE "winograd.inl"
#include "each_isa.h"

namespace nas {
namespace {

constexpr int64_t kPanel = 32;  // columns that every instruction set packs at a time
constexpr int64_t kRows = 64;   // rows of a gradient that a thread sums, if there are many
// The tiles whose gradients are summed apart, and the bytes of all sums: fixed, so that bits do
// not depend on threads.
constexpr int64_t kTilesOfPart = 256, kMostParts = 8, kMostBytes = 16 << 20;

template <typename R>
using ConvFn = void (*)(
    const Tiles&, int64_t, int64_t, const R*, int64_t, R, const R*, const R*, bool, R*, int64_t,
    R*);
template <typename R>
using WeightsFn = void (*)(int, const R*, bool, int64_t, int64_t, int64_t, R*);
template <typename R>
using SumsFn = void (*)(
    const Tiles&, int64_t, int64_t, const R*, int64_t, R, const R*, int64_t, int64_t, int64_t, R*,
    R*);
template <typename R>
using GradientFn = void (*)(int, const R*, int64_t, int64_t, int64_t, int64_t, R*);

Tensor new_innermost(const Tensor& like, const std::vector<int64_t>& sizes) {
  return new_map(like, sizes, innermost_strides(sizes));
}

// x with its channels innermost; x itself where they are.
Tensor innermost(const Tensor& x) {
  if (is_innermost(x)) return x;
  Tensor y = new_innermost(x, sizes_of(x));
  torch::stable::copy_(y, x);
  return y;
}

// x [B, C, sides...] in tiles; `kernel(i)` is a side of the kernel.
template <typename Kernel>
Tiles tiles_of(const Tensor& x, const Kernel& kernel) {
  const int64_t sides = x.dim() - 2;
  Tiles tiles = {{1, 1, 1, 1}, {}};
  tiles.size[Tiles::kAxes - 1 - sides] = x.size(0);
  for (int64_t i = 0; i < sides; ++i) {
    const int64_t a = Tiles::kAxes - sides + i;
    STD_TORCH_CHECK(kernel(i) == 1 || kernel(i) == 3, "winograd needs kernels of sides 1 and 3.");
    tiles.size[a] = x.size(i + 2);
    tiles.wide[a] = kernel(i) == 3;
  }
  STD_TORCH_CHECK(tiles.axes() > 0, "winograd needs a kernel with a side of 3.");
  return tiles;
}

void check_rank(const Tensor& x) {
  STD_TORCH_CHECK(
      x.dim() >= 3 && x.dim() <= 5, "winograd needs tensors [B, C, sides...] of 1 to 3 sides.");
}

template <typename R>
R lowest(bool relu) {
  return relu ? R(0) : -std::numeric_limits<R>::infinity();
}

// Reals of memory for the points of both sides of the products, and zeros.
int64_t memory_of(const Tiles& tiles, int64_t at_once, int64_t in, int64_t out) {
  const int64_t points = point_stride(at_once, in) + point_stride(at_once, out);
  return std::max(in, out) + tiles.points() * points;
}

// Of each thread, from call to call.
Buffer& memory_of_thread() {
  static thread_local Buffer memory;
  return memory;
}

// How a convolution writes: what the kernels know as `floor`, `gate` and `add`.
template <typename R>
struct Ends {
  R floor;
  const R* gate;
  bool add;
};

// y of x by the kernel `weight`, forward or back; both laid out as `innermost` does.
template <typename R>
void convolve(const Tensor& x, const Tensor& weight, bool back, Tensor& y, const Ends<R>& ends) {
  const auto transform = NAS_SELECT_ISA(WeightsFn<R>, winograd_weights_kernel);
  const auto kernel = NAS_SELECT_ISA(ConvFn<R>, winograd_kernel);
  const Tiles tiles = tiles_of(x, [&](int64_t i) { return weight.size(i + 2); });
  if (y.numel() == 0) return;
  const int64_t in = x.size(1), out = y.size(1);
  const int64_t in_row = whole_panels(in), out_row = whole_panels(out);
  static thread_local Buffer packed;
  R* points = static_cast<R*>(packed.get(tiles.points() * out_row * (in + 4) * sizeof(R)));
  torch::stable::parallel_for(0, out_row / kPanel, 1, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      transform(tiles.axes(), data<R>(weight), back, in, out, j * kPanel, points);
    }
  });
  const int64_t count = tiles.count();
  // A block for each thread, if they are not too short for their products. No bit depends on it.
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t share = std::max<int64_t>(12, (count + threads - 1) / threads);
  const int64_t fit = tiles_at_once(tiles, in_row + out_row, sizeof(R));
  const int64_t at_once = std::min({count, share, fit});
  const int64_t blocks = (count + at_once - 1) / at_once;
  const int64_t reals = memory_of(tiles, at_once, in_row, out_row);
  R* to = mutable_data<R>(y);
  torch::stable::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
    R* memory = static_cast<R*>(memory_of_thread().get(reals * sizeof(R)));
    for (int64_t b = begin; b < end; ++b) {
      const int64_t first = b * at_once;
      kernel(
          tiles, first, std::min(at_once, count - first), data<R>(x), in, ends.floor, points,
          ends.gate, ends.add, to, out, memory);
    }
    memory_of_thread().trim();
  });
  packed.trim();
}

void check_kernel(const Tensor& x, const Tensor& weight, bool back) {
  check_rank(x);
  STD_TORCH_CHECK(
      weight.dim() == x.dim() && weight.scalar_type() == x.scalar_type() &&
          weight.size(back ? 0 : 1) == x.size(1),
      "winograd needs a kernel [out, in, sides...] of the dtype and channels of its input.");
}

Tensor winograd_cpu(Tensor x, Tensor weight, bool relu) {
  check_kernel(x, weight, false);
  const ScalarType result_type = x.scalar_type();
  x = innermost(computed_in(x));
  weight = innermost(computed_in(weight));
  std::vector<int64_t> sizes = sizes_of(x);
  sizes[1] = weight.size(0);
  Tensor y = new_innermost(x, sizes);
  dispatch_real(x.scalar_type(), [&](auto real) {
    using R = decltype(real);
    convolve<R>(x, weight, false, y, {lowest<R>(relu), nullptr, false});
  });
  return torch::stable::to(y, result_type);
}

Tensor winograd_back_cpu(TensorList gs, TensorList weights, std::optional<Tensor> x) {
  const int64_t K = gs.size();
  STD_TORCH_CHECK(
      K > 0 && static_cast<int64_t>(weights.size()) == K,
      "winograd_back needs a kernel for each gradient.");
  check_kernel(gs[0], weights[0], true);
  std::vector<int64_t> sizes = sizes_of(gs[0]);
  sizes[1] = weights[0].size(1);
  for (int64_t k = 0; k < K; ++k) {
    check_kernel(gs[k], weights[k], true);
    std::vector<int64_t> own = sizes_of(gs[k]);
    own[1] = weights[k].size(1);
    STD_TORCH_CHECK(
        own == sizes && gs[k].scalar_type() == gs[0].scalar_type(),
        "winograd_back needs gradients of one size and dtype.");
  }
  Tensor y = new_innermost(computed_in(gs[0]), sizes);
  if (x.has_value()) {
    STD_TORCH_CHECK(same_shape(*x, y), "winograd_back needs an input of its gradient's size.");
    x = innermost(torch::stable::to(*x, y.scalar_type()));
  }
  dispatch_real(y.scalar_type(), [&](auto real) {
    using R = decltype(real);
    for (int64_t k = 0; k < K; ++k) {
      const R* gate = x.has_value() && k == K - 1 ? data<R>(*x) : nullptr;
      const Tensor g = innermost(computed_in(gs[k])), w = innermost(computed_in(weights[k]));
      convolve<R>(g, w, true, y, {lowest<R>(false), gate, k > 0});
    }
  });
  return torch::stable::to(y, gs[0].scalar_type());
}

Tensor winograd_weight_cpu(Tensor g, Tensor x, IntList kernel, bool relu) {
  check_rank(x);
  STD_TORCH_CHECK(
      g.dim() == x.dim() && g.scalar_type() == x.scalar_type() &&
          static_cast<int64_t>(kernel.size()) == x.dim() - 2,
      "winograd_weight needs a gradient of the rank and dtype of its input, and all sides.");
  const int64_t in = x.size(1), out = g.size(1);
  for (int64_t d = 0; d < x.dim(); ++d) {
    STD_TORCH_CHECK(d == 1 || g.size(d) == x.size(d), "winograd_weight needs maps of one size.");
  }
  std::vector<int64_t> sizes = {out, in};
  sizes.insert(sizes.end(), kernel.begin(), kernel.end());
  const Tiles tiles = tiles_of(x, [&](int64_t i) { return kernel[i]; });
  const ScalarType result_type = x.scalar_type();
  x = innermost(computed_in(x));
  g = innermost(computed_in(g));
  Tensor dw = new_innermost(x, sizes);
  const int64_t in_row = whole_panels(in);
  static thread_local Buffer summed;
  dispatch_real(x.scalar_type(), [&](auto real) {
    using R = decltype(real);
    const auto add = NAS_SELECT_ISA(SumsFn<R>, winograd_sums_kernel);
    const auto finish = NAS_SELECT_ISA(GradientFn<R>, winograd_gradient_kernel);
    if (dw.numel() == 0) return;
    const int64_t count = tiles.count(), size = tiles.points() * point_stride(out, in_row);
    const int64_t fit = std::min<int64_t>(kMostParts, kMostBytes / (size * sizeof(R)));
    const int64_t parts = std::max<int64_t>(1, std::min(count / kTilesOfPart, fit));
    const int64_t each = (count + parts - 1) / parts;
    // No bit depends on the rows: how many tiles are summed at once does not.
    int64_t rows = kRows;
    while (rows > 16 && parts * ((out + rows - 1) / rows) < torch::stable::get_num_threads()) {
      rows /= 2;
    }
    const int64_t slices = (out + rows - 1) / rows, widest = whole_panels(std::min(kRows, out));
    const int64_t at_once = tiles_at_once(tiles, in_row + widest, sizeof(R));
    const int64_t reals = memory_of(tiles, at_once, in_row, widest) + out;
    R* sums = static_cast<R*>(summed.get(parts * size * sizeof(R)));
    torch::stable::parallel_for(0, parts * slices, 1, [&](int64_t begin, int64_t end) {
      R* memory = static_cast<R*>(memory_of_thread().get(reals * sizeof(R)));
      for (int64_t i = begin; i < end; ++i) {
        const int64_t part = i / slices, c0 = i % slices * rows, c1 = std::min(out, c0 + rows);
        R* own = sums + part * size;
        for (int64_t p = 0; p < tiles.points(); ++p) {
          R* point = own + p * point_stride(out, in_row);
          std::fill(point + c0 * in_row, point + c1 * in_row, R(0));
        }
        const int64_t stop = std::min(count, (part + 1) * each);
        for (int64_t first = part * each; first < stop; first += at_once) {
          add(tiles, first, std::min(at_once, stop - first), data<R>(x), in, lowest<R>(relu),
              data<R>(g), out, c0, c1, own, memory);
        }
      }
      memory_of_thread().trim();
    });
    torch::stable::parallel_for(0, out, 8, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        finish(tiles.axes(), sums, parts, in, out, c, mutable_data<R>(dw));
      }
    });
  });
  summed.trim();
  return torch::stable::to(dw, result_type);
}

STABLE_TORCH_LIBRARY_IMPL(nas_domains, CPU, m) {
  m.impl("winograd", TORCH_BOX(&winograd_cpu));
  m.impl("winograd_back", TORCH_BOX(&winograd_back_cpu));
  m.impl("winograd_weight", TORCH_BOX(&winograd_weight_cpu));
}

}  // namespace
}  // namespace nas
