// Exact sampling and counting of architectures whose additive costs lie within bands.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "choices.h"
#include "count_table.h"
#include "draw_table.h"

namespace nas {

// Its functions may be called by several threads at a time; tables are made when first needed.
class PathSampler {
 public:
  using Count = std::vector<uint64_t>;  // little-endian limbs

  // costs: one or two, each costs[i][o] of option o of choice i; parents and active as Choices
  // takes them. Throws std::invalid_argument, as all do.
  PathSampler(
      std::vector<CostLists> costs, std::vector<int64_t> parents, OptionLists active,
      uint64_t max_bytes);

  std::size_t choices() const { return choices_.size(); }
  std::size_t options(std::size_t choice) const { return choices_.options(choice); }
  std::size_t states() const { return choices_.states().size(); }
  const std::vector<Cost>& costs() const { return costs_; }

  // Whether counts are exact, or intervals.
  bool exact() const;
  // Bytes of the tables made so far.
  uint64_t table_bytes() const;

  // Fewest and most architectures that may lie within the bands; the same where counts are exact.
  std::pair<Count, Count> count(const std::vector<Band>& bands) const;

  // Writes n rows of choices() options to out, -1 for an absent choice, each drawn in proportion
  // to its weights (none: uniformly). Row i depends on (seed, offset + i, bands, weights) only.
  void sample(
      int64_t n, uint64_t seed, uint64_t offset, const std::vector<Band>& bands,
      const WeightLists& weights, int threads, int16_t* out) const;

 private:
  struct Drawn {
    std::vector<Band> bands;
    WeightLists weights;
    std::shared_ptr<const DrawTable> table;
  };

  std::vector<Band> within(const std::vector<Band>& bands) const;
  const CountTable& counted() const;
  std::shared_ptr<const DrawTable> drawn(
      const std::vector<Band>& bands, const WeightLists& weights) const;
  [[noreturn]] void refuse_bands(const std::vector<Band>& bands) const;

  Choices choices_;
  std::vector<Cost> costs_;
  uint64_t max_bytes_;
  std::size_t size_;  // limbs of a count
  mutable std::mutex mutex_;
  mutable std::unique_ptr<const CountTable> counts_;
  mutable std::deque<Drawn> tables_;  // the latest first
};

}  // namespace nas
