"""The Triton kernels as PTX, executed on the CPU: values, races, stray accesses, bytes moved."""

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("triton", reason="the Triton kernels need triton")
from nas_domains.kernels import weighted_sum

from nas_domains.testing import op_checks
from nas_domains.testing.ops import SAMPLES, OpCase, op_cases

from .ptx import mutant, needs_ptxrun, played, ptxrun, triton_ops

pytestmark = needs_ptxrun

DTYPES = [torch.float32, torch.bfloat16]


def play(sample, check, order="forward"):
    """Runs a check with the op's Triton kernels under ptxrun; returns their launches."""
    with triton_ops(order) as driver:
        check()
    if not driver.launches:
        pytest.skip(f"{sample.name} has no Triton kernel")
    return driver.launches


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SAMPLES)
def test_values_and_gradients_match_float64(name, dtype):
    sample = SAMPLES[name]

    def check():
        # Each case is compiled on its own; bfloat16 takes those that float32 leaves out.
        for case in sample.cases[DTYPES.index(dtype) :: 2]:
            op_checks.check_values(sample, case, dtype)

    play(sample, check)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(case=op_cases(), seed=st.integers(0, 1000))
@pytest.mark.parametrize("name", SAMPLES)
def test_any_shape_and_layout(name, case, seed):
    sample = SAMPLES[name]
    with triton_ops():
        op_checks.check_values(sample, case, torch.float32, seed)


@pytest.mark.parametrize("name", SAMPLES)
def test_bits_do_not_depend_on_the_order_of_blocks(name):
    sample, found = SAMPLES[name], {}

    def step():
        leaves = [t.requires_grad_() for t in sample.inputs(OpCase((3, 5, 37, 41)), DTYPES[0], 0)]
        y = sample.call(*leaves)
        found[order] = [y, *torch.autograd.grad(y, leaves, torch.ones_like(y))]

    for order in ("forward", "reverse", "random"):
        play(sample, step, order)
    first, *others = found.values()
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


# For 7 tensors, 5 of them normed: the maps that each kernel must read and write.
MAPS = {
    "weighted_sum": {"_fwd_": 8, "_dx_": 8, "_dw_": 8},
    "norm_weighted_sum": {"_moments_": 5, "_apply_": 8, "_channel_sums_": 8, "_dx_": 13},
}


@pytest.mark.parametrize("shape", [(16, 16, 32, 32), (64, 64, 8, 8)])
@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
@pytest.mark.parametrize("name", MAPS)
def test_each_byte_is_moved_once(name, layout, shape):
    inputs = SAMPLES[name].inputs(OpCase(shape, 7, (layout,)), torch.float32, 0)
    leaves = [t.requires_grad_() for t in inputs]

    def step():
        y = SAMPLES[name].call(*leaves)
        torch.autograd.grad(y, leaves, torch.ones_like(y))

    for launch in play(SAMPLES[name], step):
        maps = next(n for key, n in MAPS[name].items() if key in launch.name)
        least = maps * leaves[1].nbytes
        print(f"{launch.name}, {layout}, {shape}: {launch.moved / least:.3f} of the bytes")
        assert launch.moved <= 1.15 * least and launch.asked >= 0.9 * launch.moved


def test_a_missing_mask_is_caught(tmp_path):
    xs, w = [torch.randn(1031) for _ in range(2)], torch.rand(2)
    broken = mutant(
        weighted_sum,
        "at, mask=mask, other=0).to(ACC)\n    tl.store(out",
        "at).to(ACC)\n    tl.store(out",
        tmp_path,
    )
    for module, error in ((weighted_sum, None), (broken, ptxrun().PtxError)):
        with played(), nullcontext() if error is None else pytest.raises(error, match="buffer"):
            module.weighted_sum_fwd(xs, w)
