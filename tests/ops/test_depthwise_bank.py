"""The reference of the depthwise bank, against torch's ops and autograd."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import nas_domains.ops  # noqa: F401  (defines the ops)

from .bank_cases import CASES, BankCase, bank_cases, bwd_args, draw_inputs, fwd_args

OPS = torch.ops.nas_domains


def plain(inputs):
    """Returns (ReLU's input, x, weights), the convolutions and the pools, all differentiable."""
    x = inputs["x"].detach().requires_grad_()
    weights = [w.detach().requires_grad_() for w in inputs["weights"]]
    y = inputs["x"]
    if inputs["scale"] is not None:
        y = inputs["scale"][:, None, None] * y + inputs["bias"][:, None, None]
    y = y.detach().requires_grad_()
    d = [
        F.conv2d(y.relu(), w, None, inputs["stride"], r * (w.shape[-1] // 2), r, y.shape[1])
        for w, r in zip(weights, inputs["dilations"], strict=True)
    ]
    p = [
        F.max_pool2d(x, 3, inputs["stride"], 1),
        F.avg_pool2d(x, 3, inputs["stride"], 1, count_include_pad=False),
    ]
    return (y, x, weights), d, p if inputs["pools"] else []


def assert_close(got, want):
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(case=bank_cases(), seed=st.integers(0, 1000))
def test_any_shape_matches_autograd(case, seed):
    inputs = draw_inputs(case, torch.float64, seed)
    (y, x, weights), convolved, pooled = plain(inputs)
    d, p = OPS.depthwise_bank_fwd(*fwd_args(inputs))
    assert d.is_contiguous() and p.is_contiguous()
    for got, want in zip([*d, *p], [*convolved, *pooled], strict=True):
        assert_close(got, want.permute(0, 2, 3, 1))

    loss = sum((o * g.permute(0, 3, 1, 2)).sum() for o, g in zip(convolved, inputs["da"]))  # noqa: B905
    if pooled:
        a, g = inputs["coefficients"][..., None, None], inputs["g"]
        for row, out in zip(a, pooled, strict=False):
            loss = loss + (out * (row[0] * g + row[1] * out + row[2]).detach()).sum()
        if case.stride == 1:
            loss = loss + (x * a[2, 0] * g).sum()
    wanted = torch.zeros_like(y), torch.zeros_like(x), *(torch.zeros_like(w) for w in weights)
    if convolved or pooled:
        wanted = torch.autograd.grad(
            loss, [y, x, *weights], allow_unused=True, materialize_grads=True
        )
    dx, dweights, sums = OPS.depthwise_bank_bwd(*bwd_args(inputs))
    assert dx.is_contiguous(memory_format=torch.channels_last)
    want = wanted[0] + wanted[1]
    assert_close(dx, want)
    rows = [dw.flatten(1).t() for dw in wanted[2:]]
    assert_close(dweights, torch.cat(rows) if rows else dweights.new_empty(0, case.shape[1]))
    if case.scaled:
        assert_close(sums, torch.stack([want.sum((0, 2, 3)), (want * y.relu()).sum((0, 2, 3))]))
    else:
        assert sums.shape == (0, case.shape[1])


@pytest.mark.parametrize("stride", [1, 2])
def test_a_maximum_sends_its_gradient_to_the_first_of_equals(stride):
    inputs = draw_inputs(BankCase((1, 1, 4, 4), (), stride), torch.float64)
    inputs["x"].fill_(3)
    inputs["coefficients"].zero_()[0, 2] = 1  # each maximum's gradient is 1
    dx = OPS.depthwise_bank_bwd(*bwd_args(inputs))[0][0, 0]
    first = torch.zeros(4, 4, dtype=torch.float64)
    for row in range(0, 4, stride):
        for column in range(0, 4, stride):
            first[max(row - 1, 0), max(column - 1, 0)] += 1
    assert torch.equal(dx, first)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("needs", [(True, True), (True, False), (False, True)])
def test_only_what_is_needed(case, needs):
    inputs = draw_inputs(case, torch.float32)
    full = OPS.depthwise_bank_bwd(*bwd_args(inputs))
    dx, dweights, sums = OPS.depthwise_bank_bwd(*bwd_args(inputs, *needs))
    for got, want, needed in ((dx, full[0], needs[0]), (dweights, full[1], needs[1])):
        torch.testing.assert_close(got, want if needed else got.new_empty(got.shape))
        assert needed or got.numel() == 0
    torch.testing.assert_close(sums, full[2] if needs[0] else sums.new_empty(0, case.shape[1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_schema_and_fake(case, dtype):
    inputs = draw_inputs(case, dtype)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(OPS.depthwise_bank_fwd.default, fwd_args(inputs), test_utils=checks)
    for needs in ((True, True), (False, True), (True, False)):
        args = bwd_args(inputs, *needs)
        torch.library.opcheck(OPS.depthwise_bank_bwd.default, args, test_utils=checks)
