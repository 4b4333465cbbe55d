#include "multiply_add.h"

#include <atomic>

#include "../common.h"

#define NAS_KERNEL_FILE "multiply_add.inl"
#include "each_isa.h"

namespace nas {

int64_t multiply_adds(int64_t rounds) {
  using Fn = int64_t (*)(int64_t, float*);
  const auto kernel = NAS_SELECT_ISA(Fn, multiply_add_kernel);
  std::atomic<int64_t> done{0};
  torch::stable::parallel_for(
      0, torch::stable::get_num_threads(), 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          float values[2] = {0.5f, 1.0f};
          done += kernel(rounds, values);
        }
      });
  return done;
}

}  // namespace nas
