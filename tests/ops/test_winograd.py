"""The op convolve: the shipped contract, and what is its own."""

import gc
import os

import pytest
import torch

from nas_domains import ops
from nas_domains.ops import winograd
from nas_domains.ops.backend import native_module
from nas_domains.testing.ops import SAMPLES, OpContract

NATIVE = pytest.mark.skipif(
    ops.active()["winograd"] != "native", reason="the compiled kernels were not built"
)


class TestConvolve(OpContract):
    sample = SAMPLES["convolve"]


class TestConvolveOfWhatIsAboveZero(OpContract):
    sample = SAMPLES["convolve of what is above zero"]


@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 1), (3, 1, 3)])
def test_the_gradient_of_a_shared_input_is_that_of_the_sum(kernel):
    torch.manual_seed(0)
    x = torch.randn(2, 17, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weights = [torch.randn(n, 17, *kernel, dtype=torch.float64) for n in (33, 3)]
    outs = [ops.convolve(x, w, relu=True) for w in weights]
    gs = [torch.randn_like(out) for out in outs]
    (expected,) = torch.autograd.grad(outs, x, gs)
    torch.testing.assert_close(winograd.convolve_back(gs, weights, x.detach()), expected)


@NATIVE
def test_gradients_that_do_not_fit_are_refused():
    g, w = torch.zeros(1, 3, 4), torch.zeros(3, 2, 3)
    for gs, weights, x in (
        ([g], [w, w], None),
        ([g, g[..., :2]], [w, w], None),
        ([g], [w.double()], None),
        ([g], [w], torch.zeros(1, 3, 4)),
    ):
        with pytest.raises(RuntimeError, match="winograd"):
            winograd.convolve_back(gs, weights, x)
    with pytest.raises(RuntimeError, match="winograd_weight needs maps of one size"):
        winograd.convolve_weight(g, g[..., :2], (3,))


@pytest.mark.parametrize("shape", [(0, 2, 4), (1, 2, 0), (1, 2, 3, 0)])
def test_maps_without_voxels_give_such_and_no_gradient(shape):
    x = torch.zeros(shape, requires_grad=True)
    w = torch.ones(3, 2, *(3,) * (len(shape) - 2), requires_grad=True)
    y = ops.convolve(x, w)
    assert y.shape == (shape[0], 3, *shape[2:])
    y.sum().backward()
    assert x.grad.shape == x.shape and not w.grad.any()


def test_what_it_suits():
    w = torch.zeros(16, 16, 3, 1)
    native = ops.active()["winograd"] == "native"
    assert winograd.suits(w) == native
    assert not winograd.suits(w[:8]) and not winograd.suits(w.half())
    assert not winograd.suits(torch.zeros(16, 16, 5)) and not winograd.suits(w.to("meta"))
    assert not winograd.suits(torch.zeros(16, 16, 1, 1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_reaches_what_reads_it_and_no_other(value):
    x = torch.zeros(1, 16, 12, 12)
    x[0, 3, 5, 5] = value
    y = ops.convolve(x, torch.ones(16, 16, 3, 3))
    seen = (~y.isfinite()).any(1)[0].nonzero()
    assert seen.min() == 4 and seen.max() == 6 and len(seen) == 9


def resident():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


@NATIVE
def test_memory_of_large_maps_is_used_again_and_can_be_given_back():
    if "NAS_DOMAINS_TESTED_COPY" in os.environ:
        pytest.skip("with the address sanitizer all memory is the heap's")
    w = torch.zeros(16, 16, 3, 3)
    x = torch.zeros(2, 16, 512, 512)
    ops.convolve(x, w)
    before = resident()
    for _ in range(20):
        ops.convolve(x, w)
    assert resident() - before < 40e6, "each map of 34 MB took memory of its own"
    gc.collect()
    native_module().release_maps()
    assert before - resident() > 20e6, "the memory of the last map was not given back"
