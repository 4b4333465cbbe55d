// Backward of elastic attention on the CPU.

#include "elastic_attention_host.h"

#define NAS_KERNEL_FILE "elastic_attention_bwd.inl"
#include "each_isa.h"

namespace nas {
namespace {

using attention::Plan;
using attention::Rows;

template <class R>
using BwdFn = void (*)(
    const AttentionShape&, const AttentionItems&, const AttentionWeights<R>&,
    const AttentionData<R>&, const AttentionSums<R>&, R*);

// The units are cut into so many parts at most, which sum gradients of weights apart: fixed, so
// that bits do not depend on threads.
constexpr int64_t kParts = 8;

// Gradients in the order of x, wq, wk, wv, wo, bq, bk, bv, bo.
enum { kX, kWq, kWo = 4, kBq, kBo = 8, kCount };

// Where the sums of a part lie, the weights' and biases' one after the other.
struct Layout {
  std::array<int64_t, kCount> at;
  int64_t size = 0;

  Layout(const AttentionShape& s, const std::array<bool, kCount>& wanted) {
    at.fill(-1);
    for (int i = kWq; i < kCount; ++i) {
      if (!wanted[i]) continue;
      at[i] = size;
      size += i <= kWo ? s.n() * s.D : i < kBo ? s.n() : s.D;
    }
  }
  template <class R>
  R* of(R* part, int i) const {
    return at[i] < 0 ? nullptr : part + at[i];
  }
};

// y += the sums of all parts, n of each that begin at `from`.
template <class R>
void join(const R* from, int64_t parts, int64_t size, int64_t n, R* y) {
  for (int64_t p = 0; p < parts; ++p) {
    for (int64_t j = 0; j < n; ++j) y[j] += from[p * size + j];
  }
}

// The gradient of input i, of the shape of the whole tensor, from the sums of the parts.
template <class R>
void scatter(
    const Plan& plan, const Layout& layout, int i, const R* sums, int64_t parts, Tensor& grad) {
  const int64_t Dh = plan.shape.head_dim, D = plan.shape.D, n = plan.shape.n();
  const R* from = sums + layout.at[i];
  R* y = mutable_data<R>(grad);
  const int64_t stride = grad.dim() == 2 ? grad.stride(0) : 1;
  if (i == kBo) return join(from, parts, layout.size, D, y);
  for (size_t h = 0; h < plan.heads.size(); ++h) {
    const int64_t row = plan.heads[h] * Dh, own = h * Dh;
    if (i == kWo) {
      for (int64_t j = 0; j < D; ++j) {
        join(from + j * n + own, parts, layout.size, Dh, y + j * stride + row);
      }
    } else if (i < kWo) {
      for (int64_t d = 0; d < Dh; ++d) {
        join(from + (own + d) * D, parts, layout.size, D, y + (row + d) * stride);
      }
    } else {
      join(from + own, parts, layout.size, Dh, y + row);
    }
  }
}

// `needs` names the inputs, in the order above, whose gradients are returned.
std::vector<Tensor> elastic_attention_bwd_cpu(
    Tensor g, Tensor x, Tensor wq, Tensor wk, Tensor wv, Tensor wo, Tensor qkv, Tensor mixed,
    Tensor lse, IntList heads, int64_t head_dim, std::optional<Tensor> lengths, IntList needs) {
  const ScalarType result_type = x.scalar_type();
  const ScalarType type = is_half(result_type) ? ScalarType::Float : result_type;
  STD_TORCH_CHECK(same_shape(g, x), "An op needs tensors of one shape.");
  x = contiguous(x, type);
  g = contiguous(g, type);
  const std::array<Tensor, 4> weights = {wq, wk, wv, wo};
  const Plan plan(x, weights, heads, head_dim, lengths);
  const AttentionShape& s = plan.shape;
  const int64_t n = s.n(), D = s.D;
  STD_TORCH_CHECK(
      qkv.numel() == plan.B * s.T * 3 * n && mixed.numel() == plan.B * s.T * n &&
          lse.numel() == plan.B * s.T * s.heads,
      "elastic_attention_bwd needs what the forward kept.");
  qkv = contiguous(qkv, type);
  mixed = contiguous(mixed, type);
  lse = contiguous(lse, type);
  std::array<bool, kCount> wanted = {};
  for (const int64_t i : needs) {
    STD_TORCH_CHECK(i >= 0 && i < kCount, "elastic_attention_bwd: needs names no input.");
    wanted[i] = true;
  }
  const Layout layout(s, wanted);
  const int64_t parts = std::min(plan.units, kParts);
  Tensor sums = torch::stable::new_empty(x, {parts * layout.size});
  Tensor dx = torch::stable::new_empty(x, {wanted[kX] ? plan.B : 0, s.T, D});
  std::vector<Tensor> results;
  dispatch_real(type, [&](auto real) {
    using R = decltype(real);
    const auto kernel = NAS_SELECT_ISA(BwdFn<R>, attention_bwd_kernel);
    const auto pack = NAS_SELECT_ISA(attention::PackFn<R>, product_pack_columns);
    std::vector<Rows<R>> rows;
    for (const Tensor& w : weights) rows.emplace_back(w, type);
    std::vector<R> in;
    if (wanted[kX]) in = attention::packed(pack, attention::in_rows(plan, rows), 3 * n, D);
    const std::vector<R> block = attention::out_block(plan, rows[3]);
    const std::vector<R> back = attention::packed(pack, attention::rows_of(block, n), D, n);
    const R scale = static_cast<R>(1 / std::sqrt(static_cast<double>(head_dim)));
    const AttentionWeights<R> w = {in.data(), nullptr, back.data(), nullptr, scale};
    R* y = wanted[kX] ? mutable_data<R>(dx) : nullptr;
    torch::stable::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
      attention::with_memory<R>(attention_memory(s, plan.each * s.T, true), [&](R* memory) {
        for (int64_t p = first; p < last; ++p) {
          R* part = mutable_data<R>(sums) + p * layout.size;
          std::fill(part, part + layout.size, R(0));
          AttentionSums<R> own = {};
          for (int i = 0; i < 3; ++i) {
            own.in[i] = layout.of(part, kWq + i);
            own.in_bias[i] = layout.of(part, kBq + i);
          }
          own.out = layout.of(part, kWo);
          own.out_bias = layout.of(part, kBo);
          for (int64_t u = plan.units * p / parts; u < plan.units * (p + 1) / parts; ++u) {
            plan.unit(u, [&](const AttentionItems& items, int64_t row) {
              const AttentionData<R> from = {
                  data<R>(x) + row * D,
                  const_cast<R*>(data<R>(qkv)) + row * 3 * n,
                  const_cast<R*>(data<R>(mixed)) + row * n,
                  const_cast<R*>(data<R>(lse)) + row * s.heads,
                  y == nullptr ? nullptr : y + row * D,
                  data<R>(g) + row * D};
              kernel(s, items, w, from, own, memory);
            });
          }
        }
      });
    });
    if (y != nullptr) plan.clear(y, D);
    for (const int64_t i : needs) {
      if (i == kX) {
        results.push_back(torch::stable::to(dx, result_type));
        continue;
      }
      const Tensor& weight = weights[i <= kWo ? i - 1 : i - kBq];
      std::vector<int64_t> shape = {weight.size(0)};
      if (i <= kWo) shape.push_back(weight.size(1));
      Tensor grad = torch::stable::new_zeros(x, shape);
      scatter(plan, layout, i, data<R>(sums), parts, grad);
      results.push_back(torch::stable::to(grad, result_type));
    }
  });
  return results;
}

STABLE_TORCH_LIBRARY_IMPL(nas_domains, CPU, m) {
  m.impl("elastic_attention_bwd", TORCH_BOX(&elastic_attention_bwd_cpu));
}

}  // namespace
}  // namespace nas
