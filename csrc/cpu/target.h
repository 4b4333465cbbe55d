// Whether this compiler can compile one file for several x86 instruction sets (GCC's target
// pragma).
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define NAS_X86_TARGETS 1
#else
#define NAS_X86_TARGETS 0
#endif
