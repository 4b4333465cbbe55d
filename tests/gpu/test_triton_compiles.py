"""The Triton kernels compile ahead of time for GPUs that are not here, without spilling.

What is compiled is what the host functions launch, noted while ptxrun plays the GPU.
"""

import re
import subprocess
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("triton", reason="the Triton kernels need triton")
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from nas_domains import ops
from nas_domains.testing import edge_checks
from nas_domains.testing.ops import SAMPLES, OpCase

from .ptx import KERNELS, needs_ptxrun, triton_ops

pytestmark = needs_ptxrun
TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}


def launched(call):
    """(source, metadata) of the kernels that a call launches, each once."""
    with triton_ops() as play:
        call()
    return [KERNELS[key] for key in dict.fromkeys(launch.kernel for launch in play.launches)]


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


def check(call, tmp_path, monkeypatch):
    for source, metadata in launched(call):
        options = {
            key: getattr(metadata, key) for key in ("num_warps", "num_stages", "enable_fp_fusion")
        }
        for target, gpu in TARGETS.items():
            asked = SimpleNamespace(get_current_target=lambda gpu=gpu: gpu)
            monkeypatch.setattr(driver, "_active", asked)
            compiled = triton.compile(source, target=gpu, options=options)
            registers, spills = usage(compiled, target, tmp_path)
            what = f"{metadata.name} on {target}"
            print(f"{what}: {registers} registers, {spills} bytes spilled")
            assert spills == 0, f"{what} spills {spills}"
            threads = metadata.num_warps * gpu.warp_size
            most = 2**16 if target != "gfx942" else 2**17
            assert 0 < registers * threads <= most, f"{what} uses {registers} registers"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["weighted_sum", "norm_weighted_sum"])
def test_sums_compile_without_spills(name, dtype, tmp_path, monkeypatch):
    def call():
        for layout in ("channels_last", "contiguous"):
            inputs = SAMPLES[name].inputs(OpCase((4, 16, 8, 8), 8, (layout,)), dtype, 0)
            leaves = [t.requires_grad_() for t in inputs]
            y = SAMPLES[name].call(*leaves)
            torch.autograd.grad(y, leaves, torch.ones_like(y))

    check(call, tmp_path, monkeypatch)


@pytest.mark.parametrize("channels", [16, 64])
def test_the_mixed_edge_compiles_without_spills(channels, tmp_path, monkeypatch):
    case = edge_checks.EdgeCase((2, channels, 8, 8))
    inputs, given = edge_checks.tensors(case, torch.float32)
    edge = edge_checks.by_op
    check(
        lambda: edge_checks.values_and_gradients(edge, case, inputs, given), tmp_path, monkeypatch
    )


def test_sampling_compiles_without_spills(tmp_path, monkeypatch):
    logits = torch.randn(20, 8)

    def call():
        for mode in ("uniform", "categorical", "gumbel", "fair"):
            ops.sample_paths(logits, 64, mode=mode, seed=1)

    check(call, tmp_path, monkeypatch)
