// Whether this compiler can compile one file for several x86 instruction sets (GCC's target
// pragma).
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define NAS_X86_TARGETS 1
#else
#define NAS_X86_TARGETS 0
#endif

// With the address sanitizer the vectors of AVX-512 are made of two of AVX2, so that the kernels'
// reads and writes in that width are checked on every machine.
#if NAS_X86_TARGETS && defined(__SANITIZE_ADDRESS__)
#define NAS_EMULATE_AVX512 1
#else
#define NAS_EMULATE_AVX512 0
#endif
