// Forward of elastic attention on the CPU.

#include <tuple>

#include "elastic_attention_host.h"

#define NAS_KERNEL_FILE "elastic_attention.inl"
#include "each_isa.h"

namespace nas {
namespace {

using attention::Plan;
using attention::Rows;

template <class R>
using FwdFn = void (*)(
    const AttentionShape&, const AttentionItems&, const AttentionWeights<R>&,
    const AttentionData<R>&, R*);

// The biases of rows that run, zeros where there is none.
template <class R>
std::vector<R> in_biases(
    const Plan& plan, const std::array<std::optional<Tensor>, 3>& biases, ScalarType type) {
  const int64_t n = plan.shape.n(), Dh = plan.shape.head_dim;
  std::vector<R> out(3 * n, R(0));
  for (int i = 0; i < 3; ++i) {
    if (!biases[i].has_value()) continue;
    const Tensor bias = contiguous(*biases[i], type);
    for (size_t h = 0; h < plan.heads.size(); ++h) {
      const int64_t from = plan.heads[h] * Dh;
      STD_TORCH_CHECK(bias.numel() >= from + Dh, "elastic_attention needs a bias of each head.");
      std::copy_n(data<R>(bias) + from, Dh, out.data() + i * n + h * Dh);
    }
  }
  return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> elastic_attention_fwd_cpu(
    Tensor x, Tensor wq, Tensor wk, Tensor wv, Tensor wo, std::optional<Tensor> bq,
    std::optional<Tensor> bk, std::optional<Tensor> bv, std::optional<Tensor> bo, IntList heads,
    int64_t head_dim, std::optional<Tensor> lengths) {
  const ScalarType result_type = x.scalar_type();
  const ScalarType type = is_half(result_type) ? ScalarType::Float : result_type;
  x = contiguous(x, type);
  const std::array<Tensor, 4> weights = {wq, wk, wv, wo};
  const Plan plan(x, weights, heads, head_dim, lengths);
  const AttentionShape& s = plan.shape;
  const int64_t n = s.n(), D = s.D;
  Tensor out = torch::stable::empty_like(x);
  Tensor qkv = torch::stable::new_empty(x, {plan.B, s.T, 3 * n});
  Tensor mixed = torch::stable::new_empty(x, {plan.B, s.T, n});
  Tensor lse = torch::stable::new_empty(x, {plan.B, s.T, s.heads});
  dispatch_real(type, [&](auto real) {
    using R = decltype(real);
    const auto kernel = NAS_SELECT_ISA(FwdFn<R>, attention_fwd_kernel);
    const auto pack = NAS_SELECT_ISA(attention::PackFn<R>, product_pack_rows);
    std::vector<Rows<R>> rows;
    for (const Tensor& w : weights) rows.emplace_back(w, type);
    const std::vector<R> in = attention::packed(pack, attention::in_rows(plan, rows), D, 3 * n);
    const std::vector<R> block = attention::out_block(plan, rows[3]);
    const std::vector<R> back = attention::packed(pack, attention::rows_of(block, n), n, D);
    const std::vector<R> in_bias = in_biases<R>(plan, {bq, bk, bv}, type);
    std::vector<R> out_bias(D, R(0));
    if (bo.has_value()) {
      STD_TORCH_CHECK(bo->numel() >= D, "elastic_attention needs a bias of D features.");
      std::copy_n(data<R>(contiguous(*bo, type)), D, out_bias.data());
    }
    const R scale = static_cast<R>(1 / std::sqrt(static_cast<double>(head_dim)));
    const AttentionWeights<R> w = {in.data(), in_bias.data(), back.data(), out_bias.data(), scale};
    const AttentionData<R> all = {
        data<R>(x),           mutable_data<R>(qkv), mutable_data<R>(mixed),
        mutable_data<R>(lse), mutable_data<R>(out), nullptr};
    torch::stable::parallel_for(0, plan.units, 1, [&](int64_t begin, int64_t end) {
      attention::with_memory<R>(attention_memory(s, plan.each * s.T, false), [&](R* memory) {
        for (int64_t u = begin; u < end; ++u) {
          plan.unit(u, [&](const AttentionItems& items, int64_t row) {
            const AttentionData<R> own = {all.x + row * D,     all.qkv + row * 3 * n,
                                          all.heads + row * n, all.lse + row * s.heads,
                                          all.out + row * D,   nullptr};
            kernel(s, items, w, own, memory);
          });
        }
      });
    });
    plan.clear(all.out, D);
    plan.clear(all.qkv, 3 * n);
    plan.clear(all.heads, n);
    plan.clear(all.lse, s.heads);
  });
  return {
      torch::stable::to(out, result_type), torch::stable::to(qkv, result_type),
      torch::stable::to(mixed, result_type), lse};
}

STABLE_TORCH_LIBRARY_IMPL(nas_domains, CPU, m) {
  m.impl("elastic_attention_fwd", TORCH_BOX(&elastic_attention_fwd_cpu));
}

}  // namespace
}  // namespace nas
