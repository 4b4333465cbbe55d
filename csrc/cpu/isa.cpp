#include "isa.h"

#include <atomic>
#include <cstring>

#include "target.h"

namespace nas {

namespace {
constexpr Isa kAll[] = {Isa::portable, Isa::avx2, Isa::avx512};

Isa best_isa() {
  if (isa_supported(Isa::avx512)) return Isa::avx512;
  if (isa_supported(Isa::avx2)) return Isa::avx2;
  return Isa::portable;
}

std::atomic<Isa>& current() {
  static std::atomic<Isa> isa{best_isa()};
  return isa;
}
}  // namespace

Isa active_isa() {
  return current().load(std::memory_order_relaxed);
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    default:
      return "portable";
  }
}

bool isa_supported(Isa isa) {
#if NAS_X86_TARGETS
  // The features named here are those of the target pragmas in each_isa.h.
  __builtin_cpu_init();
  if (isa == Isa::avx512 && !NAS_EMULATE_AVX512) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("fma");
  }
  if (isa != Isa::portable) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return isa == Isa::portable;
}

bool set_isa(const char* name) {
  for (Isa isa : kAll) {
    if (std::strcmp(name, isa_name(isa)) == 0 && isa_supported(isa)) {
      current().store(isa, std::memory_order_relaxed);
      return true;
    }
  }
  return false;
}

}  // namespace nas
