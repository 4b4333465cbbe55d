// CPU kernels of nas_domains/ops/sample_paths.py, which holds the formulas and the checks for
// users.

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "../common.h"
#include "target.h"

#if NAS_X86_TARGETS
#include <immintrin.h>
#endif

#define NAS_KERNEL_ONCE
#define NAS_KERNEL_FILE "sample_paths.inl"
#include "each_isa.h"

namespace nas {
namespace {

static_assert(std::endian::native == std::endian::little, "Two digits are read as one word.");

constexpr int64_t kWords = 64;    // of a block
constexpr int64_t kDigits = 128;  // the same words as 16-bit numbers
constexpr int64_t kReach = 32;    // digits of the widest vector
constexpr int64_t kOne = int64_t{1} << 48;

// Streams of words that share a seed.
enum Stream : uint64_t { kUpper = 0, kLower = 1, kRace = 2 };

using BlockFn = void (*)(uint64_t, uint64_t, uint64_t, uint32_t*);
template <typename O>
using ChooseFn = bool (*)(
    const uint16_t*, const int16_t*, const int16_t*, int64_t, int64_t, int64_t, int64_t, O*,
    int16_t*);
template <typename O>
using UniformFn =
    bool (*)(const uint16_t*, const int16_t*, const uint16_t*, int64_t, int64_t, O*, int16_t*);
using ExponentialFn = void (*)(const uint32_t*, double*);

// Blocks of one stream of one seed.
struct Words {
  explicit Words(int64_t seed)
      : key(static_cast<uint64_t>(seed)), fill(NAS_SELECT_ISA(BlockFn, philox_block)) {}

  void block(Stream stream, int64_t index, uint32_t* out) const {
    fill(16 * static_cast<uint64_t>(index), stream, key, out);
  }

  uint32_t word(Stream stream, int64_t index) const {
    alignas(8) uint32_t words[kWords];
    block(stream, index / kWords, words);
    return words[index % kWords];
  }

  // The 48-bit number of a place, whose upper digit is known.
  int64_t number(uint16_t digit, int64_t place) const {
    return int64_t{digit} << 32 | word(kLower, place);
  }

  uint64_t key;
  BlockFn fill;
};

// Calls f(O{}) with the type of options of at most K.
template <typename F>
void dispatch_options(ScalarType type, F&& f) {
  if (type == ScalarType::Char) {
    f(int8_t{});
  } else {
    f(int16_t{});
  }
}

Tensor empty_options(const Tensor& like, int64_t K, std::vector<int64_t> shape) {
  STD_TORCH_CHECK(K <= INT16_MAX, "sample_paths takes at most 32767 options.");
  const ScalarType type = K <= 128 ? ScalarType::Char : ScalarType::Short;
  return torch::stable::new_empty(like, shape, type);
}

void check_table(const Tensor& table, ScalarType type, int64_t n, int64_t offset) {
  STD_TORCH_CHECK(
      table.dim() == 2 && table.numel() > 0 && table.scalar_type() == type && n >= 0 &&
          offset >= 0 && offset <= INT64_MAX / table.numel() - n - kDigits,
      "sample_paths got a table or numbers that its public function would not pass.");
}

// What the thresholds [E, K] say of each edge, as the block kernels read it.
struct Chooser {
  Chooser(const int64_t* thresholds, int64_t E, int64_t K) : c(thresholds), E(E), K(K) {
    stride = E + kReach;
    first.resize(stride);
    ways.resize(stride);
    upper.resize(stride * std::max<int64_t>(K - 1, 0));
    uniform = true;
    for (int64_t i = 0; i < stride; ++i) {
      const int64_t* row = c + i % E * K;
      int64_t start = 0;
      while (row[start] == 0) ++start;
      int64_t end = start;
      while (row[end] < kOne) ++end;
      first[i] = static_cast<int16_t>(start);
      ways[i] = static_cast<uint16_t>(end - start + 1);
      for (int64_t k = 0; k + 1 < K; ++k) {
        // Options that are never drawn stand before the first, or have no number left.
        const int64_t t = k < start ? kOne : row[k];
        upper[k * stride + i] = static_cast<int16_t>(((t - 1) >> 32) - 0x8000);
      }
      for (int64_t k = start; k < end && uniform; ++k) {
        uniform = row[k] == ((k - start + 1) * kOne + ways[i] - 1) / ways[i];
      }
    }
  }

  // The option of the 48-bit number of a place.
  int64_t exact(int64_t edge, int64_t number) const {
    int64_t option = 0;
    while (c[edge * K + option] <= number) ++option;
    return option;
  }

