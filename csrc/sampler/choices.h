// The choices of a space as PathSampler walks them, and what their options cost.
//
// The choices still to be made, in order, are a list; a state is such a list, stored as (its first
// choice, the state of the rest), so that equal lists are one state. Option o of the first choice
// leads to the rest with the children that o activates put in front.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace nas {

using CostLists = std::vector<std::vector<double>>;
using OptionLists = std::vector<std::vector<int64_t>>;

// Throws std::invalid_argument, which Python sees as a ValueError.
[[noreturn]] void refuse(const std::string& sentence);
// Without needless zeros.
std::string number_text(double value);

class Choices {
 public:
  struct State {
    int64_t choice;         // -1 in state 0, in which nothing is left to choose
    std::vector<int> next;  // a state for each option; all come before this one
  };

  // options[i]: how many options choice i has. parents[i]: an earlier choice or -1. active[i]: the
  // options of that parent for which choice i exists.
  Choices(std::vector<std::size_t> options, std::vector<int64_t> parents, OptionLists active);

  std::size_t size() const { return options_.size(); }
  std::size_t options(std::size_t choice) const { return options_[choice]; }
  // How many choices an option switches off.
  std::size_t absent(std::size_t choice, std::size_t option) const;
  const std::vector<State>& states() const { return states_; }
  const State& root() const { return states_.back(); }

 private:
  void check() const;
  int state(int64_t choice, int rest);
  bool activates(std::size_t option, int64_t child) const;

  std::vector<std::size_t> options_;
  std::vector<int64_t> parents_;
  OptionLists active_;
  OptionLists children_;
  std::vector<State> states_;
  std::map<std::pair<int64_t, int>, int> known_;
};

// One additive cost: options[i][o] is what option o of choice i adds.
struct Cost {
  Cost(const Choices& choices, CostLists options);

  double cheapest() const { return low.back(); }
  double dearest() const { return high.back(); }

  CostLists options;
  // Whether all sums are exact: whole multiples of `unit`, fewer than 2^53 of them. Otherwise the
  // cost of an architecture is the sum in the order of its choices, each addition rounded.
  bool exact = true;
  double unit = 1;
  std::vector<double> low, high;  // cheapest and dearest completion of each state
};

// What an architecture may cost, both ends included.
struct Band {
  double low, high;

  // The same for every architecture, with finite ends.
  Band within(const Cost& cost) const;
};

// A cost on a grid: options cost whole steps, rounded down.
struct Grid {
  // The finest grid that puts `span` on at most `levels` steps.
  Grid(const Choices& choices, const Cost& cost, double span, double levels);

  // Steps such that every architecture within the band has them, and such that every architecture
  // that has them is within.
  std::pair<int64_t, int64_t> around(const Band& band) const;
  std::pair<int64_t, int64_t> inside(const Band& band) const;

  double step;
  bool rounds;       // whether any option was rounded
  int64_t loss = 0;  // an architecture costs at most as many steps more than its options' sum
  double slack;      // relative error of a sum of costs
  OptionLists options;

 private:
  int64_t below(double limit) const;
  int64_t above(double limit) const;
};

}  // namespace nas
