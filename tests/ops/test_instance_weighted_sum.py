"""The op instance_weighted_sum: the shipped contract, and what is its own."""

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
