// Forward pass of nas_domains/ops/mixed_edge.py on the CPU.

#include "mixed_edge/run.h"
#include "mixed_edge/scratch.h"

#define NAS_KERNEL_FILE "mixed_edge/forward.inl"
#include "each_isa.h"

namespace nas::edge {
namespace {

template <class R>
using GroupFn = void (*)(const Args<R>&, int64_t, Part, const Scratch<R>&);

// Mean and biased variance of each channel from those of each part's images, of equally many
// pixels.
template <class R>
void finish_norm(const Shape& s, int64_t parts, const double* stats, R* mean, R* var) {
  const int64_t C = s.channels, L = s.lanes();
  std::vector<double> m(C, 0), q(C, 0);
  // Calls f(statistics, images) for each image of a group: those at its place in all groups.
  const auto each_image = [&](auto f) {
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t groups = part_begin(s, parts, part + 1) - part_begin(s, parts, part);
      for (int64_t i = 0; i < s.pack; ++i) {
        const bool lacks = part == parts - 1 && i >= s.pack - s.missing();
        if (groups > lacks) f(stats + part * 2 * L + i * C, groups - lacks);
      }
    }
  };
  each_image([&](const double* at, int64_t images) {
    for (int64_t c = 0; c < C; ++c) m[c] += images * at[c];
  });
  for (double& value : m) value /= s.batch;
  each_image([&](const double* at, int64_t images) {
    const double n = static_cast<double>(images) * s.out_pixels();
    for (int64_t c = 0; c < C; ++c) {
      const double d = at[c] - m[c];
      q[c] += at[L + c] + n * d * d;
    }
  });
  const double n = static_cast<double>(s.batch) * s.out_pixels();
  for (int64_t c = 0; c < C; ++c) {
    mean[c] = static_cast<R>(m[c]);
    // NaN stays.
    var[c] = static_cast<R>(std::max(q[c] / n, 0.0));
  }
}

template <class R>
void forward(
    const Plan& plan, const ForwardRun<R>& run, const Weights<R>& weights, Buffer& memory) {
  const Shape& s = plan.shape;
  const int64_t C = s.channels, L = s.lanes();
  const bool training = run.training;
  R *mean = run.mean, *var = run.var;
  Args<R> a = make_args<R>(plan, weights, run.x, run.w, training);
  a.y = run.y;
  a.z = run.z;
  double* stats = static_cast<double*>(
      memory.get(training ? plan.norms * a.parts * 2 * L * sizeof(double) : 0));
  a.stats = stats;
  LaneTable<R> scale(plan.norms, s), bias(plan.norms, s), factors(plan.branches.size() + 1, s);
  a.scale = scale.view();
  a.bias = bias.view();
  a.factors = factors.full.data();

  std::vector<double> inverse(plan.norms * C);
  const auto finish = [&](bool between) {
    for (const Branch& branch : plan.branches) {
      if (branch.norm < 0) continue;
      const int64_t norm = branch.norm - (branch.stages == 2 && between);
      if (branch.stages != 2 && !between) continue;
      if (training) {
        finish_norm(s, a.parts, stats + norm * a.parts * 2 * L, mean + norm * C, var + norm * C);
      }
      for (int64_t c = 0; c < C; ++c) {
        const int64_t at = norm * C + c;
        inverse[at] = 1 / std::sqrt(var[at] + run.eps);
        scale.set(norm, c, inverse[at]);
        bias.set(norm, c, -mean[at] * inverse[at]);
      }
    }
  };
  const auto set_factors = [&]() {
    for (int64_t c = 0; c < C; ++c) {
      double constant = 0;
      for (size_t k = 0; k < plan.branches.size(); ++k) {
        const int64_t norm = plan.branches[k].norm;
        const double factor = norm < 0 ? a.w[k] : a.w[k] * inverse[norm * C + c];
        if (norm >= 0) constant -= factor * mean[norm * C + c];
        factors.set(k, c, factor);
      }
      factors.set(plan.branches.size(), c, constant);
    }
  };

  const auto first = NAS_SELECT_ISA(GroupFn<R>, edge_first_kernel);
  const auto second = NAS_SELECT_ISA(GroupFn<R>, edge_second_kernel);
  const auto combine = NAS_SELECT_ISA(GroupFn<R>, edge_combine_kernel);
  if (!training) {
    finish(true);
    finish(false);
    set_factors();
    for_groups<R>(
        plan, a.parts, a.z == nullptr ? plan.stages.size() : 0, false,
        [&](int64_t g, Part part, const Scratch<R>& scratch) {
          first(a, g, part, scratch);
          second(a, g, part, scratch);
          combine(a, g, part, scratch);
        });
    return;
  }
  const auto pass = [&](GroupFn<R> kernel) {
    for_groups<R>(plan, a.parts, 0, false, [&](int64_t g, Part part, const Scratch<R>& scratch) {
      kernel(a, g, part, scratch);
    });
  };
  pass(first);
  finish(true);
  const bool two = std::any_of(
      plan.branches.begin(), plan.branches.end(), [](const Branch& b) { return b.stages == 2; });
  if (two) pass(second);
  finish(false);
  set_factors();
  pass(combine);
}

}  // namespace

