"""The Triton kernels compile ahead of time for GPUs that are not here, within their registers."""

import re
import subprocess

import pytest

pytest.importorskip("triton", reason="the Triton kernels need triton")
import triton
from nas_domains.kernels import weighted_sum
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
K = 8
# Beyond these, fewer than half of the threads that a processor has room for can be resident.
MOST_REGISTERS = {"sm_80": 64, "sm_90": 64, "sm_100": 64, "gfx942": 128}


def signatures(element):
    """(kernel, signature, constants) of each kernel for K tensors of one element type."""
    acc = triton.language.float64 if element == "fp64" else triton.language.float32
    x, many = f"*{element}", (f"*{element}",) * K
    total = "*fp64" if element == "fp64" else "*fp32"
    common = {"ACC": acc, "BLOCK": weighted_sum.BLOCK}
    return [
        (
            weighted_sum._weighted_sum_fwd_kernel,
            {"xs": many, "w": total, "out": x, "n": "i64"},
            common,
        ),
        (
            weighted_sum._weighted_sum_dx_kernel,
            {"g": x, "w": total, "dxs": many, "n": "i64"},
            common | {"NEEDS": tuple(range(K))},
        ),
        (
            weighted_sum._weighted_sum_dw_kernel,
            {"g": x, "xs": many, "shares": total, "n": "i64"},
            common,
        ),
    ]


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


@pytest.mark.parametrize("element", ["fp32", "fp64", "bf16", "fp16"])
@pytest.mark.parametrize("target", TARGETS)
def test_compiles_without_spills(target, element, tmp_path):
    for kernel, signature, constants in signatures(element):
        source = ASTSource(
            kernel,
            signature | dict.fromkeys(constants, "constexpr"),
            constexprs={(kernel.arg_names.index(name),): v for name, v in constants.items()},
        )
        compiled = triton.compile(source, target=TARGETS[target])
        registers, spills = usage(compiled, target, tmp_path)
        assert spills == 0, f"{kernel.__name__} spills {spills} on {target}"
        assert 0 < registers <= MOST_REGISTERS[target], f"{kernel.__name__} uses {registers}"
