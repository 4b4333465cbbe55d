"""The space ``keyword``: the contracts, its supernet against its networks, its costs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import nas_domains  # noqa: F401
from nas_domains.core.space_text import load_space
from nas_domains.hardware.cost import counted
from nas_domains.nn.broadcast import BroadcastBlock
from nas_domains.nn.elastic.base import Elastic
from nas_domains.speech.keyword import keyword
from nas_domains.testing.supernets import SupernetContract
from tests.core.refusal import refused

SMALL = {"channels": "4-6", "strides": "1-2", "stem": 4, "depths": "0-1-2", "kernels": "3-5"}
SHAPE = (1, 12, 9)


def small(**sizes):
    return keyword(**{**SMALL, **sizes})


class TestKeyword(SupernetContract):
    input_shapes = (SHAPE, (1, 8, 8), (2, 5, 1))
    samples = 20

    def make_space(self):
        return small()

    def other_space(self):
        return small(stem=6)


class TestOneStage(SupernetContract):
    """Every option of a choice counts: this space is enumerated."""

    input_shapes = ((1, 6, 6),)

    def make_space(self):
        return small(channels=8, strides=1, kernels="1-3", expansions="0.5-2", depths="1")


@pytest.fixture(scope="module")
def trained():
    """A supernet in float64, whose statistics and gains are no longer the first."""
    torch.manual_seed(0)
    supernet = small().supernet(SHAPE, 5).double()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in supernet.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_var):
                    tensor.add_(torch.rand(tensor.shape, generator=g, dtype=torch.float64))
    return supernet


def test_extracted_networks_compute_what_the_supernet_does(trained):
    x = torch.randn((4, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for architecture in small().sample(20, seed=2):
        network = trained.extract(architecture)
        trained.set_architecture(architecture)
        for training in (False, True, False):
            with torch.no_grad():
                mine, theirs = (n.train(training)(x) for n in (trained, network))
            assert (mine - theirs).abs().max() < 1e-10


def test_only_the_weights_of_the_path_learn(trained):
    space = small()
    architecture = space.sample(1, seed=3)[0]
    network = trained.extract(architecture).train()
    trained.train().set_architecture(architecture)
    x = torch.randn((4, *SHAPE), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    totals = []
    for module in (trained, network):
        module.zero_grad()
        module(x).square().sum().backward()
        used = [p.grad for p in module.parameters() if p.grad is not None]
        totals.append(sum(float(gradient.abs().sum()) for gradient in used))
    assert totals[0] == pytest.approx(totals[1], rel=1e-9)
    trained.set_architecture(None)


def test_built_and_extracted_networks_are_one_kind_of_ordinary_modules():
    space = small()
    supernet = space.supernet(SHAPE, 5)
    for architecture in space.sample(4, seed=6):
        built, extracted = space.build(architecture, SHAPE, 5), supernet.extract(architecture)
        assert str(built) == str(extracted)
        assert not any(isinstance(m, Elastic) for m in built.modules())


def test_choices_reach_the_network():
    space = small(expansions="1-3", kernels="3-7")
    choices = {
        "stage1.depth": 1,
        "stage1.block1.broadcast": "yes",
        "stage1.block1.kernel": 7,
        "stage1.block1.expansion": 3,
        "stage1.block1.squeeze": "no",
        "stage2.depth": 2,
        "stage2.block1.broadcast": "no",
        "stage2.block1.kernel": 3,
        "stage2.block1.expansion": 1,
        "stage2.block1.squeeze": "yes",
        "stage2.block2.broadcast": "yes",
        "stage2.block2.kernel": 3,
        "stage2.block2.expansion": 3,
        "stage2.block2.squeeze": "yes",
    }
    network = space.build(space.architecture(choices), SHAPE, 3)
    blocks = [m for m in network.modules() if isinstance(m, BroadcastBlock)]
    assert [len(b.pool) for b in blocks] == [1, 0, 1]
    assert [b.time[0].kernel_size for b in blocks] == [(1, 7), (1, 3), (1, 3)]
    assert [b.mix[0].out_channels for b in blocks] == [12, 6, 18]
    assert [len(b.squeeze) for b in blocks] == [0, 1, 1]


def test_the_default_space_reaches_from_two_to_sixty_thousand_parameters():
    space, shape = keyword(), (1, 40, 66)
    assert space.size() == (1 + 48 + 48**2) ** 3
    assert load_space("keyword").fingerprint == space.fingerprint
    assert keyword(**space.config).fingerprint == space.fingerprint
    ends = [counted(space.build(a, shape, 10), shape) for a in (space.smallest(), space.largest())]
    assert [end["params"] for end in ends] == [2226, 68_090]
    assert ends[0]["macs"] < ends[1]["macs"]


@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    sides=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    depths=st.sampled_from(["0-1", "1-2", "2"]),
    seed=st.integers(0, 99),
)
def test_costs_add_up_for_any_input(sides, strides, depths, seed):
    space = small(strides=strides, depths=depths, stem_stride=strides[0], kernels="3-5")
    shape = (1, *sides)
    tables = space.cost_tables(shape, 4)
    for architecture in space.sample(2, seed):
        for metric, cost in counted(space.build(architecture, shape, 4), shape).items():
            assert tables[metric].exact and tables[metric].cost(architecture) == cost


def test_limits_are_kept_by_exact_draws():
    space, shape = small(), SHAPE
    limit = space.limit(["params<=1200", "macs<=30000"], shape, 10)
    drawn = space.sample(20, 1, limit)
    assert len(set(drawn)) > 10
    for architecture in drawn[:4]:
        found = counted(space.build(architecture, shape, 10), shape)
        assert found["params"] <= 1200 and found["macs"] <= 30000
    with refused("params"):
        space.sample(1, 0, space.limit(["params<=100"], shape, 10))


def test_counting_costs_draws_nothing():
    before = torch.get_rng_state()
    small().cost_tables(SHAPE, 5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("keyword:channels=0", ("channels=0",)),
        ("keyword:channels=16-x-40", ("channels='16-x-40'",)),
        ("keyword:channels=16.5-24-40", ("channels='16.5-24-40'", "whole")),
        ("keyword:channels=16-24", ("strides=1-2-2", "2 numbers")),
        ("keyword:channels=true", ("channels=True",)),
        ("keyword:strides=-1", ("strides=-1",)),
        ("keyword:kernels=3-4", ("kernels=4", "odd")),
        ("keyword:kernels=3-3", ("kernels='3-3'", "twice")),
        ("keyword:expansions=0-3", ("expansions='0-3'",)),
        ("keyword:expansions=0.01-0.02", ("expansions='0.01-0.02'", "the same")),
        ("keyword:depths=0", ("depths=0", "no blocks")),
        ("keyword:depths=-1-2", ("depths='-1-2'",)),
        ("keyword:depths=inf", ("depths=inf",)),
        ("keyword:stem=8-16", ("stem='8-16'", "one number")),
        ("keyword:stem=1.5", ("stem=1.5",)),
        ("keyword:stem_stride=false", ("stem_stride=False",)),
        ("keyword:cells=4", ("'cells'", "channels, strides")),
    ],
)
def test_bad_sizes_are_refused(text, names):
    with refused(*names):
        load_space(text)


def test_empty_sizes_are_refused():
    with refused("kernels", "empty"):
        keyword(kernels=[])


@pytest.mark.parametrize("shape", [(), (3,), (3, 8), (3, 8, 8, 8), (0, 8, 8), (3, 0, 8)])
def test_inputs_of_other_dimensions_are_refused(shape):
    space = small()
    for use in (space.supernet, space.cost_tables):
        with refused(shape, "keyword"):
            use(shape, 2)
    with refused(shape, "keyword"):
        space.build(space.sample(1)[0], shape, 2)
