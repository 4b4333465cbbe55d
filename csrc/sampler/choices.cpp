#include "choices.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace nas {

namespace {

constexpr int kEmpty = 0;                      // the state with nothing left to choose
constexpr double kExact = 9007199254740992.0;  // 2^53

std::string choice_name(std::size_t i) {
  return "choice " + std::to_string(i);
}

}  // namespace

std::string number_text(double value) {
  std::string digits = std::to_string(value);
  digits.erase(digits.find_last_not_of('0') + 1);
  return digits.back() == '.' ? digits.substr(0, digits.size() - 1) : digits;
}

namespace {

// The power of two of the last binary digit of a value above 0.
int last_digit(double value) {
  int exponent = 0;
  const double mantissa = std::frexp(value, &exponent);
  const auto digits = static_cast<uint64_t>(std::ldexp(mantissa, 53));
  return exponent - 53 + std::countr_zero(digits);
}

// Cheapest (sign 1) or dearest (sign -1) completion of each state.
std::vector<double> extremes(const Choices& choices, const CostLists& options, double sign) {
  std::vector<double> found{0};
  for (std::size_t s = 1; s < choices.states().size(); ++s) {
    const Choices::State& state = choices.states()[s];
    double best = std::numeric_limits<double>::infinity();
    for (std::size_t o = 0; o < state.next.size(); ++o) {
      best = std::min(best, sign * (options[state.choice][o] + found[state.next[o]]));
    }
    found.push_back(sign * best);
  }
  return found;
}

}  // namespace

void refuse(const std::string& sentence) {
  throw std::invalid_argument(sentence);
}

Choices::Choices(
    std::vector<std::size_t> options, std::vector<int64_t> parents, OptionLists active)
    : options_(std::move(options)),
      parents_(std::move(parents)),
      active_(std::move(active)),
      children_(options_.size()) {
  if (parents_.empty()) parents_.assign(size(), -1);
  if (active_.empty()) active_.resize(size());
  check();
  for (std::size_t i = 0; i < size(); ++i) {
    if (parents_[i] >= 0) children_[parents_[i]].push_back(i);
  }
  states_.push_back({-1, {}});
  int rest = kEmpty;
  for (std::size_t i = 0; i < size(); ++i) {
    if (parents_[i] < 0) rest = state(i, rest);
  }
}

void Choices::check() const {
  const std::size_t n = size();
  if (n == 0) refuse("PathSampler got no choices; give it the option costs of at least one.");
  if (parents_.size() != n) {
    refuse(
        "PathSampler needs one parent for each of the " + std::to_string(n) + " choices, got " +
        std::to_string(parents_.size()) + ".");
  }
  if (active_.size() != n) {
    refuse(
        "PathSampler needs one list of active parent options for each of the " +
        std::to_string(n) + " choices, got " + std::to_string(active_.size()) + ".");
  }
  if (n > 32767) refuse("PathSampler takes at most 32767 choices; use fewer.");
  for (std::size_t i = 0; i < n; ++i) {
    if (options_[i] == 0) refuse(choice_name(i) + " has no options; give it at least one cost.");
    if (options_[i] > 32767) refuse(choice_name(i) + " has more than 32767 options; use fewer.");
    const int64_t parent = parents_[i];
    if (parent < -1 || parent >= static_cast<int64_t>(i)) {
      refuse(
          choice_name(i) + " has the parent " + std::to_string(parent) +
          "; give it an earlier choice or -1.");
    }
    for (int64_t option : active_[i]) {
      if (parent < 0) refuse(choice_name(i) + " has no parent; leave its active options empty.");
      if (option < 0 || option >= static_cast<int64_t>(options_[parent])) {
        refuse(
            choice_name(i) + " is active for option " + std::to_string(option) + " of " +
            choice_name(parent) + ", which has no such option.");
      }
    }
  }
}

// The state whose list starts with `choice` and goes on with the list of `rest`, made if it is
// new.
int Choices::state(int64_t choice, int rest) {
  const auto key = std::make_pair(choice, rest);
  const auto found = known_.find(key);
  if (found != known_.end()) return found->second;

  State made{choice, {}};
  for (std::size_t o = 0; o < options_[choice]; ++o) {
    int next = rest;
    // The first children end up last in the list: where an option activates a prefix of them (a
    // depth and its layers), the lists of all options then share their ends, and so their states.
    for (int64_t child : children_[choice]) {
      if (activates(o, child)) next = state(child, next);
    }
    made.next.push_back(next);
  }
  states_.push_back(std::move(made));
  const int id = static_cast<int>(states_.size()) - 1;
  known_.emplace(key, id);
  return id;
}

