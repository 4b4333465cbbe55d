#include "path_sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "limbs.h"
#include "philox.h"

namespace nas {

namespace {

constexpr int kEmpty = 0;  // the state with nothing left to choose

[[noreturn]] void fail(const std::string& sentence) {
  throw std::invalid_argument(sentence);
}

std::string choice_name(size_t i) {
  return "choice " + std::to_string(i);
}

}  // namespace

PathSampler::PathSampler(
    Lists costs, std::vector<int64_t> parents, Lists active, uint64_t max_bytes)
    : costs_(std::move(costs)),
      parents_(std::move(parents)),
      active_(std::move(active)),
      children_(costs_.size()),
      max_bytes_(max_bytes) {
  if (parents_.empty()) parents_.assign(costs_.size(), -1);
  if (active_.empty()) active_.resize(costs_.size());
  check();

  unit_ = 0;
  double bits = 0;
  for (const auto& options : costs_) {
    for (int64_t cost : options) unit_ = std::gcd(unit_, cost);
    bits += std::log2(static_cast<double>(options.size()));
  }
  unit_ = std::max<int64_t>(unit_, 1);
  for (auto& options : costs_) {
    for (int64_t& cost : options) cost /= unit_;
  }
  size_ = static_cast<size_t>((bits + 1) / 64) + 1;  // one bit more than needed, against rounding
  zero_.assign(size_, 0);

  for (size_t i = 0; i < costs_.size(); ++i) {
    if (parents_[i] >= 0) children_[parents_[i]].push_back(i);
  }
  add_state({-1, {}, 0, 0, 0});
  table_[0] = 1;
  int rest = kEmpty;
  for (size_t i = 0; i < costs_.size(); ++i) {
    if (parents_[i] < 0) rest = state(i, rest);
  }
  root_ = rest;
}

void PathSampler::check() const {
  const size_t n = costs_.size();
  if (n == 0) fail("PathSampler got no choices; give it the option costs of at least one.");
  if (parents_.size() != n) {
    fail(
        "PathSampler needs one parent for each of the " + std::to_string(n) + " choices, got " +
        std::to_string(parents_.size()) + ".");
  }
  if (active_.size() != n) {
    fail(
        "PathSampler needs one list of active parent options for each of the " +
        std::to_string(n) + " choices, got " + std::to_string(active_.size()) + ".");
  }
  int64_t dearest = 0;
  for (size_t i = 0; i < n; ++i) {
    if (costs_[i].empty()) fail(choice_name(i) + " has no options; give it at least one cost.");
    if (costs_[i].size() > static_cast<size_t>(std::numeric_limits<int16_t>::max())) {
      fail(choice_name(i) + " has more than 32767 options; use fewer.");
    }
    for (int64_t cost : costs_[i]) {
      if (cost < 0) {
        fail(
            choice_name(i) + " has the negative cost " + std::to_string(cost) +
            "; costs must be 0 or more.");
      }
    }
    const int64_t most = *std::max_element(costs_[i].begin(), costs_[i].end());
    if (__builtin_add_overflow(dearest, most, &dearest)) {
      fail("the costs add up to more than 64 bits; use a larger unit of cost.");
    }
    const int64_t parent = parents_[i];
    if (parent < -1 || parent >= static_cast<int64_t>(i)) {
      fail(
          choice_name(i) + " has the parent " + std::to_string(parent) +
          "; give it an earlier choice or -1.");
    }
    for (int64_t option : active_[i]) {
      if (parent < 0) fail(choice_name(i) + " has no parent; leave its active options empty.");
      if (option < 0 || option >= static_cast<int64_t>(costs_[parent].size())) {
        fail(
            choice_name(i) + " is active for option " + std::to_string(option) + " of " +
            choice_name(parent) + ", which has no such option.");
      }
    }
  }
}

// The state whose list starts with `choice` and goes on with the list of `rest`, made if it is
// new.
int PathSampler::state(int64_t choice, int rest) {
  const auto key = std::make_pair(choice, rest);
  const auto found = known_.find(key);
  if (found != known_.end()) return found->second;

  State s{choice, {}, std::numeric_limits<int64_t>::max(), 0, 0};
  for (size_t o = 0; o < costs_[choice].size(); ++o) {
    int next = rest;
    // The first children end up last in the list: where an option activates a prefix of them (a
    // depth and its layers), the lists of all options then share their ends, and so their states.
    for (int64_t child : children_[choice]) {
      const auto& on = active_[child];
      if (std::find(on.begin(), on.end(), static_cast<int64_t>(o)) != on.end()) {
        next = state(child, next);
      }
    }
    s.next.push_back(next);
    s.low = std::min(s.low, costs_[choice][o] + states_[next].low);
    s.high = std::max(s.high, costs_[choice][o] + states_[next].high);
  }
  const int id = add_state(std::move(s));
  known_.emplace(key, id);
  fill(states_[id]);
  return id;
}

int PathSampler::add_state(State s) {
  const uint64_t entries = static_cast<uint64_t>(s.high - s.low) + 1;
  const uint64_t room = max_bytes_ / sizeof(uint64_t);
  // Compared by division, as the product may not fit 64 bits.
  if (table_.size() > room || entries > (room - table_.size()) / size_) {
    fail(
        "the table of costs needs more than max_bytes=" + std::to_string(max_bytes_) +
        " bytes; use a larger unit of cost, or raise max_bytes.");
  }
  s.table = table_.size();
  table_.resize(table_.size() + entries * size_);
  states_.push_back(std::move(s));
  return static_cast<int>(states_.size()) - 1;
}

void PathSampler::fill(const State& s) {
  uint64_t* entry = table_.data() + s.table;
  for (int64_t c = s.low; c <= s.high; ++c, entry += size_) {
    for (size_t o = 0; o < s.next.size(); ++o) {
      limbs::add(entry, at(s.next[o], c - costs_[s.choice][o]), size_);
    }
  }
}

const uint64_t* PathSampler::at(int id, int64_t cost) const {
  const State& s = states_[id];
  if (cost < s.low) return zero_.data();
  return table_.data() + s.table + static_cast<size_t>(std::min(cost, s.high) - s.low) * size_;
}

std::vector<uint64_t> PathSampler::count(int64_t limit) const {
  if (limit < 0) return zero_;
  const uint64_t* total = at(root_, limit / unit_);
  return {total, total + size_};
}

// Draws a uniform number below `total`, by rejection from the next power of two.
void PathSampler::draw(const uint64_t* total, uint64_t seed, uint64_t index, uint64_t* r) const {
  const std::array<uint32_t, 2> key{
      static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  Philox4 counter{static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), 0, 0};
  const size_t bits = limbs::bit_length(total, size_);
  do {
    for (size_t i = 0; i < size_; i += 2) {
      const Philox4 words = philox4x32(counter, key);
      ++counter[2];
      r[i] = words[0] | uint64_t{words[1]} << 32;
      if (i + 1 < size_) r[i + 1] = words[2] | uint64_t{words[3]} << 32;
    }
    for (size_t i = 0; i < size_; ++i) {
      const size_t keep = bits > 64 * i ? std::min<size_t>(bits - 64 * i, 64) : 0;
      if (keep < 64) r[i] &= (uint64_t{1} << keep) - 1;
    }
  } while (!limbs::less(r, total, size_));
}

// Writes the r-th of the architectures that cost at most `limit` units.
void PathSampler::decode(uint64_t* r, int64_t limit, int16_t* row) const {
  for (int s = root_; s != kEmpty;) {
    const State& here = states_[s];
    for (size_t o = 0;; ++o) {
      const int64_t left = limit - costs_[here.choice][o];
      const uint64_t* ways = at(here.next[o], left);
      if (limbs::less(r, ways, size_)) {
        row[here.choice] = static_cast<int16_t>(o);
        s = here.next[o];
        limit = left;
        break;
      }
      limbs::subtract(r, ways, size_);
    }
  }
}

void PathSampler::sample(
    int64_t n, uint64_t seed, int64_t limit, int threads, int16_t* out) const {
  if (limit < min_cost()) {
    fail(
        "no architecture costs at most " + std::to_string(limit) + "; the cheapest costs " +
        std::to_string(min_cost()) + ", so raise the limit to that.");
  }
  limit /= unit_;
  const uint64_t* total = at(root_, limit);
  const int64_t columns = choices();
  std::fill(out, out + n * columns, int16_t{-1});
  const auto rows = [&](int64_t begin, int64_t end) {
    std::vector<uint64_t> r(size_);
    for (int64_t i = begin; i < end; ++i) {
      draw(total, seed, i, r.data());
      decode(r.data(), limit, out + i * columns);
    }
  };
  const int64_t share = (n + threads - 1) / threads;
  std::vector<std::thread> others;
  for (int64_t begin = share; begin < n; begin += share) {
    others.emplace_back(rows, begin, std::min(n, begin + share));
  }
  rows(0, std::min(n, share));
  for (std::thread& other : others) other.join();
}

}  // namespace nas
