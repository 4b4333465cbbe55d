"""The space of U-Nets, and the hand-made networks beside it."""

import dataclasses

import pytest
import torch

from nas_domains.core.errors import UsageError
from nas_domains.core.space import SearchSpace
from nas_domains.core.task import load_task
from nas_domains.hardware.cost import count_params
from nas_domains.medical.baselines import baselines
from nas_domains.medical.spaces import unet
from nas_domains.testing.supernets import SupernetContract
from tests.data.make import write_npz


class TestUNet(SupernetContract):
    input_shapes = ((1, 18, 20, 17), (2, 9, 7))
    # Views of weights go through other products than their copies.
    rounding = 1e-5
    samples = 20

    def make_space(self) -> SearchSpace:
        return unet(channels="4-6-8", depths="2-3")

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.outputs, *shape[1:])


def test_a_search_begins_with_what_nnu_net_has():
    for sizes in ({}, {"channels": "4-6", "depths": "2"}):
        space = unet(**sizes)
        half, full = space.begin_with()
        assert (half["start"], full["start"]) == ("half", "full")
        for architecture in (half, full):
            shape = space.shape(architecture)
            assert (shape.norm, shape.residual, shape.attention) == ("instance", False, False)
            assert shape.deep
            assert {(level.blocks, level.kernel) for level in shape.levels} == {(2, 3)}


def test_options_ascend_in_cost():
    space = unet()
    sizes = [
        count_params(space.build(architecture, (1, 40, 56, 40), 3))
        for architecture in (space.complete({}, None), space.largest())
    ]
    assert sizes[0] < 10_000 and 250_000 < sizes[1] < 350_000


def test_deep_supervision_is_for_training_alone():
    space = unet(channels="4-6-8-8")
    network = space.build(space.largest(), (1, 32, 32, 32), 2)
    x = torch.randn(1, 1, 32, 32, 32)
    assert network.train()(x).shape == (1, 3, 2, 32, 32, 32)
    assert network.eval()(x).shape == (1, 2, 32, 32, 32)


def test_short_sides_are_not_halved():
    space = unet(channels="4-6-8-8")
    network = space.build(space.largest(), (1, 64, 64, 8), 2)
    seen = []
    for stage in network.encoder:
        stage.register_forward_hook(lambda module, x, out: seen.append(tuple(out.shape[2:])))
    network.eval()(torch.zeros(1, 1, 64, 64, 8))
    assert seen == [(64, 64, 8), (32, 32, 4), (16, 16, 4), (8, 8, 4)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"channels": "16-x"}, "channels='16-x'"),
        ({"kernels": "2"}, "kernels=2"),
        ({"depths": "1-2"}, "depths=1-2"),
        ({"depths": "2-5"}, "depths=2-5"),
        ({"widths": "1-1"}, "twice"),
        ({"blocks": "0"}, "blocks='0'"),
    ],
)
def test_bad_sizes(arguments, said):
    with pytest.raises(UsageError) as caught:
        unet(**arguments)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_other_inputs_are_refused():
    space = unet()
    with pytest.raises(UsageError, match="channels first"):
        space.build(space.sample(1)[0], (3,), 2)


@pytest.fixture(scope="module")
def task(balls):
    return load_task(str(balls))


def test_hand_made_networks_have_a_million_parameters(task):
    made = baselines(task)
    assert list(made) == ["unet", "segresnet", "dynunet"]
    for network in made.values():
        assert 1.1e6 < count_params(network) < 1.2e6
        assert network(torch.zeros(1, *task.input_shape)).shape == (1, 3, 24, 24, 24)


def test_hand_made_classifiers(tmp_path):
    images = load_task(write_npz(tmp_path / "a.npz"), domain="medical")
    volumes = dataclasses.replace(images, input_shape=(1, 20, 20, 20))
    for given in (images, volumes):
        (network,) = baselines(given).values()
        assert network(torch.zeros(2, *given.input_shape)).shape == (2, given.outputs)


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        ("4-6-8", (4, 16, 16, 16)),
        ("4-6-8", (4, 16, 16)),
        ("8-8-8", (1, 4, 4)),
        ("8-8-8", (8, 16, 8)),
    ],
)
def test_the_supernet_covers_where_widths_are_equal(space, shape):
    """A residual block has a convolution beside it only where its widths differ."""
    made = unet(channels=space, depths="2-3")
    supernet = made.supernet(shape, 2).eval()
    x = torch.randn(1, *shape)
    for architecture in made.sample(60):
        supernet.set_architecture(architecture)
        assert supernet(x).shape == (1, 2, *shape[1:])
