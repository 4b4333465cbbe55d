// Backward pass of nas_domains/ops/mixed_edge.py on the CPU.

#include "mixed_edge/run.h"
#include "mixed_edge/scratch.h"

#define NAS_KERNEL_FILE "mixed_edge/backward.inl"
#include "each_isa.h"

namespace nas::edge {
namespace {

template <class R>
using SumsFn = void (*)(const Args<R>&, int64_t, Part, const Scratch<R>&);
template <class R>
using BackFn = void (*)(const Args<R>&, int64_t, Part, const Grads<R>&, const Scratch<R>&);

// Gradients of the weights, one copy a part.
template <class R>
class PartGrads {
 public:
  PartGrads(const Plan& plan, int64_t parts, const std::unique_ptr<bool[]>& wanted, Buffer& memory)
      : plan_(plan), parts_(parts), stages_(plan.stages.size()) {
    for (size_t i = 0; i < stages_; ++i) {
      offsets_.push_back(size_);
      if (wanted[i]) size_ += depthwise_size(plan.shape, plan.stages[i]);
      offsets_.push_back(size_);
      if (wanted[i]) size_ += pointwise_size(plan.shape, plan.stages[i]);
    }
    offsets_.push_back(size_);
    memory_ = static_cast<R*>(memory.get(size_ * parts_ * sizeof(R)));
    for (int64_t part = 0; part < parts_; ++part) {
      for (size_t i = 0; i < stages_; ++i) {
        depthwise_.push_back(memory_ + part * size_ + offsets_[2 * i]);
        pointwise_.push_back(memory_ + part * size_ + offsets_[2 * i + 1]);
      }
    }
  }

  Grads<R> of(int64_t part) const {
    return {depthwise_.data() + part * stages_, pointwise_.data() + part * stages_};
  }

  // To be called for each part before it is worked on, by who does that.
  void clear(int64_t part) const { std::fill_n(memory_ + part * size_, size_, R(0)); }

  // Adds up the parts of stage i in order, and writes its gradients to its weight tensors; null
  // where not wanted.
  void finish(size_t i, const std::vector<R*>& out) const {
    const Shape& s = plan_.shape;
    const Stage& t = plan_.stages[i];
    const R* depthwise = depthwise_[i];
    const R* pointwise = pointwise_[i];
    for (int64_t part = 1; part < parts_; ++part) {
      const R* from = memory_ + part * size_;
      for (int64_t at = offsets_[2 * i]; at < offsets_[2 * i + 2]; ++at) memory_[at] += from[at];
    }
    if (t.separable && out[t.param] != nullptr) {
      const int64_t window = t.kernel * t.kernel;
      for_window(s, t, [&](int64_t at, int64_t c, int64_t tap) {
        out[t.param][c * window + tap] += depthwise[at];
      });
    }
    if (t.separable && s.pack == 1) {
      R* to = out[t.param + 1];
      if (to == nullptr) return;
      for_rows(s, [&](int64_t row, int64_t other, int64_t first, int64_t count) {
        for (int64_t lane = 0; lane < count; ++lane) {
          to[(first + lane) * s.channels + other] += pointwise[row + lane];
        }
      });
      return;
    }
    // Where images share a block of lanes, their sums lie in different lanes of one row, and the
    // dense form also holds products of different images, which for_weights leaves out.
    for_weights(s, t, false, [&](int64_t at, int64_t o, int64_t c, int64_t tap) {
      const Place place = place_of(s, t, o, c, tap);
      if (place.tensor >= 0 && out[place.tensor] != nullptr) {
        out[place.tensor][place.index] += pointwise[at];
      }
    });
  }

