"""The hand-made rows."""

import dataclasses

import pytest
import torch

from nas_domains.core.task import load_task
from nas_domains.vision.baselines import baselines, resnet18
from tests.data.make import write_npz


@pytest.fixture
def task(tmp_path):
    return load_task(write_npz(tmp_path / "a.npz"))


def test_a_quarter_has_seven_tenths_of_a_million_parameters(task):
    made = baselines(task)
    assert list(made) == ["resnet18-quarter"]
    assert 0.65e6 < sum(p.numel() for p in made["resnet18-quarter"].parameters()) < 0.75e6


def test_full_width_is_the_published_network(task):
    imagenet = dataclasses.replace(task, input_shape=(3, 224, 224), outputs=1000)
    assert sum(p.numel() for p in resnet18(imagenet).parameters()) == 11_689_512


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 64, 64), (3, 65, 65), (2, 3, 5), (1, 224, 160)])
def test_shapes_and_gradients(task, shape):
    network = resnet18(dataclasses.replace(task, input_shape=shape, outputs=5), width=0.125)
    out = network(torch.randn(3, *shape))
    assert out.shape == (3, 5)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_the_stem_follows_the_size(task):
    small = dataclasses.replace(task, input_shape=(1, 64, 64))
    large = dataclasses.replace(task, input_shape=(1, 64, 96))
    assert not hasattr(resnet18(small, 0.25), "pool") and hasattr(resnet18(large, 0.25), "pool")


def test_same_seed_same_weights(task):
    states = []
    for _ in range(2):
        torch.manual_seed(4)
        states.append(resnet18(task, 0.25).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(s.values() for s in states), strict=True))
