// How many architectures there are of each cost, or pair of costs.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "choices.h"

namespace nas {

class CountTable {
 public:
  using Position = std::array<int64_t, 2>;

  // On the units of the costs where the table stays below max_bytes, else on a grid. `size`: limbs
  // of a count.
  CountTable(
      const Choices& choices, const std::vector<Cost>& costs, std::size_t size,
      uint64_t max_bytes);

  // Fewest and most architectures that may lie within the bands, one for each cost.
  std::pair<std::vector<uint64_t>, std::vector<uint64_t>> count(
      const std::vector<Band>& bands) const;

  bool exact() const { return exact_; }
  uint64_t bytes() const;

 private:
  // Sorted positions, each with its count.
  struct Entries {
    std::vector<Position> positions;
    std::vector<uint64_t> counts;
  };

  bool build(const Choices& choices, std::size_t most);
  void add(const Entries& entries, const Position& shift, Entries& sum, Entries& scratch) const;

  std::size_t size_;
  std::vector<Grid> grids_;
  bool exact_ = false;
  Entries root_;
};

}  // namespace nas
