// Part of each_isa.h: the kernel file once with real = float and once with real = double, or just
// once.

#ifdef NAS_KERNEL_ONCE
#include NAS_KERNEL_FILE
#else
namespace f32 {
using real = float;
typedef real vec __attribute__((vector_size(NAS_VECTOR_BYTES), aligned(alignof(real)), may_alias));
constexpr int64_t W = NAS_VECTOR_BYTES / sizeof(real);
#include NAS_KERNEL_FILE
}  // namespace f32

namespace f64 {
using real = double;
typedef real vec __attribute__((vector_size(NAS_VECTOR_BYTES), aligned(alignof(real)), may_alias));
constexpr int64_t W = NAS_VECTOR_BYTES / sizeof(real);
#include NAS_KERNEL_FILE
}  // namespace f64

using namespace f32;
using namespace f64;
#endif
