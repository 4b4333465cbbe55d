// What the host side and the kernels of norm_weighted_sum agree on.
#pragma once

#include <cstdint>

namespace nas {

// A dense tensor [B, C, ...] as it lies in memory, [outer, C, inner]: channels-last has inner 1.
// Few channels would leave lanes of a vector idle, so where inner is 1 `fold` rows count as one
// of `period` = fold * C lanes; elsewhere fold is 1.
struct NormLayout {
  int64_t outer, C, inner, fold, period;
};

// The unit of work: these of `outer` and of the channels. With inner 1 always all channels.
struct NormTile {
  int64_t outer_begin, outer_end, c_begin, c_end;
};

// Values of a channel that are summed in a few lanes of `real`, where inner > 1. A shorter piece
// of the channel is summed together with those of the next rows of `outer`.
constexpr int64_t kRun = 1024;

inline int64_t pieces_of_run(int64_t inner) {
  return inner < kRun ? kRun / inner : 1;
}

// Mean and sum of squared deviations of a set of values, to which others are added (Chan et al.).
struct Moments {
  double n, mean, m2;
};

inline void merge(Moments& a, double n, double mean, double m2) {
  const double share = n / (a.n + n);
  const double delta = mean - a.mean;
  a.mean += delta * share;
  a.m2 += m2 + delta * delta * a.n * share;
  a.n += n;
}

}  // namespace nas
