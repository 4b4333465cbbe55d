// Draws of architectures whose costs lie within bands, each in proportion to the product of its
// options' weights, exactly.
//
// The costs lie on grids. For each state s and each cost u of the options chosen so far,
//
//   W[s](u) = sum over options o of weight(o) W[next(s, o)](u + cost(o)),
//   W[empty](u) = 1 where u may be the cost of an architecture within the bands, else 0,
//
// whole numbers without rounding, and a walk from the first state takes option o with the
// probability of its term. A row holds the 16-bit digits of these probabilities, summed: a random
// digit decides unless it equals one of them, and then the whole numbers do. Where the grid
// rounds, what is drawn is checked against the true costs and drawn again, which keeps the
// proportions.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "choices.h"

namespace nas {

using WeightLists = std::vector<std::vector<uint64_t>>;

class DrawTable {
 public:
  // weights: whole numbers up to 2^32 for each option, or empty for 1 each. With weights an absent
  // choice weighs 2^32.
  DrawTable(
      const Choices& choices, const std::vector<Cost>& costs, const std::vector<Band>& bands,
      const WeightLists& weights);

  bool empty() const;
  uint64_t bytes() const;

  // Writes the rows of `count` numbers from `number` on: an option for each choice, -1 for an
  // absent one. Returns false where no draw of many for a row was within the bands.
  bool draw(uint64_t seed, uint64_t number, std::size_t count, int16_t* rows) const;

 private:
  struct Step {
    int next;
    uint64_t weight;
    std::size_t absent;  // choices that it switches off, where there are weights
    std::array<int64_t, 2> cost;
  };
  struct State {
    int64_t choice;
    std::size_t step;  // offset of its options in steps_
    std::size_t options;
    std::array<int64_t, 2> low, width;  // the costs so far that may occur
    std::size_t entry;                  // offset of its costs in counts_, in entries
    std::size_t row;                    // offset of its costs in rows_
    std::size_t length;                 // digits of a row, in whole vectors
  };

  void place();
  void fill(const State& state);
  void fill_row(const State& state, const std::vector<uint64_t>& sums, int16_t* row) const;
  void add_term(
      const Step& step, const std::array<int64_t, 2>& at, std::vector<uint64_t>& sum) const;
  const uint64_t* ways(int state, const std::array<int64_t, 2>& at) const;
  std::size_t decide(
      const State& state, const std::array<int64_t, 2>& at, uint16_t digit, uint64_t seed,
      uint64_t number, uint32_t place, uint32_t attempt) const;
  void walk(
      uint64_t seed, uint64_t number, std::size_t count, uint32_t attempt, int16_t* rows) const;
  bool keeps(const int16_t* row) const;

  const std::vector<Cost>& costs_;
  std::size_t choices_;
  std::vector<std::size_t> checked_;  // costs that the grid rounds
  std::vector<Band> bands_;
  std::array<std::pair<int64_t, int64_t>, 2> ends_;
  std::size_t size_;  // limbs of a count
  std::vector<Step> steps_;
  std::vector<State> states_;
  std::vector<uint64_t> counts_;
  std::vector<int16_t> rows_;
  std::vector<uint64_t> zero_;
};

}  // namespace nas
