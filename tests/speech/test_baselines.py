"""The hand-made row."""

import dataclasses

import pytest
import torch

import nas_domains  # noqa: F401
from nas_domains.core.task import load_task
from nas_domains.speech.baselines import baselines, cnn
from tests.speech.make import write_folder


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return load_task(write_folder(tmp_path_factory.mktemp("d"), n=6))


def test_it_has_about_sixty_one_thousand_parameters_with_ten_classes(task):
    made = baselines(dataclasses.replace(task, outputs=10))
    assert {name: sum(p.numel() for p in n.parameters()) for name, n in made.items()} == {
        "cnn": 61_050
    }


@pytest.mark.parametrize("shape", [(1, 40, 66), (1, 8, 1), (2, 9, 31)])
def test_shapes_and_gradients(task, shape):
    network = cnn(dataclasses.replace(task, input_shape=shape, outputs=5))
    out = network(torch.randn(3, *shape))
    assert out.shape == (3, 5)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_same_seed_same_weights(task):
    states = []
    for _ in range(2):
        torch.manual_seed(4)
        states.append(cnn(task).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(s.values() for s in states), strict=True))
