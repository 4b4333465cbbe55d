// Memory in which one thread works on one group of images of a mixed edge.
#pragma once

#include <atomic>

#include "../buffer.h"
#include "plan.h"

namespace nas::edge {

template <class R>
class ThreadScratch {
 public:
  // kept_maps: maps of z that the thread itself has to hold.
  Scratch<R> of(const Plan& plan, int64_t kept_maps, bool backward) {
    const Shape& s = plan.shape;
    int64_t taps = 1;
    for (const Stage& t : plan.stages) taps = std::max(taps, t.taps);
    const int64_t rows = s.rows * s.out_width * s.lanes();
    const int64_t larger = std::max(s.map(), s.out_map());
    Scratch<R> out{};
    out.x = reals(0, s.map());
    out.u = reals(1, larger);
    out.g = reals(2, s.out_map());
    out.gathered = reals(3, taps * rows);
    out.statistics = reals(4, 3 * s.lanes());
    out.totals = static_cast<double*>(parts_[5].get(2 * s.lanes() * sizeof(double)));
    if (kept_maps > 0) out.z = reals(6, kept_maps * s.out_map());
    if (backward) {
      out.dx = reals(7, larger);
      out.da = reals(8, s.out_map());
      out.dz = reals(9, rows);
      out.back = reals(10, taps * rows);
      out.windows = reals(11, 3 * s.out_width * LANES);
    }
    return out;
  }

  void trim() {
    for (Buffer& part : parts_) part.trim();
  }

 private:
  R* reals(int part, int64_t n) { return static_cast<R*>(parts_[part].get(n * sizeof(R))); }

  Buffer parts_[12];
};

// Calls f(group, part, scratch) for all groups, on torch's threads: each part is worked on in
// order by one thread, which takes the next when it is done with one.
template <class R, class F>
void for_groups(const Plan& plan, int64_t parts, int64_t kept_maps, bool backward, const F& f) {
  const int64_t threads = std::min<int64_t>(torch::stable::get_num_threads(), parts);
  std::atomic<int64_t> next{0};
  torch::stable::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    static thread_local ThreadScratch<R> memory;
    const Scratch<R> scratch = memory.of(plan, kept_maps, backward);
    for (int64_t part = next++; part < parts; part = next++) {
      const int64_t begin = part_begin(plan.shape, parts, part);
      const int64_t end = part_begin(plan.shape, parts, part + 1);
      for (int64_t g = begin; g < end; ++g) f(g, Part{part, g - begin}, scratch);
    }
    memory.trim();
  });
}

}  // namespace nas::edge
