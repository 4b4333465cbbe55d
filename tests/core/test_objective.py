"""Objectives: how they are read, what they allow, which points they leave on the front."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics import MeanAbsoluteError, R2Score

from nas_domains.core.objective import Objective, pareto, parse_objectives
from tests.core.refusal import refused

METRICS = ("accuracy", "auc", "loss", "my-score")


@pytest.mark.parametrize(
    ("text", "metric", "direction", "limit"),
    [
        ("accuracy", "accuracy", "max", None),
        ("  accuracy ", "accuracy", "max", None),
        ("accuracy>=0.9", "accuracy", "max", 0.9),
        ("loss", "loss", "min", None),
        ("loss<=0.5", "loss", "min", 0.5),
        ("latency_ms<=5", "latency_ms", "min", 5.0),
        ("latency_ms <= 5 ", "latency_ms", "min", 5.0),
        ("params<=1e6", "params", "min", 1e6),
        ("macs<=+3.5E+7", "macs", "min", 3.5e7),
        ("my-score>=-2", "my-score", "max", -2.0),
        ("my-score", "my-score", "max", None),
    ],
)
def test_good_objectives(text, metric, direction, limit):
    assert Objective.parse(text, METRICS) == Objective(metric, direction, limit)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ("''",)),
        ("<=5", ("'<=5'",)),
        ("latency_ms<5", ("'latency_ms<5'",)),
        ("latency_ms=5", ("'latency_ms=5'",)),
        ("latency_ms==5", ("'latency_ms==5'",)),
        ("latency_ms<=", ("'latency_ms<='",)),
        ("latency_ms<=5ms", ("'5ms'",)),
        ("latency_ms<=5 ms", ("'latency_ms<=5 ms'",)),
        ("latency_ms<=<=5", ("'latency_ms<=<=5'",)),
        ("latency_ms<=nan", ("'nan'",)),
        ("latency_ms<=inf", ("'inf'",)),
        ("latency_ms<=1e999", ("'1e999'",)),
        ("latency_ms>=5", ("'latency_ms'", "latency_ms<=5")),
        ("params>=5", ("'params'", "params<=5")),
        ("accuracy<=0.9", ("'accuracy'", "accuracy>=0.9")),
        ("my-score<=0.9", ("'my-score'", "my-score>=0.9")),
        ("acuracy", ("'acuracy'", "accuracy, auc, loss")),
        ("dice", ("'dice'", "accuracy")),
        ("Accuracy", ("'Accuracy'",)),
        ("accuracy,auc", ("'accuracy,auc'",)),
        ("accuracy auc", ("'accuracy auc'",)),
        ("accuracy\nauc", ("'accuracy\\nauc'",)),
    ],
)
def test_bad_objectives_are_refused(text, names):
    with refused(*names):
        Objective.parse(text, METRICS)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["params", "accuracy"]))
@settings(deadline=None, derandomize=True)
def test_text_reads_back_as_the_same_objective(limit, metric):
    objective = Objective(metric, "min" if metric == "params" else "max", limit)
    assert Objective.parse(str(objective), METRICS) == objective


def test_text_is_short_where_it_can_be():
    assert str(Objective("latency_ms", "min", 5.0)) == "latency_ms<=5"
    assert str(Objective("params", "min", 1234567.0)) == "params<=1234567"
    assert str(Objective("accuracy", "max", 0.8)) == "accuracy>=0.8"
    assert str(Objective("accuracy", "max")) == "accuracy"


def test_scores_make_larger_better_and_missing_worst():
    up, down = Objective("accuracy", "max", 0.5), Objective("loss", "min", 0.5)
    assert up.score({"accuracy": 0.25}) == 0.25 and down.score({"loss": 0.25}) == -0.25
    for missing in ({}, {"accuracy": None, "loss": None}, {"accuracy": math.nan}):
        assert up.score(missing) == -math.inf == down.score({**missing, "loss": None})
        assert not up.allows(missing) and not down.allows(missing)
    assert up.allows({"accuracy": 0.5}) and not up.allows({"accuracy": 0.49})
    assert down.allows({"loss": 0.5}) and not down.allows({"loss": 0.51})
    assert Objective("accuracy", "max").allows({})


def test_the_metrics_say_whether_larger_is_better():
    metrics = {"mae": MeanAbsoluteError(), "r2": R2Score()}
    assert Objective.parse("mae", metrics).direction == "min"
    assert Objective.parse("r2", metrics).direction == "max"
    assert Objective.parse("loss", metrics).direction == "min"
    assert Objective.parse("mae<=3", metrics).limit == 3


def test_no_metrics_and_no_objectives_are_nothing():
    assert parse_objectives([], []) == []


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], ["accuracy"]),
        (["auc"], ["auc"]),
        (["latency_ms<=5"], ["accuracy", "latency_ms<=5"]),
        (["latency_ms<=5", "auc"], ["auc", "latency_ms<=5"]),
        (["auc", "accuracy", "params<=10"], ["auc", "accuracy", "params<=10"]),
        # Its limit does not stop the first metric from being what is made large.
        (["accuracy>=0.9"], ["accuracy>=0.9"]),
        (["params<=10", "accuracy>=0.9"], ["accuracy>=0.9", "params<=10"]),
        (["auc>=0.9"], ["accuracy", "auc>=0.9"]),
    ],
)
def test_goals_stand_first_and_one_is_put_in(texts, expected):
    assert [str(o) for o in parse_objectives(texts, METRICS)] == expected


@pytest.mark.parametrize("texts", [["auc", "auc"], ["auc", "loss", "auc>=0.5"]])
def test_a_metric_named_twice_is_refused(texts):
    with refused("'auc'", "twice"):
        parse_objectives(texts, METRICS)


def brute_front(points):
    """The first of equal points, of those that no point betters in one and matches in all."""
    return [
        i
        for i, p in enumerate(points)
        if p not in points[:i]
        and not any(
            all(a >= b for a, b in zip(q, p, strict=True))
            and any(a > b for a, b in zip(q, p, strict=True))
            for q in points
        )
    ]


@given(
    st.integers(1, 3).flatmap(
        lambda n: st.lists(
            st.tuples(*[st.sampled_from([-math.inf, 0.0, 1.0, 2.0, 2.5])] * n), max_size=12
        )
    )
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_pareto_is_the_brute_force_front(points):
    assert pareto(points) == brute_front(points)
