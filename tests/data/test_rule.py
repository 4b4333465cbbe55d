"""The split option and what it cuts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_domains.core.errors import UsageError
from nas_domains.data.rule import SplitRule, complete_splits
from tests.make import one_sentence


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (None, SplitRule()),
        ("", SplitRule()),
        ("0.3", SplitRule(test=0.3)),
        (0.25, SplitRule(test=0.25)),
        ("val=0.1,test=0.2", SplitRule(val=0.1, test=0.2)),
        ("random", SplitRule(order="random")),
        (" Test = 0.4 , SORTED ", SplitRule(test=0.4, order="sorted")),
    ],
)
def test_grammar(text, rule):
    assert SplitRule.parse(text) == rule


@pytest.mark.parametrize(
    "text",
    [
        "half",
        "test=",
        "test=x",
        "test=0",
        "1.5",
        "val=nan",
        "train=0.5",
        "val=0.1,val=0.2",
        "random,sorted",
        "val=0.5,test=0.5",
        "0.9",
        ",",
        "val=0.1;test=0.2",
    ],
)
def test_bad_grammar_is_one_sentence(text):
    with pytest.raises(UsageError) as caught:
        SplitRule.parse(text)
    one_sentence(str(caught.value), repr(text))


@given(st.text(max_size=20))
def test_any_text_is_a_rule_or_a_usage_error(text):
    try:
        rule = SplitRule.parse(text)
    except UsageError:
        return
    assert 0 < rule.val_share + rule.test_share < 1


def test_shares_are_of_all_samples():
    labels = np.arange(1000) % 2
    splits, notes = complete_splits("x", labels, {"train": np.arange(1000)}, SplitRule(), 0)
    assert [len(splits[name]) for name in ("train", "val", "test")] == [650, 150, 200]
    assert splits["test"].tolist() == list(range(800, 1000))
    assert len(notes) == 2 and all(note.endswith(".") for note in notes)


def test_the_order_random_draws_the_test():
    labels = np.arange(1000) % 2
    rule = SplitRule.parse("random")
    splits, _ = complete_splits("x", labels, {"train": np.arange(1000)}, rule, 0)
    assert splits["test"].max() > 900 > 100 > splits["test"].min()
    other, _ = complete_splits("x", labels, {"train": np.arange(1000)}, rule, 1)
    assert splits["test"].tolist() != other["test"].tolist()


def test_a_given_test_is_kept_and_only_val_is_cut():
    labels = np.arange(120) % 3
    given_parts = {"train": np.arange(100), "test": np.arange(100, 120)}
    splits, _ = complete_splits("x", labels, given_parts, SplitRule(val=0.1), 0)
    assert splits["test"].tolist() == list(range(100, 120))
    assert len(splits["val"]) == 10 and set(splits["val"]) < set(range(100))


@pytest.mark.parametrize(
    ("text", "said"), [("0.2", "'test'"), ("random", "random"), ("val=0.1", "'val'")]
)
def test_a_given_split_is_not_cut_again(text, said):
    parts = {"train": np.arange(10), "val": np.arange(10, 15), "test": np.arange(15, 20)}
    with pytest.raises(UsageError) as caught:
        complete_splits("x", np.arange(20) % 2, parts, SplitRule.parse(text), 0)
    one_sentence(str(caught.value), said)


def test_a_group_in_two_given_splits_is_refused():
    groups = np.array(["a", "a", "b", "b", "b", "c"])
    parts = {"train": np.arange(3), "test": np.arange(3, 6)}
    with pytest.raises(UsageError, match="group 'b' in both its train and its test"):
        complete_splits("x", np.zeros(6, int), parts, SplitRule(), 0, groups=groups)
