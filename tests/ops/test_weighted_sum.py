"""The op weighted_sum: the shipped contract, and what is its own."""

import os

import pytest
import torch

from nas_domains import ops
from nas_domains.testing.op_checks import check_same_bits, missing, use_variant
from nas_domains.testing.ops import SAMPLES, OpCase, OpContract


class TestWeightedSum(OpContract):
    sample = SAMPLES["weighted_sum"]


def saved(y: torch.Tensor) -> int:
    return len(y.grad_fn.saved_tensors)  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_instruction_set_gives_the_same_bits(dtype):
    variants = [v for v in ("native-portable", "native-avx2", "native-avx512") if not missing(v)]
    if len(variants) < 2:
        pytest.skip("this machine has one native variant at most")
    results = []
    for variant in variants:
        with use_variant(variant):
            results.append(
                check_same_bits(SAMPLES["weighted_sum"], OpCase((67, 131)), dtype, threads=(1, 2))
            )
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], result, strict=True))


def test_output_keeps_the_layout_of_the_first_tensor():
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    y = ops.weighted_sum([x, torch.randn(2, 3, 4, 5)], torch.ones(2))
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_only_the_gradients_asked_for_are_computed():
    xs = [torch.randn(4, requires_grad=k == 1) for k in range(3)]
    w = torch.rand(3)
    y = ops.weighted_sum(xs, w)
    assert saved(y) == 1, "without a gradient for w no x is kept"
    (dx,) = torch.autograd.grad(y.sum(), xs[1])
    assert torch.equal(dx, w[1].expand(4))

    w.requires_grad_()
    y = ops.weighted_sum([x.detach() for x in xs], w)
    (dw,) = torch.autograd.grad(y.sum(), w)
    torch.testing.assert_close(dw, torch.stack([x.detach().sum() for x in xs]))


def test_half_types_are_summed_in_float32():
    xs = [torch.full((8,), value, dtype=torch.bfloat16) for value in (256.0, 1.0, 1.0)]
    assert ops.weighted_sum(xs, torch.ones(3)).tolist() == [258.0] * 8  # 256 + 1 rounds to 256


def test_autocast_takes_candidates_of_several_dtypes():
    x = torch.randn(3, 4, requires_grad=True)
    layer = torch.nn.Linear(4, 4)
    w = torch.rand(2, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x)
        y = ops.weighted_sum([half, x], w)
    assert half.dtype == torch.bfloat16 and y.dtype == torch.float32
    dw, dx = torch.autograd.grad(y.sum(), [w, x])
    assert dw.dtype == torch.float32
    torch.testing.assert_close(dw, torch.stack([half.float().sum(), x.sum()]).detach())


def test_weights_may_be_wider_than_the_tensors():
    x = torch.randn(5, dtype=torch.bfloat16)
    w = torch.tensor([0.1], requires_grad=True)
    y = ops.weighted_sum([x], w)
    assert y.dtype == torch.bfloat16
    assert torch.autograd.grad(y.sum(), w)[0].dtype == torch.float32


def test_second_order_through_an_unrolled_step():
    """The exact second-order DARTS gradient differentiates the gradient of the weights."""

    def unrolled(f):
        alpha = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
        weight = torch.linspace(-1, 1, 6, dtype=torch.float64).requires_grad_()
        inner = f([weight * (k + 1) for k in range(3)], alpha.softmax(0)).sin().sum()
        (step,) = torch.autograd.grad(inner, weight, create_graph=True)
        outer = f([(weight - 0.1 * step) ** (k + 1) for k in range(3)], alpha.softmax(0)).cos()
        return torch.autograd.grad(outer.sum(), alpha)[0]

    plain = unrolled(lambda xs, w: sum(w[k] * x for k, x in enumerate(xs)))
    torch.testing.assert_close(unrolled(ops.weighted_sum), plain, rtol=1e-12, atol=1e-12)


def resident_bytes():
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="this system has no /proc")
def test_no_memory_is_kept():
    """One leaked tensor a call, of any of those made in forward or backward, would add 300 MB."""
    if "NAS_DOMAINS_TESTED_COPY" in os.environ:
        pytest.skip("the address sanitizer keeps freed memory for a while")
    xs = [torch.randn(1, 250_000)[:, ::2].requires_grad_() for _ in range(2)]
    w = torch.rand(2, requires_grad=True)

    def steps(count):
        for _ in range(count):
            torch.autograd.grad(ops.weighted_sum(xs, w).sum(), [w, *xs])
            with pytest.raises(RuntimeError):
                torch.ops.nas_domains.weighted_sum_fwd([xs[0].detach(), w.detach()], w.detach())

    steps(20)
    before = resident_bytes()
    steps(600)
    assert resident_bytes() - before < 100e6


@pytest.mark.skipif("native" not in ops.available(), reason="the native backend is not here")
def test_the_kernel_itself_refuses_a_gradient_asked_for_twice():
    x, w = torch.randn(5), torch.ones(2)
    with ops.backend("native"), pytest.raises(RuntimeError, match="or one twice"):
        torch.ops.nas_domains.weighted_sum_bwd(x, [x, x], w, [0, 0])
