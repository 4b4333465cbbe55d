"""The op instance_weighted_sum: the shipped contract, and what is its own."""

import pytest
import torch

from nas_domains import ops
from nas_domains.testing.ops import SAMPLES, OpContract


class TestInstanceWeightedSum(OpContract):
    sample = SAMPLES["instance_weighted_sum"]


def test_is_the_instance_norm_of_torch():
    torch.manual_seed(0)
    norm = torch.nn.InstanceNorm3d(5, affine=True, dtype=torch.float64)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(3, 5, 4, 3, 2, dtype=torch.float64)
    y = ops.instance_weighted_sum([x], norm.weight[None], norm.bias)
    torch.testing.assert_close(y, norm(x))


def test_samples_do_not_reach_each_other():
    torch.manual_seed(0)
    x, w, bias = torch.randn(2, 3, 4, 5), torch.rand(1, 3), torch.rand(3)
    both = ops.instance_weighted_sum([x], w, bias)
    x[1] *= 7
    assert torch.equal(ops.instance_weighted_sum([x], w, bias)[0], both[0])


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w, b: ops.instance_weighted_sum([x, x.tanh()], w, b, [False, True]),
        lambda x, w, b: ops.instance_weighted_sum([x, x], w, b),
        lambda x, w, b: ops.instance_weighted_sum([x * w[0, 0], x], w, b),
    ],
)
def test_inputs_may_depend_on_each_other(call):
    torch.manual_seed(0)
    leaves = [torch.randn(s, dtype=torch.float64) for s in ((2, 3, 4), (2, 3), (3,))]
    for leaf in leaves:
        leaf.requires_grad_()
    g = torch.randn(2, 3, 4, dtype=torch.float64)
    plain = torch.autograd.grad(call(*leaves), leaves, g)
    again = torch.autograd.grad(call(*leaves), leaves, g, create_graph=True)
    for a, b in zip(plain, again, strict=True):
        torch.testing.assert_close(a, b)
    assert torch.autograd.gradgradcheck(call, leaves)


def test_the_gradient_of_the_bias_is_not_rounded_to_the_dtype_of_the_weights():
    x, w = torch.zeros(2, 1, 300), torch.ones(1, 1, dtype=torch.float16)
    bias = torch.zeros(1, requires_grad=True)
    ops.instance_weighted_sum([x], w, bias).backward(torch.full_like(x, 200))
    assert bias.grad.item() == 120_000
