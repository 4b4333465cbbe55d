"""Augmentation: pure in its generator, shapes and labels kept, pixels only moved."""

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas_domains.core.errors import UsageError
from nas_domains.data.augment import STEPS, Chain, cutout, flip, parse_augment, shift
from tests.make import one_sentence

shapes = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 20), st.integers(1, 20))
chains = st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=3, unique=True)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(shape: tuple[int, ...]) -> torch.Tensor:
    """Every pixel of every sample has a value of its own."""
    return 1 + torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)


@given(shapes, chains, st.integers(0, 2**31))
def test_same_seed_same_bits_and_nothing_else_changes(shape, names, seed):
    x, y = images(shape), torch.arange(shape[0])
    before, global_state = x.clone(), torch.get_rng_state()
    chain = parse_augment(",".join(names))
    first, labels = chain(x, y, seeded(seed))
    second, _ = chain(x, y, seeded(seed))
    assert torch.equal(first, second) and first.shape == x.shape and first.dtype == x.dtype
    assert labels is y and torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), global_state)


@given(shapes, chains, st.integers(0, 2**31))
def test_pixels_come_from_their_own_sample_and_channel(shape, names, seed):
    x = images(shape)
    out, _ = Chain(tuple(names))(x, torch.zeros(shape[0]), seeded(seed))
    for b in range(shape[0]):
        for c in range(shape[1]):
            assert set(out[b, c].unique().tolist()) <= {0.0, *x[b, c].flatten().tolist()}


@given(shapes, st.integers(0, 2**31))
def test_the_same_flip_twice_is_none(shape, seed):
    x = images(shape)
    assert torch.equal(flip(flip(x, seeded(seed)), seeded(seed)), x)


@given(st.integers(0, 2**31))
def test_shift_is_a_crop_of_the_reflected_image(seed):
    x = images((4, 2, 16, 24))
    out = shift(x, seeded(seed))
    padded = torch.nn.functional.pad(x, (3, 3, 2, 2), mode="reflect")
    for b in range(4):
        crops = [padded[b, :, i : i + 16, j : j + 24] for i in range(5) for j in range(7)]
        assert any(torch.equal(out[b], crop) for crop in crops)


def test_all_offsets_and_both_sides_occur_evenly():
    x = images((1, 1, 8, 8)).expand(2000, -1, -1, -1)
    rows = shift(x, seeded(0))[:, 0, 3, 3]
    values, counts = rows.unique(return_counts=True)
    assert len(values) == 9 and counts.min() > 2000 / 9 * 0.75
    mirrored = (flip(x, seeded(0))[:, 0, 0, 0] == 8).float().mean()
    assert 0.45 < mirrored < 0.55


def test_cutout_zeroes_at_most_a_square_of_half_the_height():
    out = cutout(torch.ones(500, 1, 16, 16), seeded(0))
    holes = (out == 0).sum((1, 2, 3))
    assert holes.max() == 64 and holes.min() >= 16


def test_samples_of_a_batch_are_drawn_independently():
    x = images((1, 1, 32, 32)).expand(64, -1, -1, -1)
    assert len({tuple(sample.flatten().tolist()) for sample in shift(x, seeded(0))}) > 20


def test_a_generator_copied_midway_goes_on_with_the_same_bits():
    chain, x, y = parse_augment("shift,flip,cutout"), images((8, 1, 12, 12)), torch.zeros(8)
    generator = seeded(5)
    chain(x, y, generator)
    resumed = torch.Generator()
    resumed.set_state(copy.deepcopy(generator.get_state()))
    assert torch.equal(chain(x, y, generator)[0], chain(x, y, resumed)[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_batches_get_the_same_bits_from_a_cpu_generator():
    chain, x, y = parse_augment("shift,flip,cutout"), images((8, 3, 32, 32)), torch.zeros(8)
    expected = chain(x, y, seeded(1))[0]
    assert torch.equal(chain(x.cuda(), y.cuda(), seeded(1))[0].cpu(), expected)


def test_option():
    assert parse_augment("none") is None and parse_augment(None) is None
    assert parse_augment("") is None
    chain = parse_augment(" Shift, flip")
    assert chain == Chain(("shift", "flip")) and pickle.loads(pickle.dumps(chain)) == chain


@pytest.mark.parametrize("text", ["rotate", "shift,none", "flip,flip", "shift,,flip", ","])
def test_bad_option_is_one_sentence(text):
    with pytest.raises(UsageError) as caught:
        parse_augment(text)
    one_sentence(str(caught.value), repr(text))