  const int64_t* c;
  int64_t E, K, stride;
  bool uniform;  // whether each edge has equally likely options in a row
  std::vector<int16_t> first, upper;
  std::vector<uint16_t> ways;
};

// The options at [begin, end) of all places, path after path, edge after edge.
template <typename O>
void choose(const Chooser& chooser, const Words& words, int64_t begin, int64_t end, O* out) {
  const auto by_threshold = NAS_SELECT_ISA(ChooseFn<O>, choose_block<O>);
  const auto by_product = NAS_SELECT_ISA(UniformFn<O>, choose_block_uniform<O>);
  alignas(64) uint32_t block[kWords];
  uint16_t digits[kDigits];
  int16_t open[kDigits];
  O options[kDigits];
  for (int64_t start = begin / kDigits * kDigits; start < end; start += kDigits) {
    words.block(kUpper, start / kDigits, block);
    std::memcpy(digits, block, sizeof(digits));
    const int64_t edge = start % chooser.E;
    const bool whole = start >= begin && start + kDigits <= end;
    O* to = whole ? out + (start - begin) : options;
    const bool some_open =
        chooser.uniform
            ? by_product(
                  digits, chooser.first.data(), chooser.ways.data(), chooser.E, edge, to, open)
            : by_threshold(
                  digits, chooser.first.data(), chooser.upper.data(), chooser.K - 1,
                  chooser.stride, chooser.E, edge, to, open);
    for (int64_t i = 0; some_open && i < kDigits; ++i) {
      if (open[i] == 0) continue;
      const int64_t at = (start + i) % chooser.E;
      to[i] = static_cast<O>(chooser.exact(at, words.number(digits[i], start + i)));
    }
    if (!whole) {
      const int64_t from = std::max(begin, start), until = std::min(end, start + kDigits);
      std::copy(options + (from - start), options + (until - start), out + (from - begin));
    }
  }
}

Tensor sample_paths_choose_cpu(Tensor thresholds, int64_t n, int64_t seed, int64_t offset) {
  check_table(thresholds, ScalarType::Long, n, offset);
  thresholds = torch::stable::contiguous(thresholds);
  const int64_t E = thresholds.size(0), K = thresholds.size(1);
  const int64_t* c = data<int64_t>(thresholds);
  for (int64_t e = 0; e < E; ++e) {
    const int64_t* row = c + e * K;
    bool rising = row[0] >= 0 && row[K - 1] == kOne;
    for (int64_t k = 1; k < K; ++k) rising = rising && row[k - 1] <= row[k];
    STD_TORCH_CHECK(rising, "sample_paths: thresholds must rise to 2**48 on each edge.");
  }
  Tensor out = empty_options(thresholds, K, {n, E});
  const Chooser chooser(c, E, K);
  const Words words(seed);
  dispatch_options(out.scalar_type(), [&](auto option) {
    using O = decltype(option);
    O* to = mutable_data<O>(out);
    constexpr int64_t kChunk = 64 * kDigits;
    torch::stable::parallel_for(
        0, (n * E + kChunk - 1) / kChunk, 4, [&](int64_t first, int64_t last) {
          const int64_t begin = first * kChunk, end = std::min(n * E, last * kChunk);
          choose(chooser, words, offset * E + begin, offset * E + end, to + begin);
        });
  });
  return out;
}

// Calls f(begin, end) for pieces of n paths of about `size` each, on torch's threads.
template <typename F>
void for_each_piece(int64_t n, int64_t size, const F& f) {
  size = std::max<int64_t>(size, 1);
  torch::stable::parallel_for(0, (n + size - 1) / size, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) f(i * size, std::min(n, (i + 1) * size));
  });
}

// The options of one edge for paths [begin, end): of each block of as many paths as the edge has
// options, step i takes one of those left (Fisher & Yates). Digits are those of paths from
// `origin` on.
template <typename O>
void fair_edge(
    const std::vector<O>& options, const Words& words, const uint16_t* digits, int64_t origin,
    int64_t E, int64_t edge, int64_t begin, int64_t end, O* out) {
  const int64_t m = options.size();
  std::vector<O> left(options);
  for (int64_t path = begin / m * m; path < end; ++path) {
    const int64_t i = path % m;
    if (i == 0) left = options;
    const uint16_t digit = digits[(path - origin) * E + edge];
    const int64_t product = digit * (m - i);
    int64_t chosen = product >> 16;
    if ((product & 0xFFFF) + (m - i) > 0xFFFF) {
      chosen = (words.number(digit, path * E + edge) * (m - i)) >> 48;
    }
    std::swap(left[i], left[i + chosen]);
    if (path >= begin) out[(path - begin) * E + edge] = left[i];
  }
}

