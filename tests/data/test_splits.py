"""Splits: disjoint, complete, repeatable, stratified, never through a group."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_domains.core.errors import UsageError
from nas_domains.data.splits import halve, split_indices

labels_of = st.lists(st.integers(0, 4), min_size=6, max_size=80)


@given(labels_of, st.integers(0, 99), st.sampled_from(["random", "sorted"]))
def test_parts_are_disjoint_complete_and_repeatable(labels, seed, order):
    fractions = (0.6, 0.2, 0.2)
    try:
        parts = split_indices(labels, fractions=fractions, seed=seed, order=order)
    except UsageError:
        # Only samples that all stand alone in their class may be too few.
        assert np.unique(labels, return_counts=True)[1].max() < 3
        return
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    assert all(len(part) and (np.diff(part) > 0).all() for part in parts)
    again = split_indices(labels, fractions=fractions, seed=seed, order=order)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))
    for label, number in zip(*np.unique(labels, return_counts=True), strict=True):
        held = [(np.array(labels)[part] == label).sum() for part in parts]
        assert held[0] >= 1
        if number >= 3:
            assert min(held) >= 1
        for count, fraction in zip(held, fractions, strict=True):
            assert abs(count - fraction * number) <= 2


@given(st.data(), st.integers(0, 99), st.sampled_from(["random", "sorted"]))
def test_groups_are_never_divided(data, seed, order):
    labels = np.array(data.draw(labels_of))
    groups = np.array([f"p{data.draw(st.integers(0, 12))}" for _ in labels])
    try:
        parts = split_indices(labels, groups, fractions=(0.7, 0.3), seed=seed, order=order)
    except UsageError as error:
        assert "too few" in str(error)
        return
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    assert not set(groups[parts[0]]) & set(groups[parts[1]])
    assert set(labels[parts[0]]) == set(labels)


def test_patients_numbered_by_diagnosis_are_still_stratified():
    groups = np.repeat([f"P{i:02d}" for i in range(40)], 5)
    labels = (np.arange(200) >= 100).astype(int)
    train, test = split_indices(labels, groups, fractions=(0.8, 0.2), order="sorted")
    assert len(test) == 40 and labels[test].mean() == 0.5
    assert set(groups[test]) == {f"P{i:02d}" for i in (16, 17, 18, 19, 36, 37, 38, 39)}
    assert len(train) == 160


def test_a_speaker_who_says_every_word_counts_once():
    labels = np.tile(np.arange(10), 12)
    groups = np.repeat(np.arange(6), 20)
    train, test = split_indices(labels, groups, fractions=(5 / 6, 1 / 6), order="sorted")
    assert set(groups[test]) == {5} and len(train) == 100


def test_sorted_takes_the_end_of_each_class_or_of_the_whole():
    labels = np.repeat([0, 1], 10)
    _, test = split_indices(labels, fractions=(0.8, 0.2), order="sorted")
    assert test.tolist() == [8, 9, 18, 19]
    _, test = split_indices(labels, fractions=(0.8, 0.2), order="sorted", by_class=False)
    assert test.tolist() == [16, 17, 18, 19]


def test_seeds_differ_and_rounding_does_not_add_up():
    labels = np.repeat(np.arange(50), 7)
    first, _ = halve(labels, seed=0)
    other, _ = halve(labels, seed=1)
    assert first.tolist() != other.tolist()
    assert abs(len(first) - 175) <= 1


def test_rare_classes_do_not_take_the_share_of_common_ones():
    labels = np.concatenate([np.repeat(np.arange(100), 2), np.full(500, 100)])
    _, test = split_indices(labels, fractions=(0.8, 0.2))
    assert (labels[test] == 100).sum() >= 99


def test_a_single_sample_of_a_class_is_trained_on():
    labels = [0] * 10 + [1]
    first, second = halve(labels, seed=3)
    assert 10 in first and 10 not in second


@pytest.mark.parametrize(
    ("labels", "groups", "fractions", "said"),
    [
        ([0, 1, 0, 1], ["a"] * 4, (0.5, 0.5), "too few"),
        ([0], None, (0.5, 0.5), "too few"),
        ([0, 1], ["a"], (0.5, 0.5), "2 labels but 1 groups"),
        ([0, 1], None, (0.5, 0.6), "add up to one"),
        ([0, 1], None, (1.5, -0.5), "positive"),
    ],
)
def test_what_cannot_be_divided_is_refused(labels, groups, fractions, said):
    with pytest.raises(UsageError, match=said):
        split_indices(labels, groups, fractions=fractions)
