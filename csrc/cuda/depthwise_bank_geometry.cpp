// The geometry of the depthwise bank as a C library: nas_domains/testing/cuda.py launches by it
// what the host functions launch.
#include "depthwise_bank.h"

using namespace nas::bank;

extern "C" {
int64_t size_of_plan() {
  return sizeof(Plan);
}
int64_t size_of_branches() {
  return sizeof(Branches);
}
int64_t threads() {
  return THREADS;
}
int64_t most_shared() {
  return MOST_SHARED;
}

void add_branch(Branches* all, const void* weight, int kernel, int dilation) {
  add(*all, weight, kernel, dilation);
}

void make_plan(
    Plan* plan, bool backward, int64_t batch, int channels, int height, int width, int stride,
    int element_bytes, const Branches* branches, bool pools) {
  *plan = (backward ? plan_bwd : plan_fwd)(
      batch, channels, height, width, stride, element_bytes, *branches, pools);
}

int64_t shared(const Plan* plan) {
  return plan->shared;
}
int64_t tiles(const Plan* plan) {
  return plan->tiles();
}
int64_t blocks(const Plan* plan) {
  return plan->blocks();
}
int64_t blocks_of_sum(int64_t columns) {
  return sum_blocks(columns);
}
}
