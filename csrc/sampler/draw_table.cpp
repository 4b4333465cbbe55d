#include "draw_table.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "limbs.h"
#include "philox.h"

namespace nas {

namespace {

// Steps of a grid: the rows of twenty choices then stay in a CPU's second cache.
constexpr double kSteps = 2048;
constexpr double kStepsOfTwo = 192;
// In a row without a draw within the bands, after which they are called empty.
constexpr uint32_t kAttempts = 1 << 20;
constexpr std::size_t kVector = 8;  // digits compared at a time
constexpr std::size_t kLanes = 8;
constexpr uint32_t kExactDraw = uint32_t{1} << 31;

typedef int16_t Digits __attribute__((vector_size(2 * kVector), aligned(2), may_alias));

// How many lanes of a comparison hold.
std::size_t lanes_set(Digits mask) {
  const auto halves = std::bit_cast<std::array<uint64_t, 2>>(mask);
  constexpr uint64_t kOnes = 0x0001000100010001;
  return ((halves[0] & kOnes) + (halves[1] & kOnes)) * kOnes >> 48;
}

std::array<uint32_t, 2> key_of(uint64_t seed) {
  return {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
}

Philox4 words_of(uint64_t seed, uint64_t number, uint32_t place, uint32_t attempt) {
  return philox4x32(
      {static_cast<uint32_t>(number), static_cast<uint32_t>(number >> 32), place, attempt},
      key_of(seed));
}

}  // namespace

DrawTable::DrawTable(
    const Choices& choices, const std::vector<Cost>& costs, const std::vector<Band>& bands,
    const WeightLists& weights)
    : costs_(costs), choices_(choices.size()), bands_(bands), ends_{} {
  std::size_t limited = 0;
  for (std::size_t d = 0; d < costs.size(); ++d) {
    limited += bands[d].low > costs[d].cheapest() || bands[d].high < costs[d].dearest();
  }
  std::vector<OptionLists> grids;
  for (std::size_t d = 0; d < costs.size(); ++d) {
    const Cost& cost = costs[d];
    const Band& band = bands[d];
    if (band.low <= cost.cheapest() && band.high >= cost.dearest()) {
      grids.emplace_back(costs[d].options.size());
      continue;
    }
    const double span = std::min(band.high, cost.dearest()) - cost.cheapest();
    Grid grid(choices, cost, std::max(span, 0.0), limited > 1 ? kStepsOfTwo : kSteps);
    if (grid.rounds || !cost.exact) checked_.push_back(d);
    ends_[d] = grid.around(band);
    grids.push_back(std::move(grid.options));
  }

  double bits = 0;
  for (const Choices::State& from : choices.states()) {
    State state{from.choice, steps_.size(), from.next.size(), {}, {}, 0, 0, 0};
    state.length =
        from.next.empty() ? 0 : (from.next.size() - 1 + kVector - 1) / kVector * kVector;
    for (std::size_t o = 0; o < from.next.size(); ++o) {
      Step step{from.next[o], weights.empty() ? 1 : weights[from.choice][o], 0, {}};
      if (!weights.empty()) step.absent = choices.absent(from.choice, o);
      for (std::size_t d = 0; d < grids.size(); ++d) {
        if (!grids[d][from.choice].empty()) step.cost[d] = grids[d][from.choice][o];
      }
      steps_.push_back(step);
    }
    states_.push_back(state);
  }
  for (std::size_t i = 0; i < choices_; ++i) {
    auto total = static_cast<double>(choices.options(i));
    // Rounded each, probabilities add up to little more than 2^32.
    if (!weights.empty()) total += 4294967296.0;
    bits += std::log2(total);
  }
  // Room for a digit before the number, and one bit against rounding.
  size_ = static_cast<std::size_t>((bits + 17) / 64) + 1;
  zero_.assign(size_, 0);
  place();
  std::fill_n(rows_.begin(), rows_.size(), std::numeric_limits<int16_t>::max());
  const State& end = states_[0];
  for (int64_t i = 0; i < end.width[0] * end.width[1]; ++i) {
    counts_[(end.entry + i) * size_] = 1;
  }
  for (std::size_t s = 1; s < states_.size(); ++s) fill(states_[s]);
}

// Finds for each state the costs so far that may occur and still lead within the bands, and gives
// each a place in the tables.
void DrawTable::place() {
  constexpr int64_t kFar = int64_t{1} << 61;
  const std::size_t n = states_.size();
  for (std::size_t d = 0; d < 2; ++d) {
    std::vector<int64_t> least(n, kFar), most(n, -kFar), rest_low(n, kFar), rest_high(n, -kFar);
    least[n - 1] = most[n - 1] = 0;
    rest_low[0] = rest_high[0] = 0;
    for (std::size_t s = n - 1; s > 0; --s) {
      for (std::size_t o = 0; o < states_[s].options; ++o) {
        const Step& step = steps_[states_[s].step + o];
        least[step.next] = std::min(least[step.next], least[s] + step.cost[d]);
        most[step.next] = std::max(most[step.next], most[s] + step.cost[d]);
      }
    }
    for (std::size_t s = 1; s < n; ++s) {
      for (std::size_t o = 0; o < states_[s].options; ++o) {
        const Step& step = steps_[states_[s].step + o];
        rest_low[s] = std::min(rest_low[s], step.cost[d] + rest_low[step.next]);
        rest_high[s] = std::max(rest_high[s], step.cost[d] + rest_high[step.next]);
      }
    }
    for (std::size_t s = 0; s < n; ++s) {
      const int64_t from = std::max(least[s], ends_[d].first - rest_high[s]);
      const int64_t to = std::min(most[s], ends_[d].second - rest_low[s]);
      states_[s].low[d] = from;
      states_[s].width[d] = std::max<int64_t>(to - from + 1, 0);
    }
  }
  std::size_t entries = 0, digits = 0;
  for (State& state : states_) {
    const std::size_t here = state.width[0] * state.width[1];
    state.entry = entries;
    state.row = digits;
    entries += here;
    digits += here * state.length;
  }
  counts_.assign(entries * size_, 0);
  rows_.resize(digits);
}

const uint64_t* DrawTable::ways(int id, const std::array<int64_t, 2>& at) const {
  const State& state = states_[id];
  const int64_t i = at[0] - state.low[0], j = at[1] - state.low[1];
  if (i < 0 || i >= state.width[0] || j < 0 || j >= state.width[1]) return zero_.data();
  return counts_.data() + (state.entry + i * state.width[1] + j) * size_;
}

// sum += the term of an option whose costs so far are `at`.
void DrawTable::add_term(
    const Step& step, const std::array<int64_t, 2>& at, std::vector<uint64_t>& sum) const {
  const uint64_t* count = ways(step.next, {at[0] + step.cost[0], at[1] + step.cost[1]});
  if (step.absent == 0) {
    limbs::add_product(sum.data(), count, step.weight, size_);
    return;
  }
  std::vector<uint64_t> shifted(size_, 0);
  const std::size_t limb = step.absent / 2;
  const uint64_t half = step.absent % 2 == 0 ? 1 : uint64_t{1} << 32;
  limbs::add_product(shifted.data() + limb, count, half, size_ - limb);
  limbs::add_product(sum.data(), shifted.data(), step.weight, size_);
}

void DrawTable::fill(const State& state) {
  std::vector<uint64_t> sums, sum(size_);
  uint64_t* count = counts_.data() + state.entry * size_;
  int16_t* row = rows_.data() + state.row;
  for (int64_t i = 0; i < state.width[0]; ++i) {
    for (int64_t j = 0; j < state.width[1]; ++j, count += size_, row += state.length) {
      std::fill(sum.begin(), sum.end(), 0);
      sums.clear();
      for (std::size_t o = 0; o < state.options; ++o) {
        add_term(steps_[state.step + o], {state.low[0] + i, state.low[1] + j}, sum);
        sums.insert(sums.end(), sum.begin(), sum.end());
      }
      std::copy(sum.begin(), sum.end(), count);
      if (!limbs::is_zero(count, size_)) fill_row(state, sums, row);
    }
  }
}

// The digit of a sum is the largest t with t / 2^16 < sum / total: digits above it lie beyond the
// sum, digits below it before, and at it the digit alone does not say. Stored less 2^15.
void DrawTable::fill_row(
    const State& state, const std::vector<uint64_t>& sums, int16_t* row) const {
  const uint64_t* total = sums.data() + (state.options - 1) * size_;
  const std::size_t exponent = limbs::bit_length(total, size_);
  const double scale = 65536.0 / limbs::scaled(total, size_, exponent);
  std::vector<uint64_t> shifted(size_), product(size_);
  const auto before = [&](int64_t t) {  // t total < 2^16 sum
    std::fill(product.begin(), product.end(), 0);
    limbs::add_product(product.data(), total, t, size_);
    return limbs::less(product.data(), shifted.data(), size_);
  };
  for (std::size_t o = 0; o + 1 < state.options; ++o) {
    const uint64_t* sum = sums.data() + o * size_;
    std::fill(shifted.begin(), shifted.end(), 0);
    limbs::add_product(shifted.data(), sum, 65536, size_);
    // Rounded, so that the whole numbers have the last word. A sum of nothing counts as not told.
    auto t = static_cast<int64_t>(std::ceil(limbs::scaled(sum, size_, exponent) * scale)) - 1;
    t = std::clamp<int64_t>(t, 0, 65535);
    while (t > 0 && !before(t)) --t;
    while (t < 65535 && before(t + 1)) ++t;
    row[o] = static_cast<int16_t>(t - 32768);
  }
}

bool DrawTable::empty() const {
  return limbs::is_zero(ways(static_cast<int>(states_.size()) - 1, {0, 0}), size_);
}

uint64_t DrawTable::bytes() const {
  return counts_.size() * sizeof(uint64_t) + rows_.size() * sizeof(int16_t);
}

// The option whose share of the whole numbers holds a number of which the digit is given: further
// digits are drawn, a number below the total by rejection from the next power of two.
std::size_t DrawTable::decide(
    const State& state, const std::array<int64_t, 2>& at, uint16_t digit, uint64_t seed,
    uint64_t number, uint32_t place, uint32_t attempt) const {
  const uint64_t* total = ways(static_cast<int>(&state - states_.data()), at);
  const std::size_t bits = limbs::bit_length(total, size_);
  std::vector<uint64_t> r(size_), sum(size_, 0), shifted(size_);
  uint32_t block = kExactDraw | place << 16;
  do {
    for (std::size_t i = 0; i < size_; i += 2) {
      const Philox4 words = words_of(seed, number, block++, attempt);
      r[i] = words[0] | uint64_t{words[1]} << 32;
      if (i + 1 < size_) r[i + 1] = words[2] | uint64_t{words[3]} << 32;
    }
    for (std::size_t i = 0; i < size_; ++i) {
      const std::size_t keep = bits > 64 * i ? std::min<std::size_t>(bits - 64 * i, 64) : 0;
      if (keep < 64) r[i] &= (uint64_t{1} << keep) - 1;
    }
  } while (!limbs::less(r.data(), total, size_));
  limbs::add_product(r.data(), total, digit, size_);
  for (std::size_t o = 0;; ++o) {
    add_term(steps_[state.step + o], at, sum);
    std::fill(shifted.begin(), shifted.end(), 0);
    limbs::add_product(shifted.data(), sum.data(), 65536, size_);
    if (limbs::less(r.data(), shifted.data(), size_)) return o;
  }
}

// Draws the rows of `count` numbers side by side, as each step of one waits for memory.
void DrawTable::walk(
    uint64_t seed, uint64_t number, std::size_t count, uint32_t attempt, int16_t* rows) const {
  struct Lane {
    const State* state;
    std::array<int64_t, 2> at;
    Philox4 words;
  };
  std::array<Lane, kLanes> lanes;
  for (std::size_t n = 0; n < count; ++n) lanes[n] = {&states_.back(), {0, 0}, {}};
  std::fill_n(rows, count * choices_, int16_t{-1});
  std::size_t walking = count;
  for (uint32_t place = 0; walking > 0; ++place) {
    walking = 0;
    for (std::size_t n = 0; n < count; ++n) {
      Lane& lane = lanes[n];
      const State& state = *lane.state;
      if (state.choice < 0) continue;
      ++walking;
      if (place % 8 == 0) lane.words = words_of(seed, number + n, place / 8, attempt);
      const auto digit = static_cast<uint16_t>(lane.words[place % 8 / 2] >> 16 * (place % 2));
      const auto signed_digit = static_cast<int16_t>(digit - 32768);
      const int64_t i = (lane.at[0] - state.low[0]) * state.width[1] + lane.at[1] - state.low[1];
      const int16_t* sums = rows_.data() + state.row + i * state.length;
      std::size_t below = 0;
      bool equal = false;
      for (std::size_t v = 0; v < state.length; v += kVector) {
        const Digits row = *reinterpret_cast<const Digits*>(sums + v);
        below += lanes_set(row < signed_digit);
        equal = equal || lanes_set(row == signed_digit) != 0;
      }
      const std::size_t option =
          equal ? decide(state, lane.at, digit, seed, number + n, place, attempt) : below;
      const Step& step = steps_[state.step + option];
      rows[n * choices_ + state.choice] = static_cast<int16_t>(option);
      lane.at[0] += step.cost[0];
      lane.at[1] += step.cost[1];
      lane.state = &states_[step.next];
    }
  }
}

bool DrawTable::keeps(const int16_t* row) const {
  for (std::size_t d : checked_) {
    double cost = 0;
    for (std::size_t i = 0; i < choices_; ++i) {
      if (row[i] >= 0) cost += costs_[d].options[i][row[i]];
    }
    if (cost < bands_[d].low || cost > bands_[d].high) return false;
  }
  return true;
}

bool DrawTable::draw(uint64_t seed, uint64_t number, std::size_t count, int16_t* rows) const {
  for (std::size_t first = 0; first < count; first += kLanes) {
    const std::size_t lanes = std::min(kLanes, count - first);
    walk(seed, number + first, lanes, 0, rows + first * choices_);
    for (std::size_t n = first; n < first + lanes; ++n) {
      int16_t* row = rows + n * choices_;
      for (uint32_t attempt = 1; !keeps(row); ++attempt) {
        if (attempt == kAttempts) return false;
        walk(seed, number + n, 1, attempt, row);
      }
    }
  }
  return true;
}

}  // namespace nas
