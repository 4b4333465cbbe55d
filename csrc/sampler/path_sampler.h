// Exact uniform sampling of architectures whose additive integer cost stays under a limit.
//
// The choices still to be made, in order, are a list; a state is such a list, stored as (its first
// choice, the state of the rest), so that equal lists are one state. Option o of the first choice
// leads to the rest with the children that o activates put in front. A state's table holds, for
// each cost c, in how many ways its list can be completed at a total cost of at most c:
//
//   T[s](c) = sum over options o of T[next(s, o)](c - cost(o)),   T[empty](c) = 1 for c >= 0.
//
// A uniform number below T[root](limit) then names one architecture, read off by walking the
// states.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace nas {

class PathSampler {
 public:
  using Lists = std::vector<std::vector<int64_t>>;

  // costs[i][o]: cost of option o of choice i. parents[i]: an earlier choice or -1. active[i]: the
  // options of that parent for which choice i exists. Throws std::invalid_argument.
  PathSampler(Lists costs, std::vector<int64_t> parents, Lists active, uint64_t max_bytes);

  std::size_t choices() const { return costs_.size(); }
  int64_t min_cost() const { return states_[root_].low * unit_; }
  int64_t max_cost() const { return states_[root_].high * unit_; }
  uint64_t table_bytes() const { return table_.size() * sizeof(uint64_t); }

  // Number of architectures that cost at most `limit`, as little-endian limbs.
  std::vector<uint64_t> count(int64_t limit) const;

  // Writes n rows of choices() options to out, -1 for an absent choice. Row i depends on (seed, i,
  // limit) only. Throws std::invalid_argument if no architecture is cheap enough.
  void sample(int64_t n, uint64_t seed, int64_t limit, int threads, int16_t* out) const;

 private:
  struct State {
    int64_t choice;
    std::vector<int> next;  // a state for each option
    int64_t low, high;      // cheapest and dearest completion, in units
    std::size_t table;  // offset of T(low) in table_; T is 0 below low and constant from high on
  };

  void check() const;
  int state(int64_t choice, int rest);
  int add_state(State state);
  void fill(const State& state);
  const uint64_t* at(int state, int64_t cost) const;
  void draw(const uint64_t* total, uint64_t seed, uint64_t index, uint64_t* r) const;
  void decode(uint64_t* r, int64_t limit, int16_t* row) const;

  Lists costs_;  // in units
  std::vector<int64_t> parents_;
  Lists active_;
  Lists children_;
  uint64_t max_bytes_;
  int64_t unit_ = 1;      // greatest common divisor of all costs
  std::size_t size_ = 1;  // limbs of a count
  std::vector<State> states_;
  std::map<std::pair<int64_t, int>, int> known_;
  std::vector<uint64_t> table_;
  std::vector<uint64_t> zero_;
  int root_ = 0;
};

}  // namespace nas
