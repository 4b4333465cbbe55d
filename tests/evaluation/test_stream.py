"""The stream: each sample once an epoch, and a batch that depends on the seed and step alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from nas_domains.evaluation.stream import Stream, gather


def split(n):
    return TensorDataset(torch.arange(n).float()[:, None], torch.arange(n))


def labels(stream, step):
    return stream.batch(step)[1].tolist()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 3), st.integers(0, 3))
def test_each_sample_comes_once_an_epoch(n, batch_size, seed, epoch):
    stream = Stream(split(n), batch_size, seed)
    size = min(n, batch_size)
    assert stream.batch_size == size and stream.steps_per_epoch == n // size
    first = epoch * stream.steps_per_epoch
    seen = [y for s in range(stream.steps_per_epoch) for y in labels(stream, first + s)]
    assert len(seen) == len(set(seen)) == n // size * size and set(seen) <= set(range(n))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=10), st.integers(0, 3))
def test_a_batch_does_not_depend_on_what_was_asked_before(steps, seed):
    stream = Stream(split(10), 3, seed)
    for step in steps:
        assert labels(stream, step) == labels(Stream(split(10), 3, seed), step)


def test_a_batch_does_not_touch_global_generators():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    Stream(split(10), 3, 0).batch(4)
    assert torch.equal(torch.rand(1), expected)
    torch.manual_seed(1)
    first = labels(Stream(split(10), 3, 0), 4)
    torch.manual_seed(2)
    assert labels(Stream(split(10), 3, 0), 4) == first


def test_the_order_differs_by_epoch_and_seed():
    epochs = [tuple(labels(Stream(split(30), 30, 0), epoch)) for epoch in range(4)]
    seeds = [tuple(labels(Stream(split(30), 30, seed), 0)) for seed in range(4)]
    assert len(set(epochs)) == 4 and len(set(seeds)) == 4
    assert epochs[0] != tuple(range(30))


def test_what_an_epoch_leaves_over_differs():
    stream = Stream(split(10), 4, 0)
    left = {
        frozenset(range(10)) - {*labels(stream, 2 * e), *labels(stream, 2 * e + 1)}
        for e in range(6)
    }
    assert len(left) > 1, "no sample is left out for good"


def test_a_split_smaller_than_a_batch_is_one_batch():
    stream = Stream(split(3), 64, 0)
    assert stream.batch_size == 3 and stream.steps_per_epoch == 1
    assert [sorted(labels(stream, step)) for step in range(3)] == [[0, 1, 2]] * 3


def test_a_part_of_the_split():
    stream = Stream(split(20), 2, 0, indices=[3, 5, 8, 13])
    assert sorted(labels(stream, 0) + labels(stream, 1)) == [3, 5, 8, 13]


def test_x_belongs_to_y():
    x, y = Stream(split(20), 7, 0).batch(1)
    assert torch.equal(x[:, 0].long(), y) and x.shape == (7, 1)


class Own:
    """A split with a way of its own to make batches."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        pytest.fail("batch() saves the single samples")

    def batch(self, indices):
        return torch.tensor(indices)[:, None], torch.tensor(indices)


def test_a_splits_own_batch_is_used():
    x, y = gather(Own(), [2, 0])
    assert x.tolist() == [[2], [0]] and y.tolist() == [2, 0]
    assert sorted(labels(Stream(Own(), 4, 0), 0)) == [0, 1, 2, 3]
