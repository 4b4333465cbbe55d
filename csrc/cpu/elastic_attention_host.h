// Host side of elastic attention, shared by both passes. nas_domains/ops/elastic_attention.py
// holds the formula and the checks for users.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include "../common.h"
#include "buffer.h"
#include "elastic_attention.h"
#include "isa.h"

namespace nas::attention {

// Items that are worked on together have about so many rows.
constexpr int64_t kRows = 128;

// Sizes, the heads that run, and how the batch is cut, which depends on the shape alone.
struct Plan {
  AttentionShape shape;
  int64_t B, each, units;
  std::vector<int64_t> heads, lengths, rows;

  Plan(
      const Tensor& x, const std::array<Tensor, 4>& weights, IntList kept, int64_t head_dim,
      const std::optional<Tensor>& given) {
    STD_TORCH_CHECK(x.dim() == 3 && head_dim > 0, "elastic_attention needs x [B, T, D].");
    B = x.size(0);
    shape = {x.size(2), static_cast<int64_t>(kept.size()), head_dim, x.size(1)};
    for (const int64_t h : kept) heads.push_back(h);
    for (int i = 0; i < 4; ++i) {
      const Tensor& w = weights[i];
      STD_TORCH_CHECK(
          w.dim() == 2 && w.size(i == 3 ? 0 : 1) >= shape.D,
          "elastic_attention needs weights of D features.");
      for (const int64_t h : heads) {
        STD_TORCH_CHECK(
            h >= 0 && h < w.size(i == 3 ? 1 : 0) / head_dim,
            "elastic_attention needs weights of each head.");
      }
    }
    lengths.assign(B, shape.T);
    if (given.has_value()) {
      STD_TORCH_CHECK(
          given->dim() == 1 && given->size(0) == B, "elastic_attention needs B lengths.");
      const Tensor plain = contiguous(*given, ScalarType::Long);
      for (int64_t i = 0; i < B; ++i) {
        lengths[i] = data<int64_t>(plain)[i];
        STD_TORCH_CHECK(
            lengths[i] >= 0 && lengths[i] <= shape.T,
            "elastic_attention needs lengths from 0 to T.");
      }
    }
    each = std::max<int64_t>(1, kRows / std::max<int64_t>(shape.T, 1));
    units = shape.T == 0 ? 0 : (B + each - 1) / each;
  }

  // Calls f(items, first row) for one unit.
  template <class F>
  void unit(int64_t u, const F& f) const {
    const int64_t begin = u * each, end = std::min(B, begin + each);
    std::vector<int64_t> rows;
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t t = 0; t < lengths[i]; ++t) rows.push_back((i - begin) * shape.T + t);
    }
    const int64_t count = rows.size();
    f(AttentionItems{end - begin, lengths.data() + begin, rows.data(), count}, begin * shape.T);
  }

  // Zeros in the rows of a tensor [B * T, width] that no token has.
  template <class R>
  void clear(R* y, int64_t width) const {
    for (int64_t i = 0; i < B; ++i) {
      R* from = y + (i * shape.T + lengths[i]) * width;
      std::fill(from, from + (shape.T - lengths[i]) * width, R(0));
    }
  }
};

// A matrix whose rows may lie apart.
template <class R>
struct Rows {
  Tensor held;
  const R* first;
  int64_t stride;

  Rows(const Tensor& w, ScalarType type)
      : held(
            w.scalar_type() == type && (w.size(1) < 2 || w.stride(1) == 1) ? w
                                                                           : contiguous(w, type)),
        first(data<R>(held)),
        stride(held.stride(0)) {}
  const R* operator[](int64_t i) const { return first + i * stride; }
};

template <class R>
using PackFn = void (*)(const R* const*, int64_t, int64_t, R*);

// Rows [3n] of the weights of queries, keys and values, for the heads that run.
template <class R>
std::vector<const R*> in_rows(const Plan& plan, const std::vector<Rows<R>>& weights) {
  std::vector<const R*> out;
  for (int i = 0; i < 3; ++i) {
    for (const int64_t h : plan.heads) {
      for (int64_t d = 0; d < plan.shape.head_dim; ++d) {
        out.push_back(weights[i][h * plan.shape.head_dim + d]);
      }
    }
  }
  return out;
}

// The part [D, n] of the output weight that the heads have.
template <class R>
std::vector<R> out_block(const Plan& plan, const Rows<R>& weight) {
  const int64_t Dh = plan.shape.head_dim;
  std::vector<R> out;
  out.reserve(plan.shape.D * plan.shape.n());
  for (int64_t i = 0; i < plan.shape.D; ++i) {
    for (const int64_t h : plan.heads) {
      out.insert(out.end(), weight[i] + h * Dh, weight[i] + (h + 1) * Dh);
    }
  }
  return out;
}

template <class R>
std::vector<R> packed(
    PackFn<R> pack, const std::vector<const R*>& rows, int64_t depth, int64_t columns) {
  std::vector<R> out(attention_panels(depth, columns));
  pack(rows.data(), depth, columns, out.data());
  return out;
}

template <class R>
std::vector<const R*> rows_of(const std::vector<R>& block, int64_t width) {
  std::vector<const R*> out;
  for (size_t i = 0; i < block.size(); i += width) out.push_back(block.data() + i);
  return out;
}

// Calls f(unit, memory) for units [begin, end) of a thread.
template <class R, class F>
void with_memory(int64_t reals, const F& f) {
  static thread_local Buffer buffer;
  f(static_cast<R*>(buffer.get(reals * sizeof(R))));
  buffer.trim();
}

}  // namespace nas::attention
