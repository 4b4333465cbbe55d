// Compiles the kernel file NAS_KERNEL_FILE once for each instruction set and each of float and
// double.
//
//   #define NAS_KERNEL_FILE "my_op.inl"
//   #include "each_isa.h"
//   auto fn = NAS_SELECT_ISA(MyOpFn<float>, my_op_fwd_kernel);
//
// A kernel file sees `real` (float or double) and what vector.inl gives: `vec` (the widest vector
// of the instruction set, loadable from any address), `W` (its lanes) and a few functions of it.
// It uses raw pointers only: a std:: function compiled under the AVX-512 pragma could be the copy
// that the linker keeps for everyone, and crash an older CPU. Float and double kernels share a
// name and are told apart by their argument types. A kernel file of whole numbers alone has no
// `real`: #define NAS_KERNEL_ONCE first, and it is compiled once for each instruction set. No
// include guard: each op's file includes it with its own NAS_KERNEL_FILE.

#include <cstdint>
#include <utility>

#include "isa.h"
#include "target.h"

#define NAS_INLINE inline __attribute__((always_inline))
#define NAS_LAMBDA __attribute__((always_inline))

#if NAS_X86_TARGETS
#include <immintrin.h>

#pragma GCC push_options
#if NAS_EMULATE_AVX512
#pragma GCC target("avx2,fma")
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma")
#endif
#define NAS_VECTOR_BYTES 64
namespace nas::avx512 {
#include "each_real.h"
}
#undef NAS_VECTOR_BYTES
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define NAS_VECTOR_BYTES 32
namespace nas::avx2 {
#include "each_real.h"
}
#undef NAS_VECTOR_BYTES
#pragma GCC pop_options

#else
namespace nas::portable {}
namespace nas {
namespace avx512 = portable;
namespace avx2 = portable;
}  // namespace nas
#endif

#define NAS_VECTOR_BYTES 16
namespace nas::portable {
#include "each_real.h"
}
#undef NAS_VECTOR_BYTES
