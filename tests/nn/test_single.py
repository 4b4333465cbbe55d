"""A single volume's convolution is torch's own, only faster."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas_domains.hardware.cost import count_macs
from nas_domains.nn.single import SingleConv3d, single


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from((1, 3, 5)),
    st.integers(1, 2),
    st.tuples(*[st.integers(5, 9)] * 3),
    st.booleans(),
    st.integers(0, 99),
)
def test_values_are_those_of_a_float64_convolution(channels, kernel, stride, sides, bias, seed):
    torch.manual_seed(seed)
    plain = nn.Conv3d(*channels, kernel, stride, padding=kernel // 2, bias=bias)
    ours, exact = single(copy.deepcopy(plain)), copy.deepcopy(plain).double()
    assert type(ours) is SingleConv3d
    x = torch.randn(1, channels[0], *sides)
    with torch.no_grad():
        found, truth = ours(x), exact(x.double())
        size = nn.functional.conv3d(
            x.double().abs(), exact.weight.abs(), None, stride, kernel // 2
        )
    assert found.layout == torch.strided and found.dtype == torch.float32
    # The error of a sum of n products is at most n roundings of the sum of their sizes.
    terms = channels[0] * kernel**3 + 1
    assert bool(((found - truth).abs() <= terms * 2**-24 * (size + 1)).all())


def test_gradients_batches_and_counts_are_torchs_own():
    plain = nn.Sequential(nn.Conv3d(2, 3, 3, padding=1), nn.Conv3d(3, 2, 1))
    ours = single(copy.deepcopy(plain))
    x = torch.randn(1, 2, 6, 5, 4)
    for network in (plain, ours):
        network(x).square().sum().backward()
    for a, b in zip(plain.parameters(), ours.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    with torch.no_grad():
        assert torch.equal(plain(x.expand(2, -1, -1, -1, -1)), ours(x.expand(2, -1, -1, -1, -1)))
    assert count_macs(ours, (2, 6, 5, 4)) == count_macs(plain, (2, 6, 5, 4)) > 0
    exported = torch.export.export(ours.eval(), (x,)).module()
    torch.testing.assert_close(exported(x), plain(x))


@pytest.mark.parametrize("make", [lambda x: x.double(), lambda x: x[0]])
def test_other_inputs_go_to_torch(make):
    plain = nn.Conv3d(2, 3, 3)
    x = make(torch.randn(1, 2, 6, 5, 4))
    plain.to(x.dtype)
    with torch.no_grad():
        assert torch.equal(single(copy.deepcopy(plain))(x), plain(x))
