"""Random changes of spectrograms."""

import pytest
import torch

from nas_domains.core.seeds import generator
from nas_domains.data.augment import parse_augment
from nas_domains.data.augment_speech import STEPS, pitch, specaugment, timeshift
from tests.core.refusal import refused


def batch():
    return torch.rand(200, 1, 16, 20, generator=generator(0, "x")) + 1


@pytest.mark.parametrize("name", STEPS)
def test_the_generator_alone_decides(name):
    x = batch()
    before = x.clone()
    first, again, other = (STEPS[name](x, generator(1, place)) for place in "aab")
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == x.shape and torch.equal(x, before), "the batch itself is left alone"
    smallest = torch.ones(2, 1, 1, 1)
    assert STEPS[name](smallest, generator(0)).shape == smallest.shape


@pytest.mark.parametrize(("step", "dim", "reach"), [(timeshift, 3, 2), (pitch, 2, 1)])
def test_moves(step, dim, reach):
    ramp = torch.arange(20.0 if dim == 3 else 16.0)
    shape = [1, 1, 1, 1]
    shape[dim] = len(ramp)
    x = ramp.reshape(shape).expand(200, 1, 16, 20).contiguous()
    moved = step(x, generator(2))
    offset = moved.select(dim, 8) - 8
    assert set(offset.flatten().tolist()) == set(range(-reach, reach + 1))
    expected = (x + offset.unsqueeze(dim)).clamp(0, len(ramp) - 1)
    assert torch.equal(moved, expected), "ends repeat"


def test_specaugment_masks_one_run_of_bands_and_one_of_frames():
    x = batch()
    y = specaugment(x, generator(3))
    changed = y != x
    assert (y[changed] == 0).all()
    bands, frames = changed.all(3)[:, 0], changed.all(2)[:, 0]
    assert torch.equal(changed[:, 0], bands[:, :, None] | frames[:, None, :])
    for mask, most in ((bands, 3), (frames, 4)):
        assert set(mask.sum(1).tolist()) == set(range(most + 1))
        edges = (mask.long().diff(dim=1) == 1).sum(1) + mask[:, 0]
        assert edges.max() == 1, "one run"
        assert mask.any(0).all(), "every place is reached"


def test_names():
    x, y = batch(), torch.zeros(200)
    chain = parse_augment("pitch,specaugment", STEPS)
    g = generator(4)
    expected = specaugment(pitch(x, g), g)
    found, labels = chain(x, y, generator(4))
    assert torch.equal(found, expected) and labels is y
    with refused("'flip'", "timeshift, pitch, specaugment"):
        parse_augment("flip", STEPS)