template <class R>
void run_forward(const Plan& plan, const ForwardRun<R>& run) {
  static thread_local Buffer stats;
  const Weights<R> weights(plan, run.params, false);
  forward<R>(plan, run, weights, stats);
  stats.trim();
}

template void run_forward(const Plan& plan, const ForwardRun<float>& run);
template void run_forward(const Plan& plan, const ForwardRun<double>& run);

namespace {

std::tuple<Tensor, Tensor, Tensor, Tensor> mixed_edge_fwd_cpu(
    Tensor x, Tensor w, TensorList params, IntList codes, int64_t stride, Tensor mean, Tensor var,
    bool training, double eps, bool keep) {
  const Plan plan = make_plan(x, codes, stride);
  const Shape& s = plan.shape;
  const int64_t K = plan.branches.size(), C = s.channels;
  STD_TORCH_CHECK(w.dim() == 1 && w.size(0) == K, "mixed_edge needs one weight for each branch.");
  const auto own = checked_params(plan, params, x);
  x = channels_last(x, x);
  w = contiguous(w, x.scalar_type());
  if (!training) {
    STD_TORCH_CHECK(
        mean.numel() == plan.norms * C && var.numel() == plan.norms * C,
        "mixed_edge needs a mean and a variance for each of its batch norms.");
    mean = contiguous(mean, x.scalar_type());
    var = contiguous(var, x.scalar_type());
  }
  Tensor y = new_channels_last(x, s.batch, C, s.out_height, s.out_width);
  const int64_t stages = plan.stages.size();
  // Batch statistics need all of z before any of y.
  const bool holds = keep || training;
  Tensor z = new_contiguous(x, {holds ? stages : 0, s.groups, s.blocks, s.out_pixels(), LANES});
  Tensor batch_mean = new_contiguous(x, {training ? plan.norms : 0, C});
  Tensor batch_var = new_contiguous(x, {training ? plan.norms : 0, C});
  dispatch_real(x.scalar_type(), [&](auto real) {
    using R = decltype(real);
    R* m = training ? mutable_data<R>(batch_mean) : const_cast<R*>(data<R>(mean));
    R* v = training ? mutable_data<R>(batch_var) : const_cast<R*>(data<R>(var));
    R* maps = holds ? mutable_data<R>(z) : nullptr;
    run_forward<R>(
        plan,
        {data<R>(x), data<R>(w), pointers<R>(own), training, eps, m, v, mutable_data<R>(y), maps});
  });
  if (!keep) {
    z = new_contiguous(x, {0, s.groups, s.blocks, s.out_pixels(), LANES});
  }
  return {y, batch_mean, batch_var, z};
}

STABLE_TORCH_LIBRARY_IMPL(nas_domains, CPU, m) {
  m.impl("mixed_edge_fwd", TORCH_BOX(&mixed_edge_fwd_cpu));
}

}  // namespace
}  // namespace nas::edge
