"""Selection by trying out."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas_domains.core.errors import UsageError
from nas_domains.core.history import History, Record
from nas_domains.strategies import presets
from nas_domains.strategies.tryout import FINAL, TryOut, choose_tried, standing, tried_of
from nas_domains.testing.strategies import small_context
from nas_domains.vision.spaces import nasbench201

SPACE = nasbench201(1, 4)


def _record(
    step: int,
    loss: float,
    expressivity: float,
    *,
    drawn: bool = False,
    steps: int = 10,
    **metrics: float,
) -> Record:
    detail = {"early_loss": loss, "expressivity": expressivity}
    fidelity = {"epochs": 1, "selection": "try-out", "drawn": drawn, "steps": steps}
    known = {"accuracy": 0.5, "macs": 100.0, **metrics}
    return Record("search", step, {}, fidelity, known, 1.0, detail)


def test_counts_are_in_deviations_of_the_draws() -> None:
    draws = [_record(1, 2.0, 5.0, drawn=True), _record(2, 1.0, 9.0, drawn=True)]
    tried = [*draws, _record(3, 0.5, 11.0)]
    # Draws: losses 1.5 +- 0.5, expressivities 7 +- 2.
    assert standing(tried, tried) == pytest.approx([-2 - 2, 2 + 2, 4 + 4])
    assert standing([], tried) == [] and standing(tried[:1], tried[:1]) == [0.0]
    # Of equals the larger one, in the unit of the draws too.
    sizes = [_record(i, 1.0, 1.0, drawn=True, macs=math.expm1(i)) for i in (2, 4)]
    assert standing(sizes, sizes) == pytest.approx([-1, 1])
    # Longer trainings have lower losses: they compare with each other, in the same unit.
    finals = [_record(4, 0.2, 7.0, steps=40), _record(5, 0.6, 7.0, steps=40)]
    assert standing(finals, tried) == pytest.approx([0.8, -0.8])


def test_one_count_cannot_make_up_for_any_failure_on_the_other() -> None:
    draws = [_record(i, 2.0 + 0.01 * i, 5.0 + i, drawn=True) for i in range(6)]
    tried = [*draws, _record(6, 1e9, 1e6), _record(7, 1.9, 12.0)]
    marks = standing(tried, tried)
    assert marks[6] == 0.0 < marks[7], "no count is better, or worse, than four deviations"


def test_a_draw_that_diverges_does_not_stretch_the_scale() -> None:
    draws = [_record(i, 2.0 + 0.01 * i, 5.0 + i, drawn=True) for i in range(6)]
    rest = _record(8, 1.9, 5.0)
    with_bad = [*draws, _record(7, 1e9, -1e9, drawn=True), rest]
    without = [*draws, rest]
    assert standing(with_bad, with_bad)[-1] == pytest.approx(standing(without, without)[-1])


def test_what_learns_quickly_and_tells_much_apart_wins(tmp_path: Path) -> None:
    context = small_context(tmp_path, SPACE)
    quick, rich, both = _record(1, 1.0, 1.0), _record(2, 3.0, 9.0), _record(3, 1.1, 8.0)
    assert choose_tried(context, [quick, rich, both]) is both
    # The finals have the last word.
    finals = [
        replace(_record(4, 0.8, 1.0, steps=40), architecture={}),
        replace(_record(5, 2.0, 8.0, steps=40), architecture={}),
    ]
    for record in finals:
        record.fidelity["selection"] = "try-out final"  # type: ignore[index]
    assert choose_tried(context, [quick, rich, both, *finals]) is finals[1]
    finals[1].detail["early_loss"] = 9.0  # type: ignore[index]
    assert choose_tried(context, [quick, rich, both, *finals]) is finals[0]


def test_what_exceeds_a_limit_does_not_win(tmp_path: Path) -> None:
    context = small_context(tmp_path, SPACE, objectives=("accuracy", "params<=10"))
    large, small = _record(1, 1.0, 9.0, params=11), _record(2, 2.0, 1.0, params=9)
    assert choose_tried(context, [large, small]) is small
    with pytest.raises(UsageError, match="params<=10"):
        choose_tried(context, [large])


def test_finals_beyond_a_limit_leave_it_to_the_others(tmp_path: Path) -> None:
    context = small_context(tmp_path, SPACE, objectives=("accuracy", "latency_ms<=10"))
    kept, large = _record(1, 1.0, 1.0, latency_ms=9), _record(2, 0.5, 9.0, latency_ms=9)
    final = _record(3, 0.1, 9.0, steps=40, latency_ms=11)
    final = replace(final, fidelity={**final.fidelity, "selection": FINAL})
    assert choose_tried(context, [kept, large, final]) is large


def test_what_a_record_is_worth_is_how_it_stands(tmp_path: Path) -> None:
    context = small_context(tmp_path, SPACE)
    tried = [_record(i, 2.0 - 0.1 * i, 5.0 + i, drawn=True, accuracy=0.1 * i) for i in range(4)]
    final = _record(5, 0.2, 7.0, steps=40, accuracy=0.0)
    final = replace(final, fidelity={**final.fidelity, "selection": FINAL})
    decode = Record("search", 6, {}, {"epochs": 1}, {"accuracy": 1.0}, 1.0)
    for record in (*tried, final, decode):
        context.history.add(record)
    worths = presets.robust().worths(context, [*tried, final, decode])
    assert worths[:4] == standing(tried, tried) and worths[-1] == -math.inf
    assert math.isfinite(worths[4])
    # Those of some are the same.
    assert presets.robust().worths(context, [final]) == [worths[4]]
    assert presets.darts().worths(context, tried) == [0.1 * i for i in range(4)]


def test_a_batch_of_one_is_tried_without_naswot(tmp_path: Path) -> None:
    context = small_context(tmp_path, SPACE)
    context.batch_size = 1
    _, detail = TryOut(context, []).score(SPACE.sample(1, seed=0)[0], 4)
    assert detail["expressivity"] < -1e6 and math.isfinite(detail["expressivity"])


def test_draws_come_first_then_decodes_and_nothing_is_tried_twice(tmp_path: Path) -> None:
    context = small_context(tmp_path, SPACE)
    decodes = SPACE.sample(3, 1)
    tryout = TryOut(context, [decodes[0], decodes[1], decodes[0], decodes[2]])
    tryout.run({"trials": 9, "trial_steps": 2}, None, 0)
    tried = [SPACE.architecture(r.architecture or {}) for r in tried_of(context.history.records)]
    assert [r.fidelity["drawn"] for r in tried_of(context.history.records)] == 3 * [1] + 6 * [0]
    assert tried[3:6] == [decodes[2], decodes[0], decodes[1]]
    assert len(set(tried)) == len(tried) == 9
    finals = tried_of(context.history.records, FINAL)
    assert [r.fidelity["steps"] for r in finals] == [8, 8]
    marks = standing(tried_of(context.history.records), tried_of(context.history.records))
    best = sorted(range(9), key=lambda i: -marks[i])[:2]
    assert [SPACE.architecture(r.architecture or {}) for r in finals] == [tried[i] for i in best]


def test_a_small_space_ends_when_all_is_tried(tmp_path: Path) -> None:
    space = nasbench201(1, 2)
    context = small_context(tmp_path, space)
    smallest = min(
        (space.build(a, (1, 8, 8), 3) for a in space.sample(50)),
        key=lambda n: sum(p.numel() for p in n.parameters()),
    )
    bound = sum(p.numel() for p in smallest.parameters())
    limit = space.limit([f"params<={bound}"], (1, 8, 8), 3)
    begin = limit.sample(1, np.random.default_rng(0))
    TryOut(context, begin).run({"trials": 12, "trial_steps": 1}, limit, 0)
    records = tried_of(context.history.of("search"))
    found = [space.architecture(r.architecture or {}) for r in records]
    assert all(limit.allows(a) for a in found) and len(set(found)) == len(found)


def test_a_stop_among_the_tries_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(path: Path) -> list[Any]:
        path.mkdir(exist_ok=True)
        context = small_context(path, SPACE)
        presets.robust().search(context, {"steps": 3, "trials": 5, "trial_steps": 2})
        return [(r.step, r.architecture, r.metrics, r.detail) for r in context.history]

    whole, add, left = search(tmp_path / "a"), History.add, 4

    def stopping(self: History, record: Record) -> Record:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return add(self, record)

    monkeypatch.setattr(History, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "b")
    monkeypatch.undo()
    assert search(tmp_path / "b") == whole


def test_a_network_that_diverges_comes_last(tmp_path: Path) -> None:
    context = small_context(tmp_path, SPACE)
    context.task = context.task.with_recipe(lr=1e12, grad_clip=1e12)
    _, detail = TryOut(context, []).score(SPACE.sample(1, 3)[0], 8)
    assert detail["early_loss"] > 1e3
