// What host functions and kernels of Winograd's convolutions share.
#pragma once

#include <cstdint>

namespace nas {

// A map of voxels, channels innermost, cut into tiles: along an axis where the kernel has a side
// of 3 a tile gives two voxels and reads four, along another it is one voxel.
struct Tiles {
  static constexpr int kAxes = 4;
  int64_t size[kAxes];  // voxels along the batch and three sides
  bool wide[kAxes];     // where the kernel has a side of 3

  int axes() const {
    int found = 0;
    for (int a = 0; a < kAxes; ++a) found += wide[a];
    return found;
  }

  int64_t along(int a) const { return wide[a] ? (size[a] + 1) / 2 : size[a]; }

  int64_t count() const {
    int64_t product = 1;
    for (int a = 0; a < kAxes; ++a) product *= along(a);
    return product;
  }

  // Products that a tile needs for each pair of channels, and places of the kernel.
  int64_t points() const { return int64_t(1) << 2 * axes(); }

  int64_t taps() const {
    int64_t product = 1;
    for (int a = axes(); a > 0; --a) product *= 3;
    return product;
  }
};

// Channels in whole panels of columns, whatever the instruction set.
inline int64_t whole_panels(int64_t channels) {
  return (channels + 31) / 32 * 32;
}

// Reals from one point's rows to the next's: a cache line more than they take, so that the points
// of a tile do not fall into few sets of the first cache.
inline int64_t point_stride(int64_t rows, int64_t columns) {
  return rows * columns + 16;
}

// How many tiles are worked on at once, if there are: where channels are few, what they take stays
// in the second cache, and where they are many, packed kernels are read for enough of them.
inline int64_t tiles_at_once(const Tiles& tiles, int64_t channels, int64_t bytes) {
  constexpr int64_t kBytes = 384 << 10, kStep = 12, kLeast = 24;
  const int64_t fit = kBytes / (tiles.points() * channels * bytes) / kStep * kStep;
  return fit < kLeast ? kLeast : fit;
}

}  // namespace nas
