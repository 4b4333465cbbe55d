"""Budgets: times, counts, and what is neither."""

import pytest

from nas_domains.core.budget import Budget
from tests.core.refusal import refused


@pytest.mark.parametrize(
    ("text", "seconds", "counts"),
    [
        ("90s", 90.0, {}),
        ("10m", 600.0, {}),
        ("1.5h", 5400.0, {}),
        (" 2m ", 120.0, {}),
        ("epochs=20", None, {"epochs": 20}),
        ("steps=7", None, {"steps": 7}),
        ("trials=50,epochs=5", None, {"trials": 50, "epochs": 5}),
        ("trials=50, epochs=05", None, {"trials": 50, "epochs": 5}),
    ],
)
def test_good_budgets(text, seconds, counts):
    budget = Budget.parse(text)
    assert (budget.seconds, budget.counts, budget.text) == (seconds, counts, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "m",
        "0s",
        "0.0h",
        "-1m",
        "1d",
        "10 m",
        "1e3s",
        "infs",
        "9" * 400 + "h",
        "epochs",
        "epochs=",
        "epochs=0",
        "epochs=-1",
        "epochs=1.5",
        "epochs=²",
        "epochs=" + "9" * 5000,
        "epochs=1,",
        "epochs=1,epochs=2",
        "epoch=1",
        "10m,epochs=2",
        "trials=5 epochs=2",
    ],
)
def test_bad_budgets_are_refused(text):
    with refused(repr(text)):
        Budget.parse(text)


def test_only_the_counts_that_fit_here():
    budget = Budget.parse("trials=5,epochs=2")
    assert budget.only("trials", "epochs") == {"trials": 5, "epochs": 2}
    with refused("'trials=5,epochs=2'", "epochs=N or steps=N"):
        budget.only("epochs", "steps")
    assert Budget.parse("10m").only("epochs") == {}


def test_a_time_becomes_the_nearest_number_of_units():
    budget = Budget.parse("10s")
    assert budget.fit(1.0) == 10
    assert budget.fit(3.0) == 3
    assert budget.fit(4.0) == 3, "2.5 rounds up"
    assert budget.fit(100.0) == 1, "one unit is always run"
    assert budget.fit(0.0) > 10**9, "a unit too short to measure divides by no zero"
