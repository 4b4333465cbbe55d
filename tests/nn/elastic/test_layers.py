"""Elastic layers: at each size the plain layer of that size, on views of one set of weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas_domains.nn.candidates import CONV, NORM
from nas_domains.nn.elastic.base import plain
from nas_domains.nn.elastic.conv import ElasticConv
from nas_domains.nn.elastic.depth import ElasticDepth
from nas_domains.nn.elastic.linear import ElasticLinear
from nas_domains.nn.elastic.norm import ElasticNorm
from tests.core.refusal import refused

quick = settings(max_examples=40, deadline=None, derandomize=True)
SIDES = {1: (7,), 2: (7, 6), 3: (4, 5, 3)}


def double(layer, seed=0):
    """The layer in float64 with random parameters and buffers, as after some training."""
    layer.double()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*layer.parameters(), *layer.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=g, dtype=torch.float64) + 0.1)
    return layer


def inputs(*shape, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64, requires_grad=True)


def gradients_agree(layer, x):
    """Output and gradients of an elastic layer against those of its plain one.

    Gradients of the shared weights are read by extracting from a layer that holds them as weights.
    """
    network = layer.extract()
    x_plain = x.detach().clone().requires_grad_()
    out, expected = layer(x), network(x_plain)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    g = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=out.dtype)
    out.backward(g)
    expected.backward(g)
    torch.testing.assert_close(x.grad, x_plain.grad, rtol=1e-12, atol=1e-12)
    total = sum(float(p.grad.abs().sum()) for p in layer.parameters() if p.grad is not None)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0 if parameter.grad is None else parameter.grad)
    found = layer.extract()
    own = 0.0
    for ours, theirs in zip(found.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours.detach(), theirs.grad, rtol=1e-12, atol=1e-12)
        own += float(theirs.grad.abs().sum())
    assert total == pytest.approx(own, rel=1e-9), "a gradient outside the active weights"


@quick
@given(
    dims=st.integers(1, 3),
    widths=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    share=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernels=st.sampled_from([(1, 1), (3, 1), (3, 3), (5, 1), (5, 3), (7, 5)]),
    stride=st.integers(1, 2),
    depthwise=st.booleans(),
    bias=st.booleans(),
)
def test_a_convolution_is_the_plain_one_of_its_size(
    dims, widths, share, kernels, stride, depthwise, bias
):
    c_in, c_out = widths if not depthwise else (widths[0], widths[0])
    active = {"c_in": min(share[0], c_in), "c_out": min(share[1], c_out), "kernel": kernels[1]}
    if depthwise:
        active["c_out"] = active["c_in"]
    layer = ElasticConv(
        c_in, c_out, kernels[0], stride=stride, depthwise=depthwise, bias=bias, dims=dims
    )
    double(layer).activate(**active)
    network = layer.extract()
    assert type(network) is CONV[dims]
    assert (network.in_channels, network.out_channels) == (active["c_in"], active["c_out"])
    assert network.kernel_size == (active["kernel"],) * dims
    assert network.groups == (active["c_in"] if depthwise else 1)
    # The centre of the largest kernel, of the first channels.
    cut = (kernels[0] - kernels[1]) // 2
    middle = (slice(cut, kernels[0] - cut),) * dims
    first = (slice(active["c_out"]), slice(1 if depthwise else active["c_in"]))
    assert torch.equal(network.weight, layer.whole.weight[(*first, *middle)])
    gradients_agree(layer, inputs(3, active["c_in"], *SIDES[dims]))


@quick
@given(
    dims=st.integers(1, 3),
    widths=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    affine=st.booleans(),
    tracks=st.booleans(),
    momentum=st.sampled_from([0.1, 0.3, None]),
    training=st.booleans(),
)
def test_a_norm_is_the_plain_one_of_its_size(dims, widths, affine, tracks, momentum, training):
    channels, active = max(widths), min(widths)
    layer = ElasticNorm(
        channels, dims=dims, affine=affine, momentum=momentum, track_running_stats=tracks
    )
    double(layer).train(training).activate(channels=active)
    network = layer.extract()
    assert type(network) is NORM[dims] and network.num_features == active
    assert network.training is training
    before = {name: value.clone() for name, value in layer.whole.named_buffers()}
    for seed in range(3):
        x = inputs(4, active, *SIDES[dims], seed=seed).detach()
        assert torch.equal(layer(x), network(x))
    for (name, value), theirs in zip(
        layer.whole.named_buffers(), network.buffers(), strict=True
    ):
        own = value[:active] if value.dim() else value
        assert torch.equal(own, theirs), name
        assert value.dim() == 0 or torch.equal(value[active:], before[name][active:]), name
    gradients_agree(layer, inputs(4, active, *SIDES[dims]))


def test_a_norm_whose_statistics_are_not_tracked_for_a_while_leaves_them():
    layer = double(ElasticNorm(4)).train()
    layer.activate(channels=2)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.whole.track_running_stats = False
    layer(inputs(4, 2, 3, 3))
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])


@quick
@given(
    widths=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    share=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    bias=st.booleans(),
)
def test_a_linear_layer_is_the_plain_one_of_its_size(widths, share, bias):
    layer = double(ElasticLinear(*widths, bias=bias))
    c_in, c_out = (min(pair) for pair in zip(widths, share, strict=True))
    layer.activate(c_in=c_in, c_out=c_out)
    network = layer.extract()
    assert type(network) is nn.Linear and network.weight.shape == (c_out, c_in)
    x = inputs(5, c_in)
    assert torch.equal(layer(x), network(x)), "bit for bit, whatever the rows' distance"
    gradients_agree(layer, x)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_depth_skips_the_last_blocks(depth):
    blocks = [nn.Linear(3, 3), ElasticLinear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.ReLU())]
    layer = ElasticDepth(blocks, least=0).double()
    layer.activate(depth=depth)
    x = inputs(2, 3)
    expected = x
    for block in blocks[:depth]:
        expected = block(expected)
    assert torch.equal(layer(x), expected)
    network = layer.extract()
    assert type(network) is nn.Sequential and len(network) == depth
    assert torch.equal(network(x), expected)
    assert all(type(m) is not ElasticLinear for m in network.modules())


@pytest.mark.parametrize(
    "layer",
    [ElasticConv(4, 6, 5), ElasticConv(4, 4, 3, depthwise=True), ElasticLinear(4, 6)],
    ids=["conv", "depthwise", "linear"],
)
def test_active_weights_are_views(layer):
    for sizes in ({}, {name: 1 for name in layer.active}):
        layer.activate(**sizes)
        weight, bias = layer.weights()
        assert weight.untyped_storage().data_ptr() == layer.whole.weight.data_ptr()
        if bias is not None:
            assert bias.data_ptr() == layer.whole.bias.data_ptr()


@pytest.mark.parametrize(
    "layer",
    [ElasticConv(2, 3, 3, bias=True), ElasticNorm(3), ElasticLinear(2, 3)],
    ids=["conv", "norm", "linear"],
)
def test_extracting_copies_and_draws_nothing(layer):
    generator = torch.get_rng_state()
    network = layer.extract()
    assert torch.equal(torch.get_rng_state(), generator)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with torch.no_grad():
        for tensor in [*network.parameters(), *network.buffers()]:
            tensor.add_(1)
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.requires_grad and p.is_leaf for p in network.parameters())


def test_sizes_that_are_not_named_are_the_largest():
    layer = ElasticConv(4, 6, 5)
    assert layer.active == {"c_in": 4, "c_out": 6, "kernel": 5}
    layer.activate(c_in=2, kernel=3)
    assert layer.active == {"c_in": 2, "c_out": 6, "kernel": 3}
    layer.activate(c_out=1)
    assert layer.active == {"c_in": 4, "c_out": 1, "kernel": 5}
    layer.activate()
    assert layer.active == layer.largest


def test_plain_reaches_layers_at_any_depth_and_leaves_the_module_alone():
    shared = ElasticLinear(3, 3)
    inner = nn.Sequential(shared, nn.ReLU())
    module = nn.ModuleDict({"a": inner, "b": shared, "c": nn.Conv2d(1, 1, 1)})
    copied = plain(module)
    assert type(copied["a"][0]) is nn.Linear and type(copied["c"]) is nn.Conv2d
    assert type(module["a"][0]) is ElasticLinear
    theirs = {p.data_ptr() for p in copied.parameters()}
    assert not theirs & {p.data_ptr() for p in module.parameters()}


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: ElasticConv(0, 2, 3), ("c_in=0",)),
        (lambda: ElasticConv(2, -1, 3), ("c_out=-1",)),
        (lambda: ElasticConv(2, 2, 4), ("kernel=4", "odd")),
        (lambda: ElasticConv(2, 2, 3, stride=0), ("stride=0",)),
        (lambda: ElasticConv(2, 3, 3, depthwise=True), ("c_in=2", "c_out=3")),
        (lambda: ElasticConv(2, 3, 3, dims=4), ("dims=4",)),
        (lambda: ElasticConv(2.5, 3, 3), ("c_in=2.5",)),
        (lambda: ElasticNorm(0), ("channels=0",)),
        (lambda: ElasticNorm(2, dims=0), ("dims=0",)),
        (lambda: ElasticLinear(1, True), ("c_out=True",)),
        (lambda: ElasticDepth([]), ("least=1", "0 blocks")),
        (lambda: ElasticDepth([nn.ReLU()], least=-1), ("least=-1",)),
        (lambda: ElasticConv(4, 4, 3).activate(kernel=2), ("kernel=2",)),
        (lambda: ElasticConv(4, 4, 3).activate(kernel=5), ("kernel=5", "1 to 3")),
        (lambda: ElasticConv(4, 4, 3).activate(c_in=0), ("c_in=0", "1 to 4")),
        (lambda: ElasticConv(4, 4, 3).activate(c_out=2.0), ("c_out=2.0",)),
        (lambda: ElasticConv(4, 4, 3, depthwise=True).activate(c_in=2), ("c_in=2", "c_out=4")),
        (lambda: ElasticConv(4, 4, 3).activate(width=2), ("'width'", "c_in, c_out, kernel")),
        (lambda: ElasticNorm(4).activate(channels=5), ("channels=5",)),
        (lambda: ElasticLinear(4, 4).activate(c_in=True), ("c_in=True",)),
        (lambda: ElasticDepth([nn.ReLU()]).activate(depth=0), ("depth=0", "1 to 1")),
    ],
)
def test_bad_sizes_are_refused(make, names):
    with refused(*names):
        make()


def test_a_refused_size_changes_nothing():
    layer = ElasticConv(4, 4, 3)
    layer.activate(c_in=2)
    with refused("kernel=2"):
        layer.activate(kernel=2)
    assert layer.active == {"c_in": 2, "c_out": 4, "kernel": 3}
