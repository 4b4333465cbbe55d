#include "count_table.h"

#include <algorithm>

#include "limbs.h"

namespace nas {

namespace {

// More steps take seconds and tell little more.
constexpr double kMostSteps = 1 << 18;
constexpr double kMostStepsOfTwo = 1 << 20;
// Tables that may be held at a time, by the widest sharing that is usual.
constexpr std::size_t kHeld = 4;

}  // namespace

CountTable::CountTable(
    const Choices& choices, const std::vector<Cost>& costs, std::size_t size, uint64_t max_bytes)
    : size_(size) {
  const std::size_t most = max_bytes / kHeld / (sizeof(Position) + size * sizeof(uint64_t));
  exact_ = std::all_of(costs.begin(), costs.end(), [](const Cost& cost) { return cost.exact; });
  if (exact_) {
    for (const Cost& cost : costs) grids_.emplace_back(choices, cost, cost.dearest(), 1e300);
    exact_ = build(choices, most);
  }
  if (exact_) return;
  double steps =
      std::min(costs.size() > 1 ? kMostStepsOfTwo : kMostSteps, static_cast<double>(most));
  while (true) {
    if (steps < 2) {
      refuse(
          "the table of costs needs more than max_bytes=" + std::to_string(max_bytes) +
          " bytes; raise max_bytes.");
    }
    grids_.clear();
    // Two costs share the steps.
    const double levels = costs.size() > 1 ? std::floor(std::sqrt(steps)) : steps;
    for (const Cost& cost : costs) grids_.emplace_back(choices, cost, cost.dearest(), levels);
    if (build(choices, most)) return;
    steps /= 2;
  }
}

// Fills the table of the whole space, state by state. Returns false where one of them needs more
// than `most` entries.
bool CountTable::build(const Choices& choices, std::size_t most) {
  const auto& states = choices.states();
  std::vector<int> uses(states.size(), 0);
  for (const auto& state : states) {
    for (int next : state.next) ++uses[next];
  }
  std::vector<Entries> tables(states.size());
  tables[0].positions.push_back({});
  tables[0].counts.assign(size_, 0);
  tables[0].counts[0] = 1;
  Entries scratch;
  for (std::size_t s = 1; s < states.size(); ++s) {
    const Choices::State& state = states[s];
    for (std::size_t o = 0; o < state.next.size(); ++o) {
      Position shift{};
      for (std::size_t d = 0; d < grids_.size(); ++d) {
        shift[d] = grids_[d].options[state.choice][o];
      }
      add(tables[state.next[o]], shift, tables[s], scratch);
      if (tables[s].positions.size() > most) return false;
    }
    for (int next : state.next) {
      if (--uses[next] == 0) tables[next] = {};
    }
  }
  root_ = std::move(tables.back());
  return true;
}

// sum += entries moved by `shift`.
void CountTable::add(
    const Entries& entries, const Position& shift, Entries& sum, Entries& scratch) const {
  const std::size_t n = entries.positions.size(), m = sum.positions.size();
  scratch.positions.clear();
  scratch.counts.clear();
  scratch.positions.reserve(n + m);
  scratch.counts.reserve((n + m) * size_);
  const auto put = [&](const Position& at, const uint64_t* count) {
    scratch.positions.push_back(at);
    scratch.counts.insert(scratch.counts.end(), count, count + size_);
  };
  std::size_t i = 0, j = 0;
  while (i < n || j < m) {
    Position moved{};
    if (i < n) {
      moved = {entries.positions[i][0] + shift[0], entries.positions[i][1] + shift[1]};
    }
    if (i == n || (j < m && sum.positions[j] < moved)) {
      put(sum.positions[j], sum.counts.data() + j * size_);
      ++j;
      continue;
    }
    put(moved, entries.counts.data() + i * size_);
    ++i;
    if (j < m && sum.positions[j] == moved) {
      limbs::add(
          scratch.counts.data() + scratch.counts.size() - size_, sum.counts.data() + j * size_,
          size_);
      ++j;
    }
  }
  std::swap(sum, scratch);
}

std::pair<std::vector<uint64_t>, std::vector<uint64_t>> CountTable::count(
    const std::vector<Band>& bands) const {
  std::vector<uint64_t> fewest(size_, 0), most(size_, 0);
  for (std::size_t i = 0; i < root_.positions.size(); ++i) {
    bool inside = true, around = true;
    for (std::size_t d = 0; d < bands.size(); ++d) {
      const int64_t at = root_.positions[i][d];
      const auto certain = grids_[d].inside(bands[d]);
      const auto possible = grids_[d].around(bands[d]);
      inside = inside && at >= certain.first && at <= certain.second;
      around = around && at >= possible.first && at <= possible.second;
    }
    const uint64_t* count = root_.counts.data() + i * size_;
    if (inside) limbs::add(fewest.data(), count, size_);
    if (around) limbs::add(most.data(), count, size_);
  }
  return {fewest, most};
}

uint64_t CountTable::bytes() const {
  return root_.positions.size() * sizeof(Position) + root_.counts.size() * sizeof(uint64_t);
}

}  // namespace nas
