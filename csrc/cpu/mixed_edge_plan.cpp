// What the arguments of the mixed edge mean; see mixed_edge/plan.h.

#include "mixed_edge/plan.h"

namespace nas::edge {
namespace {

// Codes of nas_domains/ops/mixed_edge_reference.py.
enum Code : int64_t {
  kNone,
  kSkip,
  kReduce,
  kMaxPool,
  kAvgPool,
  kAvgPoolPlain,
  kSepConv3,
  kSepConv5,
  kDilConv3,
  kDilConv5,
  kConv1,
  kConv3,
  kCodes
};

Stage separable(int64_t kernel, int64_t dilation, int64_t stride, bool first) {
  Stage t{};
  t.separable = true;
  t.first = first;
  t.kernel = kernel;
  t.dilation = dilation;
  t.stride = stride;
  t.taps = 1;
  t.halves = 1;
  return t;
}

Stage dense(int64_t kernel, int64_t stride) {
  Stage t{};
  t.first = true;
  t.kernel = 1;
  t.dilation = 1;
  t.stride = stride;
  t.halves = 1;
  for (int64_t r = 0; r < kernel; ++r) {
    for (int64_t c = 0; c < kernel; ++c) {
      t.rows[t.taps] = r - kernel / 2;
      t.cols[t.taps++] = c - kernel / 2;
    }
  }
  return t;
}

Stage reduction() {
  Stage t = dense(1, 2);
  t.rows[1] = t.cols[1] = 1;
  t.taps = t.halves = 2;
  return t;
}

// Widths of segments with the least work: each costs its width and a little more. As many pixels
// as fit the registers; few widths where speed is not what counts, as each is compiled on its own.
std::vector<uint8_t> tile(int64_t width, size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  const int64_t widest = 4;
#else
  const int64_t widest = bytes == 8 || active_isa() == Isa::portable ? 4
                         : active_isa() == Isa::avx2                 ? 8
                                                                     : 16;
#endif
  constexpr int64_t kSizes[] = {1, 4, 7, 8, 14, 16};
  std::vector<int64_t> cost(width + 1, 0), last(width + 1, 0);
  for (int64_t w = 1; w <= width; ++w) {
    for (int64_t size : kSizes) {
      if (size > w || size > widest) continue;
      const int64_t candidate = cost[w - size] + size + 2;
      if (last[w] == 0 || candidate < cost[w]) {
        cost[w] = candidate;
        last[w] = size;
      }
    }
  }
  std::vector<uint8_t> sizes;
  for (int64_t w = width; w > 0; w -= last[w]) sizes.push_back(static_cast<uint8_t>(last[w]));
  return sizes;
}

Shape make_shape(const Input& x, int64_t stride) {
  Shape s{};
  s.batch = x.batch;
  s.channels = x.channels;
  s.height = x.height;
  s.width = x.width;
  s.stride = stride;
  s.out_height = (s.height + stride - 1) / stride;
  s.out_width = (s.width + stride - 1) / stride;
  s.pack = std::max<int64_t>(1, LANES / s.channels);
  s.groups = (s.batch + s.pack - 1) / s.pack;
  s.blocks = (s.channels + LANES - 1) / LANES;
  s.narrow = s.channels < LANES && LANES % s.channels == 0 && s.channels <= vector_lanes(x.bytes);
  // Some 32 pixels, more where a pixel is a single block and costs little or where the first cache
  // is as large as that of processors with AVX-512; all of an image that is not much larger.
  const bool roomy = active_isa() == Isa::avx512 && s.blocks <= 4;
  const int64_t pixels = s.narrow ? 128 : roomy ? 64 : 32;
  s.rows = s.out_pixels() <= 56 ? s.out_height : std::max<int64_t>(1, pixels / s.out_width);
  s.rows = std::min(s.rows, s.out_height);
  return s;
}

}  // namespace

Plan make_plan(const Tensor& x, IntList codes, int64_t stride) {
  STD_TORCH_CHECK(x.dim() == 4, "mixed_edge needs x [B, C, H, W].");
  const size_t bytes = x.scalar_type() == ScalarType::Double ? 8 : 4;
  return make_plan({x.size(0), x.size(1), x.size(2), x.size(3), bytes}, codes, stride);
}

Plan make_plan(const Input& x, IntList codes, int64_t stride) {
  STD_TORCH_CHECK(
      std::min({x.batch, x.channels, x.height, x.width}) > 0 && (stride == 1 || stride == 2),
      "mixed_edge needs x [B, C, H, W] with no side of 0, and a stride of 1 or 2.");
  STD_TORCH_CHECK(
      static_cast<int64_t>(codes.size()) <= MAX_BRANCHES, "mixed_edge got too many branches.");
  Plan plan;
  plan.shape = make_shape(x, stride);
  bool seen[kCodes] = {};
  for (int64_t code : codes) {
    STD_TORCH_CHECK(code >= 0 && code < kCodes, "mixed_edge got an unknown branch.");
    STD_TORCH_CHECK(!seen[code], "mixed_edge got a branch twice.");
    seen[code] = true;
    STD_TORCH_CHECK(
        code != (stride == 1 ? kReduce : kSkip), "mixed_edge got a branch of another stride.");
    std::vector<Stage> stages;
    Kind kind = Kind::convolution;
    switch (code) {
      case kNone:
        kind = Kind::none;
        break;
      case kSkip:
        kind = Kind::skip;
        break;
      case kMaxPool:
        kind = Kind::max_pool;
        break;
      case kAvgPool:
        kind = Kind::avg_pool;
        break;
      case kAvgPoolPlain:
        kind = Kind::avg_pool_plain;
        break;
      case kReduce:
        stages = {reduction()};
        break;
      case kSepConv3:
      case kSepConv5: {
        const int64_t kernel = code == kSepConv3 ? 3 : 5;
        stages = {separable(kernel, 1, stride, true), separable(kernel, 1, 1, false)};
        break;
      }
      case kDilConv3:
      case kDilConv5:
        stages = {separable(code == kDilConv3 ? 3 : 5, 2, stride, true)};
        break;
      default:
        stages = {dense(code == kConv1 ? 1 : 3, stride)};
    }
    for (Stage& t : stages) {
      t.branch = plan.branches.size();
      t.norm = plan.norms++;
      t.param = plan.params;
      plan.params += param_count(t);
      plan.stages.push_back(t);
    }
    const bool pool = kind == Kind::max_pool || kind == Kind::avg_pool;
    if (pool) ++plan.norms;
    Branch branch{};
    branch.kind = kind;
    branch.stages = stages.size();
    branch.stage = stages.empty() ? -1 : static_cast<int64_t>(plan.stages.size()) - 1;
    branch.norm = pool || !stages.empty() ? plan.norms - 1 : -1;
    plan.branches.push_back(branch);
  }
  plan.out_sizes = tile(plan.shape.out_width, x.bytes);
  for (int64_t parity = 0; parity < stride; ++parity) {
    plan.in_sizes[parity] = tile((plan.shape.width - parity + stride - 1) / stride, x.bytes);
  }
  return plan;
}

Tensor channels_last(const Tensor& x, const Tensor& like) {
  const int64_t C = x.size(1), H = x.size(2), W = x.size(3);
  const int64_t strides[] = {H * W * C, 1, W * C, C};
  bool dense = x.scalar_type() == like.scalar_type();
  for (int64_t d = 0; d < 4; ++d) dense = dense && (x.size(d) == 1 || x.stride(d) == strides[d]);
  if (dense) return x;
  Tensor y = new_channels_last(like, x.size(0), C, H, W);
  torch::stable::copy_(y, x);
  return y;
}

std::vector<int64_t> param_sizes(const Plan& plan) {
  const Shape& s = plan.shape;
  std::vector<int64_t> sizes;
  for (const Stage& t : plan.stages) {
    if (t.separable) {
      sizes.push_back(s.channels * t.kernel * t.kernel);
      sizes.push_back(s.channels * s.channels);
    } else if (t.halves == 1) {
      sizes.push_back(s.channels * s.channels * t.taps);
    } else {
      sizes.push_back(s.channels * (s.channels - s.channels / 2));
      sizes.push_back(s.channels * (s.channels / 2));
    }
  }
  return sizes;
}

std::vector<Tensor> checked_params(const Plan& plan, TensorList params, const Tensor& x) {
  STD_TORCH_CHECK(
      static_cast<int64_t>(params.size()) == plan.params,
      "mixed_edge got too few or too many weights for its branches.");
  const std::vector<int64_t> sizes = param_sizes(plan);
  std::vector<Tensor> out;
  for (size_t i = 0; i < params.size(); ++i) {
    STD_TORCH_CHECK(params[i].numel() == sizes[i], "mixed_edge: a weight has the wrong size.");
    out.push_back(contiguous(params[i], x.scalar_type()));
  }
  return out;
}

}  // namespace nas::edge
