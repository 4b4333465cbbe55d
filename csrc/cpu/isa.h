// Which instruction set the CPU kernels use, chosen at run time.
#pragma once

namespace nas {

enum class Isa : int { portable, avx2, avx512 };

// The one that set_isa selected, else the best this CPU has.
Isa active_isa();
const char* isa_name(Isa isa);
bool isa_supported(Isa isa);

// Selects an instruction set by name. Returns false, changing nothing, if it is unknown or this
// CPU lacks it.
bool set_isa(const char* name);

// Picks one of three variants of a kernel, as compiled by cpu/each_isa.h.
template <typename Fn>
Fn select_isa(Fn avx512, Fn avx2, Fn portable) {
  switch (active_isa()) {
    case Isa::avx512:
      return avx512;
    case Isa::avx2:
      return avx2;
    default:
      return portable;
  }
}

}  // namespace nas

#define NAS_SELECT_ISA(Fn, kernel) \
  ::nas::select_isa<Fn>(::nas::avx512::kernel, ::nas::avx2::kernel, ::nas::portable::kernel)
