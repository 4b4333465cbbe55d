#include "path_sampler.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include "limbs.h"

namespace nas {

namespace {

constexpr std::size_t kTablesKept = 4;

std::vector<std::size_t> option_counts(const std::vector<CostLists>& costs) {
  std::vector<std::size_t> counts;
  if (costs.empty()) return counts;
  for (const auto& options : costs.front()) counts.push_back(options.size());
  return counts;
}

bool same(const std::vector<Band>& a, const std::vector<Band>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Band& x, const Band& y) {
    return x.low == y.low && x.high == y.high;
  });
}

}  // namespace

PathSampler::PathSampler(
    std::vector<CostLists> costs, std::vector<int64_t> parents, OptionLists active,
    uint64_t max_bytes)
    : choices_(option_counts(costs), std::move(parents), std::move(active)),
      max_bytes_(max_bytes) {
  for (CostLists& cost : costs) costs_.emplace_back(choices_, std::move(cost));
  double bits = 0;
  for (std::size_t i = 0; i < choices(); ++i) {
    bits += std::log2(static_cast<double>(options(i)));
  }
  size_ = static_cast<std::size_t>((bits + 1) / 64) + 1;  // a bit more, against rounding
}

std::vector<Band> PathSampler::within(const std::vector<Band>& bands) const {
  std::vector<Band> found;
  for (std::size_t d = 0; d < costs_.size(); ++d) found.push_back(bands[d].within(costs_[d]));
  return found;
}

const CountTable& PathSampler::counted() const {
  const std::lock_guard lock(mutex_);
  if (!counts_) counts_ = std::make_unique<CountTable>(choices_, costs_, size_, max_bytes_);
  return *counts_;
}

bool PathSampler::exact() const {
  return counted().exact();
}

uint64_t PathSampler::table_bytes() const {
  const std::lock_guard lock(mutex_);
  uint64_t bytes = counts_ ? counts_->bytes() : 0;
  for (const Drawn& kept : tables_) bytes += kept.table->bytes();
  return bytes;
}

std::pair<PathSampler::Count, PathSampler::Count> PathSampler::count(
    const std::vector<Band>& bands) const {
  return counted().count(within(bands));
}

std::shared_ptr<const DrawTable> PathSampler::drawn(
    const std::vector<Band>& bands, const WeightLists& weights) const {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(tables_.begin(), tables_.end(), [&](const Drawn& kept) {
    return same(kept.bands, bands) && kept.weights == weights;
  });
  if (found != tables_.end()) return found->table;
  auto table = std::make_shared<const DrawTable>(choices_, costs_, bands, weights);
  tables_.push_front({bands, weights, table});
  if (tables_.size() > kTablesKept) tables_.pop_back();
  return table;
}

void PathSampler::refuse_bands(const std::vector<Band>& bands) const {
  for (std::size_t d = 0; d < costs_.size(); ++d) {
    const Cost& cost = costs_[d];
    if (bands[d].high < cost.cheapest()) {
      refuse(
          "no architecture costs at most " + number_text(bands[d].high) + "; the cheapest costs " +
          number_text(cost.cheapest()) + ", so raise the limit to that.");
    }
    if (bands[d].low > cost.dearest()) {
      refuse(
          "no architecture costs at least " + number_text(bands[d].low) + "; the dearest costs " +
          number_text(cost.dearest()) + ", so lower the band to that.");
    }
  }
  refuse(
      "no architecture that may be drawn lies within the limits; the cheapest costs " +
      number_text(costs_.front().cheapest()) + ", so widen them.");
}

void PathSampler::sample(
    int64_t n, uint64_t seed, uint64_t offset, const std::vector<Band>& bands,
    const WeightLists& weights, int threads, int16_t* out) const {
  for (std::size_t d = 0; d < costs_.size(); ++d) {
    const Cost& cost = costs_[d];
    if (bands[d].high < cost.cheapest() || bands[d].low > cost.dearest()) refuse_bands(bands);
  }
  const auto table = drawn(within(bands), weights);
  if (table->empty()) refuse_bands(bands);
  const auto columns = static_cast<int64_t>(choices());
  std::atomic<bool> failed = false;
  std::exception_ptr thrown;
  std::mutex guard;
  const auto rows = [&](int64_t begin, int64_t end) {
    try {
      if (!table->draw(seed, offset + begin, end - begin, out + begin * columns)) failed = true;
    } catch (...) {
      const std::lock_guard<std::mutex> lock(guard);
      thrown = std::current_exception();
    }
  };
  const int64_t share = (n + threads - 1) / threads;
  std::vector<std::thread> others;
  others.reserve(threads);
  int64_t begin = share;
  try {
    for (; begin < n; begin += share) others.emplace_back(rows, begin, std::min(n, begin + share));
  } catch (const std::system_error&) {
    // The system gives no more threads: this one draws what is left.
    rows(begin, n);
  }
  rows(0, std::min(n, share));
  for (std::thread& other : others) other.join();
  if (thrown) std::rethrow_exception(thrown);
  if (failed) refuse_bands(bands);
}

}  // namespace nas