Tensor sample_paths_fair_cpu(Tensor allowed, int64_t n, int64_t seed, int64_t offset) {
  check_table(allowed, ScalarType::Bool, n, offset);
  allowed = torch::stable::contiguous(allowed);
  const int64_t E = allowed.size(0), K = allowed.size(1);
  Tensor out = empty_options(allowed, K, {n, E});
  const Words words(seed);
  dispatch_options(out.scalar_type(), [&](auto option) {
    using O = decltype(option);
    std::vector<std::vector<O>> options(E);
    for (int64_t i = 0; i < E * K; ++i) {
      if (data<bool>(allowed)[i]) options[i / K].push_back(static_cast<O>(i % K));
    }
    for (const auto& row : options) {
      STD_TORCH_CHECK(!row.empty(), "sample_paths: an edge has no option that is allowed.");
    }
    O* to = mutable_data<O>(out);
    for_each_piece(n, std::max(16 * K, 16 * kDigits / E), [&](int64_t begin, int64_t end) {
      const int64_t first = offset + begin, last = offset + end;
      // A block of paths may have begun up to K - 1 paths before.
      const int64_t origin = std::max<int64_t>(first - K, 0);
      const int64_t start = origin * E / kDigits;
      const int64_t blocks = (last * E + kDigits - 1) / kDigits - start;
      std::vector<uint32_t> block(blocks * kWords);
      for (int64_t b = 0; b < blocks; ++b) {
        words.block(kUpper, start + b, block.data() + b * kWords);
      }
      std::vector<uint16_t> digits(blocks * kDigits);
      std::memcpy(digits.data(), block.data(), digits.size() * sizeof(uint16_t));
      const uint16_t* from = digits.data() + (origin * E - start * kDigits);
      for (int64_t e = 0; e < E; ++e) {
        fair_edge(options[e], words, from, origin, E, e, first, last, to + begin * E);
      }
    });
  });
  return out;
}

// Writes the k options of K that arrive first, in that order; times that were used become NaN.
template <typename O>
void first_arrivals(double* times, const double* scales, int64_t K, int64_t k, O* out) {
  for (int64_t i = 0; i < K; ++i) times[i] *= scales[i];
  for (int64_t place = 0; place < k; ++place) {
    int64_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < K; ++i) {
      const bool earlier = times[i] < least;
      best = earlier ? i : best;
      least = earlier ? times[i] : least;
    }
    out[place] = static_cast<O>(best);
    times[best] = std::numeric_limits<double>::quiet_NaN();
  }
}

Tensor sample_paths_race_cpu(Tensor scales, int64_t n, int64_t k, int64_t seed, int64_t offset) {
  check_table(scales, ScalarType::Double, n, offset);
  scales = torch::stable::contiguous(scales);
  const int64_t E = scales.size(0), K = scales.size(1);
  STD_TORCH_CHECK(k >= 1 && k <= K, "sample_paths: k must be 1 to the number of options.");
  const double* scale = data<double>(scales);
  for (int64_t i = 0; i < E * K; ++i) {
    STD_TORCH_CHECK(scale[i] > 0, "sample_paths: scales must be above 0.");
  }
  Tensor out = empty_options(scales, K, {n, E, k});
  const Words words(seed);
  const auto exponential = NAS_SELECT_ISA(ExponentialFn, exponential_block);
  dispatch_options(out.scalar_type(), [&](auto option) {
    using O = decltype(option);
    O* to = mutable_data<O>(out);
    for_each_piece(n, 64 * kWords / (E * K), [&](int64_t begin, int64_t end) {
      const int64_t first = (offset + begin) * E * K, last = (offset + end) * E * K;
      const int64_t start = first / kWords;
      std::vector<double> times(((last + kWords - 1) / kWords - start) * kWords);
      alignas(8) uint32_t block[kWords];
      for (size_t at = 0; at < times.size(); at += kWords) {
        words.block(kRace, start + at / kWords, block);
        exponential(block, times.data() + at);
      }
      double* from = times.data() + (first - start * kWords);
      for (int64_t i = begin * E; i < end * E; ++i, from += K) {
        first_arrivals(from, scale + i % E * K, K, k, to + i * k);
      }
    });
  });
  return out;
}

Tensor philox_cpu(Tensor like, int64_t seed, int64_t low, int64_t high, int64_t blocks) {
  STD_TORCH_CHECK(blocks >= 0, "philox: blocks must be 0 or more.");
  Tensor out = torch::stable::new_empty(like, {blocks, kWords}, ScalarType::Long);
  const auto fill = NAS_SELECT_ISA(BlockFn, philox_block);
  int64_t* to = mutable_data<int64_t>(out);
  for (int64_t b = 0; b < blocks; ++b) {
    const uint64_t from = static_cast<uint64_t>(low) + 16 * static_cast<uint64_t>(b);
    const uint64_t upper = static_cast<uint64_t>(high) + (from < static_cast<uint64_t>(low));
    alignas(8) uint32_t words[kWords];
    fill(from, upper, static_cast<uint64_t>(seed), words);
    std::copy(words, words + kWords, to + b * kWords);
  }
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(nas_domains, CPU, m) {
  m.impl("sample_paths_choose", TORCH_BOX(&sample_paths_choose_cpu));
  m.impl("sample_paths_fair", TORCH_BOX(&sample_paths_fair_cpu));
  m.impl("sample_paths_race", TORCH_BOX(&sample_paths_race_cpu));
  m.impl("philox", TORCH_BOX(&philox_cpu));
}

}  // namespace
}  // namespace nas