bool Choices::activates(std::size_t option, int64_t child) const {
  const auto& on = active_[child];
  return std::find(on.begin(), on.end(), static_cast<int64_t>(option)) != on.end();
}

std::size_t Choices::absent(std::size_t choice, std::size_t option) const {
  std::vector<int64_t> off;
  for (int64_t child : children_[choice]) {
    if (!activates(option, child)) off.push_back(child);
  }
  for (std::size_t i = 0; i < off.size(); ++i) {
    const auto& below = children_[off[i]];
    off.insert(off.end(), below.begin(), below.end());
  }
  return off.size();
}

Cost::Cost(const Choices& choices, CostLists given) : options(std::move(given)) {
  if (options.size() != choices.size()) {
    refuse("PathSampler needs option costs for each choice in both costs.");
  }
  int digit = std::numeric_limits<int>::max();
  double most = 0;
  for (std::size_t i = 0; i < options.size(); ++i) {
    if (options[i].size() != choices.options(i)) {
      refuse(choice_name(i) + " has another number of options in the second cost; use the same.");
    }
    for (double cost : options[i]) {
      if (!(cost >= 0) || std::isinf(cost)) {
        refuse(
            choice_name(i) + " has the cost " + number_text(cost) +
            "; costs must be 0 or more and "
            "finite.");
      }
      if (cost > 0) digit = std::min(digit, last_digit(cost));
    }
    most += *std::max_element(options[i].begin(), options[i].end());
  }
  if (std::isinf(most)) refuse("the costs add up to infinity; use a larger unit of cost.");
  exact = most == 0 || std::ldexp(most, -digit) < kExact;
  if (exact && most > 0) {
    int64_t divisor = 0;
    for (const auto& row : options) {
      for (double cost : row) {
        divisor = std::gcd(divisor, static_cast<int64_t>(std::ldexp(cost, -digit)));
      }
    }
    unit = std::ldexp(static_cast<double>(divisor), digit);
  }
  low = extremes(choices, options, 1);
  high = extremes(choices, options, -1);
}

Band Band::within(const Cost& cost) const {
  // Twice the dearest is beyond what any rounding makes of it.
  const double far = 2 * cost.dearest() + 1;
  return {std::clamp(low, 0.0, far), std::clamp(high, -1.0, far)};
}

Grid::Grid(const Choices& choices, const Cost& cost, double span, double levels) {
  // Steps are powers of two, of units where there is one, so that no division of a cost rounds.
  span = std::max(span, std::ldexp(cost.dearest(), -40));
  step = cost.unit;
  if (!cost.exact) step = std::ldexp(1.0, std::ilogb(span / levels));
  while (span / step > levels) step *= 2;
  rounds = false;
  CostLists rounded(cost.options.size());
  for (std::size_t i = 0; i < cost.options.size(); ++i) {
    options.emplace_back();
    for (double value : cost.options[i]) {
      const double steps = std::floor(value / step);
      options[i].push_back(static_cast<int64_t>(steps));
      rounded[i].push_back(steps * step != value);
      rounds = rounds || steps * step != value;
    }
  }
  loss = static_cast<int64_t>(extremes(choices, rounded, -1).back());
  slack = cost.exact ? 0 : std::ldexp(static_cast<double>(options.size()) + 2, -52);
}

// How many whole steps a limit holds.
int64_t Grid::below(double limit) const {
  double steps = std::floor(limit / step);
  // The quotient was rounded, the products are exact.
  if (steps * step > limit) steps -= 1;
  if ((steps + 1) * step <= limit) steps += 1;
  return static_cast<int64_t>(std::clamp(steps, -1e18, 1e18));
}

int64_t Grid::above(double limit) const {
  const int64_t steps = below(limit);
  return static_cast<double>(steps) * step < limit ? steps + 1 : steps;
}

std::pair<int64_t, int64_t> Grid::around(const Band& band) const {
  return {above(band.low * (1 - slack)) - loss, below(band.high * (1 + slack))};
}

std::pair<int64_t, int64_t> Grid::inside(const Band& band) const {
  return {above(band.low * (1 + slack)), below(band.high * (1 - slack)) - loss};
}

}  // namespace nas
