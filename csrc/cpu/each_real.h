// Part of each_isa.h: the kernel file once with real = float and once with real = double, or just
// once.

#ifdef NAS_KERNEL_ONCE
#include NAS_KERNEL_FILE
#else
namespace f32 {
using real = float;
#define NAS_REAL_BYTES 4
#include "vector.inl"
#include NAS_KERNEL_FILE
#undef NAS_REAL_BYTES
}  // namespace f32

namespace f64 {
using real = double;
#define NAS_REAL_BYTES 8
#include "vector.inl"
#include NAS_KERNEL_FILE
#undef NAS_REAL_BYTES
}  // namespace f64

using namespace f32;
using namespace f64;
#endif