 private:
  const Plan& plan_;
  int64_t parts_, size_ = 0;
  size_t stages_;
  std::vector<int64_t> offsets_;
  R* memory_;
  std::vector<R*> depthwise_, pointwise_;
};

struct Needs {
  bool dx, dw;
  std::unique_ptr<bool[]> branch, params;
  std::vector<int64_t> slots;  // [stages] place in du, or -1
  int64_t between = 0;         // stages whose gradient is kept between two passes
};

// params: whether the gradient of each of the params is wanted.
Needs make_needs(const Plan& plan, bool dx, bool dw, const std::vector<bool>& params) {
  Needs needs{
      dx,
      dw,
      std::make_unique<bool[]>(plan.branches.size()),
      std::make_unique<bool[]>(plan.stages.size()),
      {}};
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const Stage& t = plan.stages[i];
    for (int64_t p = t.param; p < t.param + param_count(t); ++p) {
      if (params[p]) needs.params[i] = true;
    }
  }
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const Stage& t = plan.stages[i];
    bool& branch = needs.branch[t.branch];
    branch = branch || dx || needs.params[i];
    const bool inner = t.first && plan.branches[t.branch].stages == 2;
    needs.slots.push_back(inner && (dx || needs.params[i]) ? needs.between++ : -1);
  }
  return needs;
}

template <class R>
class Backward {
 public:
  Backward(
      const Plan& plan, Args<R> args, const Needs& needs, const R* mean, const R* var, double eps,
      Buffer& memory)
      : plan_(plan),
        s_(plan.shape),
        a_(args),
        needs_(needs),
        mean_(mean),
        scale_(plan.norms, s_),
        bias_(plan.norms, s_),
        centre_(plan.norms, s_),
        gradient_(3 * plan.norms, s_) {
    for (int64_t norm = 0; norm < plan.norms; ++norm) {
      for (int64_t c = 0; c < s_.channels; ++c) {
        const int64_t at = norm * s_.channels + c;
        inverse_.push_back(1 / std::sqrt(var[at] + eps));
        scale_.set(norm, c, inverse_[at]);
        bias_.set(norm, c, -mean[at] * inverse_[at]);
        centre_.set(norm, c, mean[at]);
      }
    }
    const int64_t n = sum_between(plan.branches.size(), needs.between) * a_.parts * s_.lanes();
    sums_ = static_cast<double*>(memory.get(n * sizeof(double)));
    std::fill(sums_, sums_ + n, 0.0);
    a_.scale = scale_.view();
    a_.bias = bias_.view();
    a_.mean = centre_.full.data();
    a_.gradient = gradient_.view();
    a_.sums = sums_;
    a_.needs_dw = needs.dw;
    a_.needs_branch = needs.branch.get();
    a_.needs_params = needs.params.get();
    a_.du_slot = needs.slots.data();
  }

  void run(R* dw, const PartGrads<R>& grads) {
    const bool anything =
        needs_.dx || std::any_of(
                         needs_.params.get(), needs_.params.get() + plan_.stages.size(),
                         [](bool p) { return p; });
    if (needs_.dw || (a_.training && anything && plan_.norms > 0)) {
      const auto kernel = NAS_SELECT_ISA(SumsFn<R>, edge_sums_kernel);
      for_groups<R>(
          plan_, a_.parts, 0, true,
          [&](int64_t g, Part part, const Scratch<R>& scratch) { kernel(a_, g, part, scratch); });
    }
    finish_branches(dw);
    if (!anything) return;
    const bool two = std::any_of(
        plan_.branches.begin(), plan_.branches.end(),
        [](const Branch& b) { return b.stages == 2; });
    if (two) {
      pass(NAS_SELECT_ISA(BackFn<R>, edge_back_second_kernel), grads, true);
      finish_between();
    }
    pass(NAS_SELECT_ISA(BackFn<R>, edge_back_first_kernel), grads, !two);
  }

 private:
  void pass(BackFn<R> kernel, const PartGrads<R>& grads, bool first) {
    for_groups<R>(plan_, a_.parts, 0, true, [&](int64_t g, Part part, const Scratch<R>& scratch) {
      if (first && part.before == 0) grads.clear(part.index);
      kernel(a_, g, part, grads.of(part.index), scratch);
    });
  }

