"""Entities: what they are by their tags, and their F1."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.text.entities import EntityF1, entities, has_entities

TAGS = ["O", *(f"{place}-{kind}" for place in "BIES" for kind in ("PER", "LOC"))]


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("", []),
        ("O O", []),
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        # A lone I begins an entity, and so does another kind.
        ("O I-PER I-PER I-LOC", [("PER", 1, 3), ("LOC", 3, 4)]),
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("S-PER E-LOC I-LOC", [("PER", 0, 1), ("LOC", 1, 2), ("LOC", 2, 3)]),
        ("B-PER I-PER E-PER I-PER", [("PER", 0, 3), ("PER", 3, 4)]),
        ("U-PER B-LOC L-LOC", [("PER", 0, 1), ("LOC", 1, 3)]),
        ("B I O I", [("", 0, 2), ("", 3, 4)]),
        ("B-a-b I-a-b", [("a-b", 0, 2)]),
    ],
)
def test_entities_are_those_of_conll(tags, found):
    assert entities(tags.split()) == found


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(TAGS), max_size=12))
def test_entities_cover_all_that_is_not_outside_once(tags):
    covered = [i for _, start, end in entities(tags) for i in range(start, end)]
    assert covered == [i for i, tag in enumerate(tags) if tag != "O"]
    for kind, start, end in entities(tags):
        assert {tag[2:] for tag in tags[start:end]} == {kind}


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["A", "B", ""]), st.integers(1, 3)), max_size=6))
def test_what_is_written_in_iob2_is_found(spans):
    tags, expected = [], []
    for kind, n in spans:
        if kind:
            expected.append((kind, len(tags), len(tags) + n))
        tags += [f"B-{kind}", *[f"I-{kind}"] * (n - 1)] if kind else ["O"] * n
    assert entities(tags) == expected


def test_which_tags_are_those_of_entities():
    assert has_entities(("B-PER", "I-PER", "O")) and has_entities(("B", "I", "O"))
    assert not has_entities(("NN", "O")) and not has_entities(("B-PER", "I-PER"))
    assert not has_entities(("O",)) and not has_entities(("ADP", "DET"))


def scores(rows, classes):
    return torch.nn.functional.one_hot(torch.tensor(rows), classes).transpose(1, 2).float()


def test_f1_counts_whole_entities_and_no_ignored_tokens():
    metric = EntityF1(("B-PER", "I-PER", "O"))
    y = torch.tensor([[-100, 0, -100, 1, 2, -100], [-100, 0, 2, 0, -100, -100]])
    # The first entity is found whole, of the two of the second text one, and one is made up.
    said = [[2, 0, 0, 1, 2, 0], [0, 0, 0, 2, 2, 2]]
    metric.update(scores(said, 3), y)
    assert float(metric.compute()) == pytest.approx(2 * 2 / (3 + 3))
    metric.update(scores([[0, 1, 1]], 3), torch.tensor([[0, 1, 1]]))
    assert float(metric.compute()) == pytest.approx(2 * 3 / (4 + 4))
    metric.reset()
    metric.update(scores([[2, 2]], 3), torch.tensor([[2, 2]]))
    assert math.isnan(metric.compute())
