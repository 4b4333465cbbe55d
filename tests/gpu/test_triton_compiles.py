"""The Triton kernels compile ahead of time for GPUs that are not here, within their registers.

What is compiled is what the host functions launch, noted while ptxrun plays the GPU.
"""

import re
import subprocess

import pytest
import torch

pytest.importorskip("triton", reason="the Triton kernels need triton")
import triton
from triton.backends.compiler import GPUTarget

from nas_domains.testing.ops import SAMPLES, OpCase

from .ptx import KERNELS, needs_ptxrun, triton_ops

pytestmark = needs_ptxrun

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
# Beyond these, fewer than half of the threads that a processor has room for can be resident.
MOST_REGISTERS = {"sm_80": 64, "sm_90": 64, "sm_100": 64, "gfx942": 128}
CASE = OpCase((4, 16, 8, 8), 8, ("channels_last",))


def launched(sample, dtype):
    """(source, metadata) of the kernels that an op launches."""
    leaves = [t.requires_grad_() for t in sample.inputs(CASE, dtype, 0)]
    with triton_ops() as play:
        y = sample.call(*leaves)
        torch.autograd.grad(y, leaves, torch.ones_like(y))
    return [KERNELS[launch.kernel] for launch in play.launches]


def usage(compiled, target, tmp_path):
    """(registers, spills) of a compiled kernel, as its compiler tells."""
    if target == "gfx942":
        text = compiled.asm["amdgcn"]
        return tuple(
            int(re.search(rf"\.{key}:\s+(\d+)", text)[1])
            for key in ("vgpr_count", "vgpr_spill_count")
        )
    from triton.knobs import nvidia

    cubin = tmp_path / "kernel.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    command = [nvidia.cuobjdump.path, "--dump-resource-usage", str(cubin)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    stack, local = (int(re.search(rf"{key}:(\d+)", text)[1]) for key in ("STACK", "LOCAL"))
    return int(re.search(r"REG:(\d+)", text)[1]), stack + local


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", SAMPLES)
def test_compiles_without_spills(name, dtype, tmp_path):
    kernels = launched(SAMPLES[name], dtype)
    if not kernels:
        pytest.skip(f"{name} has no Triton kernel")
    for source, metadata in kernels:
        for target, gpu in TARGETS.items():
            compiled = triton.compile(
                source, target=gpu, options={"num_warps": metadata.num_warps}
            )
            registers, spills = usage(compiled, target, tmp_path)
            what = f"{metadata.name} on {target}"
            print(f"{what}: {registers} registers, {spills} bytes spilled")
            assert spills == 0, f"{what} spills {spills}"
            assert 0 < registers <= MOST_REGISTERS[target], f"{what} uses {registers}"