  // A row of the sums for each channel.
  std::vector<double> total(int64_t row) const {
    std::vector<double> out(s_.channels, 0);
    for (int64_t part = 0; part < a_.parts; ++part) {
      const double* at = sums_ + (row * a_.parts + part) * s_.lanes();
      // Nothing flows to the images that the last group lacks.
      for (int64_t i = 0; i < s_.pack; ++i) {
        for (int64_t c = 0; c < s_.channels; ++c) out[c] += at[i * s_.channels + c];
      }
    }
    return out;
  }

  // Coefficients of dz = c0 g + c1 z + c2 of a batch norm whose output has the gradient
  // `factor` * g, from sum of g and sum of g * normalised z.
  void set_gradient(int64_t norm, int64_t c, double factor, double sum, double product) {
    const double r = inverse_[norm * s_.channels + c],
                 n = static_cast<double>(s_.batch) * s_.out_pixels();
    const double c0 = factor * r;
    const double c1 = a_.training ? -c0 * r * product / n : 0;
    const double c2 = a_.training ? -c0 * sum / n - c1 * mean_[norm * s_.channels + c] : 0;
    gradient_.set(3 * norm, c, c0);
    gradient_.set(3 * norm + 1, c, c1);
    gradient_.set(3 * norm + 2, c, c2);
  }

  void finish_branches(R* dw) {
    const std::vector<double> sum = total(SUM_G);
    for (size_t k = 0; k < plan_.branches.size(); ++k) {
      const Branch& branch = plan_.branches[k];
      const std::vector<double> product = total(SUM_BRANCH + k);
      double all = 0;
      for (int64_t c = 0; c < s_.channels; ++c) {
        if (branch.norm < 0) {
          all += product[c];
          continue;
        }
        const double normalised = product[c] * inverse_[branch.norm * s_.channels + c];
        all += normalised;
        set_gradient(branch.norm, c, a_.w[k], sum[c], normalised);
      }
      if (dw != nullptr) dw[k] = static_cast<R>(all);
    }
  }

  void finish_between() {
    for (size_t i = 0; i < plan_.stages.size(); ++i) {
      const int64_t slot = needs_.slots[i];
      if (slot < 0) continue;
      const int64_t row = sum_between(plan_.branches.size(), slot);
      const std::vector<double> sum = total(row), product = total(row + 1);
      for (int64_t c = 0; c < s_.channels; ++c) {
        set_gradient(plan_.stages[i].norm, c, 1, sum[c], product[c]);
      }
    }
  }

  const Plan& plan_;
  const Shape& s_;
  Args<R> a_;
  const Needs& needs_;
  const R* mean_;
  std::vector<double> inverse_;  // 1 / standard deviation [norms, C]
  double* sums_;
  LaneTable<R> scale_, bias_, centre_, gradient_;
};

}  // namespace

template <class R>
void run_backward(const Plan& plan, const BackwardRun<R>& run) {
  // Kept like the threads' memory, up to its 8 MiB: between two passes it holds maps of the whole
  // batch.
  static thread_local Buffer du, parts, sums;
  const Shape& s = plan.shape;
  const int64_t stages = plan.stages.size();
  std::vector<bool> wanted;
  for (const R* p : run.dparams) wanted.push_back(p != nullptr);
  const Needs needs = make_needs(plan, run.dx != nullptr, run.dw != nullptr, wanted);
  const Weights<R> weights(plan, run.params, true);
  Args<R> a = make_args<R>(plan, weights, run.x, run.w, run.training);
  const PartGrads<R> grads(plan, a.parts, needs.params, parts);
  a.g = run.g;
  a.dx = run.dx;
  a.z = const_cast<R*>(run.z);
  a.du = static_cast<R*>(du.get(needs.between * s.groups * s.out_map() * sizeof(R)));
  Backward<R> backward(plan, a, needs, run.mean, run.var, run.eps, sums);
  backward.run(run.dw, grads);
  const std::vector<int64_t> sizes = param_sizes(plan);
  torch::stable::parallel_for(0, stages, stages_a_thread(plan), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Stage& t = plan.stages[i];
      for (int64_t p = t.param; p < t.param + param_count(t); ++p) {
        if (run.dparams[p] != nullptr) std::fill_n(run.dparams[p], sizes[p], R(0));
      }
      if (needs.params[i]) grads.finish(i, run.dparams);
    }
  });
  du.trim();
  parts.trim();
  sums.trim();
}

