// Memory of large tensors that ops return.
#pragma once

#include <cstddef>

#include "../common.h"

namespace nas {

// Memory of at least so many bytes that is kept, once given back, for the next of its size;
// nullptr where the heap does as well. Fresh memory costs a page fault each 4 KiB, and in the heap
// maps that come and go between gradients that stay would leave holes.
void* take_map(size_t bytes);

// Gives back what was taken for so many bytes.
void give_map(void* memory, size_t bytes);

// As new_strided; a large one in such memory.
Tensor new_map(const Tensor& like, IntList sizes, IntList strides);

// As empty_like, likewise.
Tensor new_map_like(const Tensor& x);

// Gives back what is kept and no tensor uses.
void release_maps();

// Whether large tensors lie in it from now on; else, as tests want it, all are torch's.
void keep_maps(bool keep);

// Bytes of this memory that tensors use, and used at most since the last call.
struct MapBytes {
  size_t now, most;
};

MapBytes map_bytes();

}  // namespace nas
