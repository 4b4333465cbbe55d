// The running statistics of batch norms on memory; nas_domains/ops/running_statistics.py holds the
// formula.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nas {

template <class R>
struct Running {
  std::vector<R*> means, vars;   // [N] [channels]
  std::vector<int64_t*> counts;  // [N]
  int64_t channels;
  double momentum;
  int64_t values;                     // a channel in the batch, two at least
  std::vector<int64_t> strides = {};  // of means and vars in turn [2 N]; none where all are 1
};

// mean, var: [N, channels], of the batch.
template <class R>
void move_running(const Running<R>& run, const R* mean, const R* var) {
  const R weight = static_cast<R>(run.momentum);
  const R unbiased = static_cast<R>(static_cast<double>(run.values) / (run.values - 1));
  const auto move = [&](R* to, std::size_t which, const R* batch, R factor) {
    const int64_t stride = run.strides.empty() ? 1 : run.strides[which];
    for (int64_t c = 0; c < run.channels; ++c) {
      R& here = to[c * stride];
      const R there = batch[c] * factor;
      // From whichever end is nearer, as torch does.
      here =
          weight < R(0.5) ? here + weight * (there - here) : there - (there - here) * (1 - weight);
    }
  };
  for (std::size_t n = 0; n < run.means.size(); ++n) {
    move(run.means[n], 2 * n, mean + n * run.channels, R(1));
    move(run.vars[n], 2 * n + 1, var + n * run.channels, unbiased);
    *run.counts[n] += 1;
  }
}

}  // namespace nas