template void run_backward(const Plan& plan, const BackwardRun<float>& run);
template void run_backward(const Plan& plan, const BackwardRun<double>& run);

namespace {

std::tuple<Tensor, Tensor, std::vector<Tensor>> mixed_edge_bwd_cpu(
    Tensor g, Tensor x, Tensor w, TensorList params, IntList codes, int64_t stride, Tensor mean,
    Tensor var, bool training, double eps, Tensor z, bool needs_dx, bool needs_dw,
    IntList needs_params) {
  const Plan plan = make_plan(x, codes, stride);
  const Shape& s = plan.shape;
  const int64_t K = plan.branches.size(), C = s.channels;
  const int64_t stages = plan.stages.size();
  STD_TORCH_CHECK(w.dim() == 1 && w.size(0) == K, "mixed_edge needs one weight for each branch.");
  STD_TORCH_CHECK(
      g.dim() == 4 && g.size(0) == s.batch && g.size(1) == C && g.size(2) == s.out_height &&
          g.size(3) == s.out_width,
      "mixed_edge_bwd needs a gradient of the output's shape.");
  STD_TORCH_CHECK(
      z.numel() == stages * s.groups * s.out_map() && z.scalar_type() == x.scalar_type(),
      "mixed_edge_bwd needs the maps that the forward pass keeps for it.");
  STD_TORCH_CHECK(
      mean.numel() == plan.norms * C && var.numel() == plan.norms * C,
      "mixed_edge needs a mean and a variance for each of its batch norms.");
  const auto own = checked_params(plan, params, x);
  for (int64_t p : needs_params) {
    STD_TORCH_CHECK(p >= 0 && p < plan.params, "mixed_edge_bwd: needs_params names no weight.");
  }
  x = channels_last(x, x);
  g = channels_last(g, x);
  w = contiguous(w, x.scalar_type());
  z = torch::stable::contiguous(z);
  mean = contiguous(mean, x.scalar_type());
  var = contiguous(var, x.scalar_type());

  Tensor dx =
      needs_dx ? new_channels_last(x, s.batch, C, s.height, s.width) : new_contiguous(x, {0});
  Tensor dw = new_contiguous(x, {needs_dw ? K : 0});
  std::vector<Tensor> dparams;
  for (int64_t p : needs_params) dparams.push_back(new_contiguous(x, params[p].sizes()));
  dispatch_real(x.scalar_type(), [&](auto real) {
    using R = decltype(real);
    std::vector<R*> out(plan.params, nullptr);
    for (size_t i = 0; i < dparams.size(); ++i) {
      R*& place = out[needs_params[i]];
      STD_TORCH_CHECK(place == nullptr, "mixed_edge_bwd: needs_params names a tensor twice.");
      place = mutable_data<R>(dparams[i]);
    }
    run_backward<R>(
        plan, {data<R>(g), data<R>(x), data<R>(w), pointers<R>(own), data<R>(mean), data<R>(var),
               training, eps, data<R>(z), needs_dx ? mutable_data<R>(dx) : nullptr,
               needs_dw ? mutable_data<R>(dw) : nullptr, out});
  });
  return {dx, dw, dparams};
}

STABLE_TORCH_LIBRARY_IMPL(nas_domains, CPU, m) {
  m.impl("mixed_edge_bwd", TORCH_BOX(&mixed_edge_bwd_cpu));
}

}  // namespace
}  // namespace nas::edge
