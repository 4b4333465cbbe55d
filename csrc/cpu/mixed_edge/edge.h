// What the host side of the mixed edge tells its kernels. Plain data, for raw-pointer kernels.
//
// A map holds one group of images as [blocks][pixels][LANES]: the channels of an image in blocks
// of LANES, or, where an image has few channels, those of several images side by side in one
// block. Lanes without a channel hold zeros.
#pragma once

#include <cstdint>

namespace nas::edge {

constexpr int64_t LANES = 16;
constexpr int64_t MAX_TAPS = 9;
constexpr int64_t MAX_BRANCHES = 12;

// Widths of the segments that a row is cut into.
struct Tiling {
  const uint8_t* sizes;
  int64_t count;
};

// A convolution after a ReLU and before a batch norm: a depthwise and then a pointwise one, or a
// dense one. A dense one is a pointwise one of all taps, each of which reads the input at its own
// offset.
struct Stage {
  bool separable;
  bool first;      // reads the edge's input, not the stage before
  int64_t kernel;  // side of the depthwise window
  int64_t dilation;
  int64_t stride;
  int64_t taps;  // blocks that the pointwise convolution reads, in multiples of those of a map
  int64_t rows[MAX_TAPS], cols[MAX_TAPS];  // offsets of a dense convolution's taps
  int64_t norm;                            // its batch norm
  int64_t branch;                          // its place among the weights
  int64_t param;                           // its first weight tensor
  int64_t halves;  // weight tensors that share the outputs of a dense convolution
};

enum class Kind : int { none, skip, max_pool, avg_pool, avg_pool_plain, convolution };

struct Branch {
  Kind kind;
  int64_t stage;  // its last stage, or -1
  int64_t stages;
  int64_t norm;  // its last batch norm, or -1
};

struct Shape {
  int64_t batch, channels;
  int64_t height, width;          // of the input
  int64_t out_height, out_width;  // of the output
  int64_t stride;
  int64_t pack;  // images in one group
  int64_t groups;
  int64_t blocks;
  int64_t rows;  // output rows that are worked on at a time
  bool narrow;   // channels divide a vector: pointwise convolutions shuffle it

  int64_t pixels() const { return height * width; }
  int64_t out_pixels() const { return out_height * out_width; }
  int64_t lanes() const { return blocks * LANES; }
  int64_t map() const { return lanes() * pixels(); }
  int64_t out_map() const { return lanes() * out_pixels(); }
  // Images that the last group lacks.
  int64_t missing() const { return groups * pack - batch; }
};

// Coefficients of one affine map a lane, with a second copy for a last group that lacks images:
// zero in their lanes, so that nothing flows there.
template <class R>
struct Lanewise {
  const R* full;
  const R* last;
  const R* of(bool is_last) const { return is_last ? last : full; }
};

// Where a group stands: its part, whose sums are collected together, and how many groups of that
// are done.
struct Part {
  int64_t index, before;
};

template <class R>
struct Args {
  Shape shape;
  int64_t parts;
  const Stage* stages;
  int64_t stage_count;
  const Branch* branches;
  int64_t branch_count;
  bool training;

  Tiling out_tiling;    // of an output row
  Tiling in_tiling[2];  // of the columns of an input row, of each parity where strided

  const R* x;                  // [B, H, W, C]
  const R* w;                  // [branches]
  const R* const* depthwise;   // [stages] [blocks][kernel^2][LANES]
  const R* const* pointwise;   // [stages] [blocks][taps * lanes][LANES]; narrow: [taps][C][LANES]
  const R* const* transposed;  // [stages] the same from outputs to inputs
  R* z;                        // [stages][groups] maps

  // Forward.
  R* y;                     // [B, Ho, Wo, C]
  double* stats;            // [norms][parts][2][lanes]: mean, sum of squares around it
  Lanewise<R> scale, bias;  // [norms][lanes]: a batch norm is scale * z + bias
  const R* factors;         // [branches + 1][lanes]: y = sum factor * output; last: the constant

  // Backward.
  const R* g;            // [B, Ho, Wo, C]
  R* dx;                 // [B, H, W, C], or null
  R* du;                 // [stages] [groups] maps: gradient of the first of two stages' norms
  const R* mean;         // [norms][lanes]
  double* sums;          // [rows][parts][lanes]; see SUM_* below
  Lanewise<R> gradient;  // [norms][3][lanes]: dz = c0 * g + c1 * z + c2
  bool needs_dw;
  const bool* needs_branch;  // [branches] whether a gradient flows through it
  const bool* needs_params;  // [stages] whether its weights get one
  const int64_t* du_slot;    // [stages] place in du, or -1
};

// Rows of Args::sums: sum of g; sum of g times each branch's normalised output before scaling; and
// for each batch norm between two stages, sums of its gradient and of gradient times input.
constexpr int64_t SUM_G = 0;
constexpr int64_t SUM_BRANCH = 1;
inline int64_t sum_between(int64_t branches, int64_t slot) {
  return SUM_BRANCH + branches + 2 * slot;
}

// Where the gradients of a stage's weights are collected, as packed as the weights.
template <class R>
struct Grads {
  R* const* depthwise;  // [stages], null where not wanted
  R* const* pointwise;
};

// Memory of one thread, cut into parts by the kernels.
template <class R>
struct Scratch {
  R* x;            // map of the input
  R* u;            // map: what a stage convolves
  R* g;            // map of the output's size: its gradient, or the output itself
  R* dx;           // map: gradient of the input or of u
  R* da;           // map of the output's size: gradient of the depthwise output
  R* gathered;     // rows of what the pointwise convolution reads
  R* dz;           // rows of the gradient of z
  R* back;         // rows of the gradient of `gathered`, where taps are many; one input row
  R* windows;      // [3] rows of the output: what flows back through its pools
  R* z;            // maps of all stages, where none are kept
  R* statistics;   // [3][lanes]
  double* totals;  // [2][lanes]
};

}  // namespace nas::edge
