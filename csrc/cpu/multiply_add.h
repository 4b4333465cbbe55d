// How fast the instruction set in use can multiply and add: the floor of benchmarks.
#pragma once

#include <cstdint>

namespace nas {

// Multiplies and adds floats in the registers of each of torch's threads; returns the number of
// operations of all.
int64_t multiply_adds(int64_t rounds);

}  // namespace nas
