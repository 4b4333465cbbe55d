"""The space ``mobilenet``: the contracts, its supernet against its networks, its costs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import nas_domains.vision  # noqa: F401
from nas_domains.core.space_text import load_space
from nas_domains.hardware.cost import counted
from nas_domains.nn.elastic.base import Elastic
from nas_domains.nn.mobile import InvertedResidual, SqueezeExcitation, squeezed
from nas_domains.testing.supernets import SupernetContract
from nas_domains.vision.mobilenet import mobilenet
from tests.core.refusal import refused

SMALL = {"channels": "8-12", "strides": "1-2", "stem": 8, "head": 16, "depths": "1-2"}
SHAPE = (3, 9, 7)


def small(**sizes):
    return mobilenet(**{**SMALL, **sizes})


class TestMobileNet(SupernetContract):
    input_shapes = (SHAPE, (1, 8, 8), (2, 5, 1))

    def make_space(self):
        return small()

    def other_space(self):
        return small(head=24)


class TestOneStage(SupernetContract):
    """Every option of a choice counts: this space is enumerated."""

    input_shapes = ((1, 6, 6),)

    def make_space(self):
        return small(channels=8, strides=1, kernels="1-3", expansions="1-2")


class TestWidths(SupernetContract):
    """With several widths a stage the cost tables are lower bounds."""

    input_shapes = ((1, 6, 6),)
    samples = 20

    def make_space(self):
        return small(widths="0.5-1", kernels=3)


@pytest.fixture(scope="module")
def trained():
    """A supernet with widths in float64, whose statistics and gains are no longer the first."""
    torch.manual_seed(0)
    supernet = small(widths="0.5-1").supernet(SHAPE, 5).double()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in supernet.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_var):
                    tensor.add_(torch.rand(tensor.shape, generator=g, dtype=torch.float64))
    return supernet


def batch(seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn((4, *SHAPE), generator=g, dtype=torch.float64)


def test_a_hundred_extracted_networks_compute_what_the_supernet_does(trained):
    """Within 1e-10, in evaluation and in training; what is recorded in training too."""
    x = batch()
    for number, architecture in enumerate(small(widths="0.5-1").sample(100, seed=2)):
        network = trained.extract(architecture)
        trained.set_architecture(architecture)
        for training in (False, True, False):
            with torch.no_grad():
                mine, theirs = (n.train(training)(x) for n in (trained, network))
            assert (mine - theirs).abs().max() < 1e-10, (number, training)
        if number % 10:
            continue
        state = network.state_dict()
        for name, value in trained.extract(architecture).state_dict().items():
            assert (value - state[name]).abs().max() < 1e-10, (number, name)


def test_gradients_of_extracted_networks_are_those_of_the_supernet(trained):
    """Read by extracting from a supernet that holds its gradients as weights."""
    space, x = small(widths="0.5-1"), batch()
    weights = {name: p.detach().clone() for name, p in trained.named_parameters()}
    for architecture in space.sample(4, seed=3):
        network = trained.extract(architecture).train()
        trained.train().set_architecture(architecture)
        trained.zero_grad()
        for module in (trained, network):
            scores = module(x)
            scores.backward(batch(1).flatten()[: scores.numel()].reshape(scores.shape))
        used = [p for p in trained.parameters() if p.grad is not None]
        total = sum(float(p.grad.abs().sum()) for p in used)
        with torch.no_grad():
            for p in trained.parameters():
                p.copy_(0 if p.grad is None else p.grad)
        mine = dict(trained.extract(architecture).named_parameters())
        with torch.no_grad():
            for name, p in trained.named_parameters():
                p.copy_(weights[name])
        own = 0.0
        for name, p in network.named_parameters():
            assert (mine[name] - p.grad).abs().max() < 1e-10, name
            own += float(p.grad.abs().sum())
        # Nothing but the active weights learns.
        assert total == pytest.approx(own, rel=1e-9)


def test_the_supernet_starts_as_its_largest_network(trained):
    space = small(widths="0.5-1")
    largest = space.complete({c.name: c.options[-1] for c in space.choices}, None)
    x = batch()
    trained.eval().set_architecture(None)
    everything = trained(x)
    trained.set_architecture(space.sample(1, seed=9)[0])
    trained.set_architecture(largest)
    assert torch.equal(trained(x), everything)
    trained.set_architecture(None)


def test_extracting_leaves_the_path_as_it_is(trained):
    first, other = small(widths="0.5-1").sample(2, seed=5)
    trained.eval().set_architecture(first)
    x = batch()
    before = trained(x)
    trained.extract(other)
    assert torch.equal(trained(x), before)
    trained.set_architecture(None)


def test_built_and_extracted_networks_are_one_kind_of_ordinary_modules():
    space = small()
    supernet = space.supernet(SHAPE, 5)
    for architecture in space.sample(5, seed=6):
        built, extracted = space.build(architecture, SHAPE, 5), supernet.extract(architecture)
        assert str(built) == str(extracted)
        assert not any(isinstance(m, Elastic) for m in built.modules())
        for (name, mine), (other, theirs) in zip(
            built.state_dict().items(), extracted.state_dict().items(), strict=True
        ):
            assert name == other and mine.shape == theirs.shape
            assert mine.dim() != 4 or mine.is_contiguous(memory_format=torch.channels_last)
            assert theirs.stride() == mine.stride()


def test_choices_reach_the_network():
    space = mobilenet()
    choices = {
        "stage1.width": 16,
        "stage1.depth": 1,
        "stage1.block1.expansion": 4,
        "stage1.block1.kernel": 7,
        "stage1.block1.squeeze": "yes",
        "stage2.width": 24,
        "stage2.depth": 2,
        "stage2.block1.expansion": 3,
        "stage2.block1.kernel": 3,
        "stage2.block1.squeeze": "no",
        "stage2.block2.expansion": 6,
        "stage2.block2.kernel": 5,
        "stage2.block2.squeeze": "no",
        "stage3.width": 40,
        "stage3.depth": 1,
        "stage3.block1.expansion": 6,
        "stage3.block1.kernel": 3,
        "stage3.block1.squeeze": "yes",
    }
    network = space.build(space.architecture(choices), (1, 28, 28), 10)
    blocks = [m for m in network.modules() if isinstance(m, InvertedResidual)]
    convolutions = [m.depthwise[0] for m in blocks]
    assert [c.kernel_size[0] for c in convolutions] == [7, 3, 5, 3]
    assert [c.stride[0] for c in convolutions] == [1, 2, 1, 2]
    assert [c.out_channels for c in convolutions] == [64, 48, 144, 144]
    assert [c.groups for c in convolutions] == [64, 48, 144, 144]
    assert [b.project[0].out_channels for b in blocks] == [16, 24, 24, 40]
    assert [b.shortcut for b in blocks] == [False, False, True, False]
    assert [len(b.squeeze) for b in blocks] == [1, 0, 0, 1]
    gates = [m for m in network.modules() if isinstance(m, SqueezeExcitation)]
    assert [g.reduce.out_features for g in gates] == [squeezed(64), squeezed(144)] == [16, 40]
    assert network.stem[0].stride == (2, 2) and network.classifier.weight.shape == (10, 128)


def test_the_default_space():
    space = mobilenet()
    # 18 blocks of a stage's first, and as many below each depth.
    assert space.size() == (18 + 18**2 + 18**3) ** 3
    assert load_space("mobilenet").fingerprint == space.fingerprint
    assert mobilenet(**space.config).fingerprint == space.fingerprint
    assert mobilenet(kernels=(7, 3, 5)).fingerprint == space.fingerprint


def test_a_block_beyond_the_depth_has_no_choices():
    space = small()
    for architecture in space.sample(30, seed=4):
        for stage in ("stage1", "stage2"):
            deep = f"{stage}.block2.kernel" in architecture
            assert deep == (architecture[f"{stage}.depth"] == 2)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(
    sides=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    widths=st.sampled_from([1, "0.5-1-1.5"]),
    seed=st.integers(0, 99),
)
def test_costs_add_up_for_any_input(sides, strides, widths, seed):
    space = small(strides=strides, widths=widths, stem_stride=strides[0])
    shape = (2, *sides)
    tables = space.cost_tables(shape, 4)
    for architecture in space.sample(3, seed):
        for metric, cost in counted(space.build(architecture, shape, 4), shape).items():
            found = tables[metric].cost(architecture)
            assert found == cost if widths == 1 else 0 < found <= cost


def test_limits_are_kept_by_exact_draws():
    space = mobilenet()
    shape = (1, 28, 28)
    limit = space.limit(["params<=40000", "macs<=2e6"], shape, 10)
    assert all(table.exact for table in limit.tables.values())
    drawn = space.sample(40, 1, limit)
    assert len(set(drawn)) > 30
    for architecture in drawn[:5]:
        found = counted(space.build(architecture, shape, 10), shape)
        assert found["params"] <= 40000 and found["macs"] <= 2e6
    with refused("params"):
        space.sample(1, 0, space.limit(["params<=1000"], shape, 10))


def test_counting_costs_draws_nothing():
    before = torch.get_rng_state()
    small().cost_tables(SHAPE, 5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("mobilenet:channels=0", ("channels=0",)),
        ("mobilenet:channels=16-x-40", ("channels='16-x-40'",)),
        ("mobilenet:channels=16--40", ("channels='16--40'",)),
        ("mobilenet:channels=16.5-24-40", ("channels='16.5-24-40'", "whole")),
        ("mobilenet:channels=16-24", ("strides=1-2-2", "2 numbers")),
        ("mobilenet:channels=true", ("channels=True",)),
        ("mobilenet:strides=-1", ("strides=-1",)),
        ("mobilenet:kernels=3-4", ("kernels=4", "odd")),
        ("mobilenet:kernels=3-3", ("kernels='3-3'", "twice")),
        ("mobilenet:expansions=0-3", ("expansions='0-3'",)),
        ("mobilenet:expansions=1.5", ("expansions=1.5",)),
        ("mobilenet:depths=0-1", ("depths='0-1'",)),
        ("mobilenet:depths=inf", ("depths=inf",)),
        ("mobilenet:widths=0", ("widths=0",)),
        ("mobilenet:widths=1-nan", ("widths='1-nan'",)),
        ("mobilenet:widths=0.01-0.02", ("'stage1.width'", "twice")),
        ("mobilenet:stem=1.5", ("stem=1.5",)),
        ("mobilenet:stem=8-16", ("stem='8-16'", "one number")),
        ("mobilenet:head=0", ("head=0",)),
        ("mobilenet:stem_stride=false", ("stem_stride=False",)),
        ("mobilenet:cells=4", ("'cells'", "channels, strides")),
    ],
)
def test_bad_sizes_are_refused(text, names):
    with refused(*names):
        load_space(text)


@pytest.mark.parametrize("empty", [(), []])
def test_empty_sizes_are_refused(empty):
    with refused("kernels", "empty"):
        mobilenet(kernels=empty)


@pytest.mark.parametrize("shape", [(), (3,), (3, 8), (3, 8, 8, 8), (0, 8, 8), (3, 0, 8)])
def test_inputs_of_other_dimensions_are_refused(shape):
    space = small()
    for use in (space.supernet, space.cost_tables):
        with refused(shape, "mobilenet"):
            use(shape, 2)
    with refused(shape, "mobilenet"):
        space.build(space.sample(1)[0], shape, 2)
