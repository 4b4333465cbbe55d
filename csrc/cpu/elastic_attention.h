// What host functions and kernels of elastic attention share.
#pragma once

#include <cstdint>

namespace nas {

// D features of a token, heads that run, features of a head; tokens of an item.
struct AttentionShape {
  int64_t D, heads, head_dim, T;

  int64_t n() const { return heads * head_dim; }
};

// Some items of a batch, which one thread works on: item i is tokens [0, lengths[i]) of those from
// i * T on; rows: the indices of all `count` tokens of the items, i * T + t.
struct AttentionItems {
  int64_t items;
  const int64_t* lengths;
  const int64_t* rows;
  int64_t count;
};

// Packed weights, as product.inl reads them, and biases or zeros.
template <class R>
struct AttentionWeights {
  const R* in;        // forward: the transpose of [3n, D]; backward: [3n, D]
  const R* in_bias;   // [3n]
  const R* out;       // forward: the transpose of [D, n]; backward: [D, n]
  const R* out_bias;  // [D]
  R scale;            // of the queries
};

// Tensors, from the first row of the items on; what the forward keeps is in natural places too.
template <class R>
struct AttentionData {
  const R* x;  // [., D]
  R* qkv;      // [., 3n], the queries scaled
  R* heads;    // [., n], what the heads give
  R* lse;      // [., heads], the logarithms of the sums of the softmax
  R* out;      // [., D]; the backward: what flows back into x, or null
  const R* g;  // [., D], what flows back from out
};

// Gradients of the weights, which are added to; null where not wanted.
template <class R>
struct AttentionSums {
  R* in[3];       // queries, keys, values [n, D]
  R* in_bias[3];  // [n]
  R* out;         // [D, n]
  R* out_bias;    // [D]

  bool inner() const {
    for (int i = 0; i < 3; ++i) {
      if (in[i] != nullptr || in_bias[i] != nullptr) return true;
    }
    return false;
  }
};

// Reals of a packed matrix of so many columns, whatever the instruction set.
inline int64_t attention_panels(int64_t depth, int64_t columns) {
  return depth * ((columns + 31) / 32 * 32);
}

// Keys or queries from one to the next of a block of the scores: odd in vectors of 64 bytes, so
// that a column does not fall into few sets of the first cache.
inline int64_t attention_stride(int64_t n) {
  return (n + 31) / 32 * 32 + 16;
}

// Queries that are worked on at once.
constexpr int64_t kQueries = 128;

// Reals of memory that the items need.
inline int64_t attention_memory(const AttentionShape& s, int64_t rows, bool backward) {
  const int64_t stride = attention_stride(backward ? (kQueries < s.T ? kQueries : s.T) : s.T);
  const int64_t keys = attention_panels(s.head_dim, s.T) + attention_panels(s.T, s.head_dim);
  if (!backward) return keys + kQueries * stride + 64;
  const int64_t blocks = 3 * keys + 2 * s.T * stride + 2 * stride;
  // 256 rows are packed at a time.
  const int64_t sums = 256 * (4 * s.n() + 2 * s.D + 128);
  return blocks + rows * 4 * s.n() + sums + 64;
}

}  // namespace nas
