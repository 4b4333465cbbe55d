"""Why the winner won: importances, one choice left out, and the runner-up."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas_domains.core.architecture import Architecture
from nas_domains.core.history import Record
from nas_domains.core.space import Choice, SearchSpace
from nas_domains.evaluation.context import Context
from nas_domains.evaluation.explain import LEAST, explain, importance, left_out
from nas_domains.testing.samplers import conditional_space
from tests.make import Widths, make_context

SPACE = SearchSpace("three", [Choice(n, (0, 1, 2)) for n in ("much", "little", "none")])


def score(architecture: Architecture) -> float:
    return float(architecture["much"]) + 0.1 * float(architecture["little"])


def test_the_choice_that_matters_explains_most_of_the_variance() -> None:
    found = importance(SPACE, {a: score(a) for a in SPACE}, seed=1)
    assert found is not None and list(found) == ["much", "little", "none"]
    for kind in ("fanova", "ped_anova"):
        means = [found[name][kind]["mean"] for name in found]
        assert sum(means) == pytest.approx(1, abs=1e-6) and min(means) == means[2]
    assert all(share["std"] >= 0 for kinds in found.values() for share in kinds.values())
    # Most of the variance is that of "much": 100 times that of "little".
    assert found["much"]["fanova"]["mean"] > 0.95


def test_importances_scatter_more_where_less_was_scored() -> None:
    rng = np.random.default_rng(0)
    space = SearchSpace("six", [Choice(f"c{i}", (0, 1, 2)) for i in range(6)])
    scored = {a: float(sum(a.values())) + rng.normal() for a in space.sample(90, 0)}
    few = importance(space, dict(list(scored.items())[:15]), seed=0)
    many = importance(space, scored, seed=0)
    assert few is not None and many is not None
    spread = [np.mean([s["fanova"]["std"] for s in found.values()]) for found in (few, many)]
    assert spread[0] > spread[1]


def test_too_few_or_equal_scores_have_no_importance() -> None:
    few = {a: score(a) for a in SPACE.sample(200, 0)[:3]}
    assert importance(SPACE, few, 0) is None
    assert importance(SPACE, dict.fromkeys(SPACE, 1.0), 0) is None


def test_choices_that_are_switched_off_count_too() -> None:
    space = conditional_space()
    scored = {a: 1.0 * (a["kind"] == "conv") + 0.01 * float(a["width"]) for a in space}
    found = importance(space, scored, 0)
    assert found is not None and set(found) == {"kind", "kernel", "groups", "width"}
    best = max(scored, key=lambda a: scored[a])
    rows = {row["choice"]: row for row in left_out(space, scored, best, 0)}
    assert set(rows) == set(best)
    assert all(other["loss"] > 0.5 for other in rows["kind"]["others"])


def test_one_choice_left_out_is_measured_where_it_was_scored_and_else_predicted() -> None:
    best = SPACE.architecture({"much": 2, "little": 2, "none": 0})
    near = SPACE.architecture({"much": 2, "little": 1, "none": 0})
    scored = {
        a: score(a)
        for a in SPACE
        if sum(x != y for x, y in zip(a.values(), best.values(), strict=True)) != 1
    }
    scored |= {near: score(near)}
    rows = {row["choice"]: row for row in left_out(SPACE, scored, best, 0)}
    others = {o["option"]: o for o in rows["little"]["others"]}
    assert others[1] == {
        "option": 1,
        "loss": pytest.approx(0.1),
        "std": None,
        "source": "measured",
    }
    assert others[0]["source"] == "predicted"
    for option, loss in ((0, 2.0), (1, 1.0)):
        other = next(o for o in rows["much"]["others"] if o["option"] == option)
        assert other["source"] == "predicted" and other["std"] > 0
        assert abs(other["loss"] - loss) < max(3 * other["std"], 0.3)
    assert all(abs(o["loss"]) < 0.3 for o in rows["none"]["others"])
    # Too few teach a predictor nothing.
    assert left_out(SPACE, {best: 2.2, near: 2.1}, best, 0) == [
        {"choice": "little", "option": 2, "others": [others[1]]}
    ]


def searched(context: Context, scores: list[tuple[float, int]], **detail: float) -> list[Record]:
    """Records of the first architectures with an accuracy and parameters each."""
    return [
        Record("search", step, dict(a), {"epochs": 1}, {"accuracy": v, "params": p}, 1.0, detail)
        for step, (a, (v, p)) in enumerate(zip(context.space, scores, strict=False), 1)
    ]


def explained(context: Context, records: list[Record], step: int) -> dict:
    worths = [context.goal.score(r.metrics) for r in records]
    found = explain(context, records, worths, records[step - 1])
    assert found is not None
    return found


def test_the_runner_up_keeps_the_limits_and_chance_is_stated(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths(), objectives=("accuracy", "params<=100"))
    records = searched(context, [(0.9, 500), (0.8, 50), (0.79, 60), (0.5, 10)])
    second = explained(context, records, 2)["runner_up"]
    assert second["step"] == 3 and second["over_limit"] == 1
    assert second["differs_in"] and second["behind_by"] == pytest.approx(0.01)
    # sqrt((0.8 0.2 + 0.79 0.21) / 24)
    assert second["standard_error"] == pytest.approx(0.1165, abs=1e-4)
    assert "24 samples" in second["why"] and "less than one standard error" in second["why"]
    assert "1 that scored higher than the winner break a limit" in second["why"]
    clear = explained(context, searched(context, [(0.9, 9), (0.1, 9)]), 1)["runner_up"]
    assert "more than two standard errors" in clear["why"] and clear["over_limit"] == 0
    tied = explained(context, searched(context, [(0.5, 9), (0.5, 9)]), 2)["runner_up"]
    assert "as well" in tied["why"]
    alone = explained(context, searched(context, [(0.5, 9), (0.9, 999)]), 1)
    assert alone["runner_up"] is None and alone["n"] == 2 < LEAST


def test_chance_is_that_of_the_samples_that_were_scored(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths())
    records = [
        replace(r, detail={"scored": 400}) for r in searched(context, [(0.8, 9), (0.7, 9)])
    ]
    second = explained(context, records, 1)["runner_up"]
    assert second["standard_error"] == pytest.approx(math.sqrt((0.16 + 0.21) / 400))
    assert "of 400 samples" in second["why"]


def test_what_is_not_the_goal_is_named(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths())
    records = searched(context, [(0.8, 9), (0.9, 9)])
    found = explain(context, records, [2.0, 1.0], records[0], "standing")
    assert found is not None and found["metric"] is None and found["worth"] == "standing"
    second = found["runner_up"]
    assert second["standard_error"] is None and "worse by 1 (standing)" in second["why"]


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_size_of_scores_does_not_matter(scale: float) -> None:
    scored = {a: score(a) for a in SPACE}
    found = importance(SPACE, {a: scale * v for a, v in scored.items()}, 0)
    assert found is not None and found["much"]["fanova"]["mean"] > 0.5


def test_epochs_of_a_supernet_and_other_fidelities_explain_nothing(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths())
    records = searched(context, [(0.5, 9), (0.6, 9)], train_loss=0.1)
    assert explain(context, records, [0.5, 0.6], records[1]) is None
    records = searched(context, [(0.5, 9), (0.6, 9)])
    other = Record("search", 3, records[0].architecture, {"epochs": 2}, {"accuracy": 1.0}, 1.0)
    assert explain(context, [other, records[1]], [1.0, 0.6], records[1]) is None
    assert explained(context, [*records, other], 2)["runner_up"]["step"] == 1
