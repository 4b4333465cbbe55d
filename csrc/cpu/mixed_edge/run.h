// Both passes of the mixed edge on memory: what the ops and csrc/direct.cpp
// have in common. All is dense, x and its likes [B, H, W, C].
#pragma once

#include "plan.h"

namespace nas::edge {

template <class R>
struct ForwardRun {
  const R *x, *w;
  std::vector<const R*> params;
  bool training;
  double eps;
  R *mean, *var;  // [norms, C], written in training and read otherwise
  R* y;
  R* z;  // [stages, groups, blocks, pixels, LANES], or null where nobody reads it later
};

template <class R>
void run_forward(const Plan& plan, const ForwardRun<R>& run);

template <class R>
struct BackwardRun {
  const R *g, *x, *w;
  std::vector<const R*> params;
  const R *mean, *var;
  bool training;
  double eps;
  const R* z;
  R *dx, *dw;               // null where not wanted
  std::vector<R*> dparams;  // the same, one for each of the params
};

template <class R>
void run_backward(const Plan& plan, const BackwardRun<R>& run);

}  // namespace nas::edge
